#!/usr/bin/env python3
"""Writes the tensors of a PyTorch checkpoint (.ckpt, .pt, .pth) as safetensors, under their own names.

usage: to_safetensors.py CHECKPOINT OUT.safetensors [--ema] [--half]

Opens with weights_only, so that nothing in the file is run. Knows what training scripts wrap weights in: `state_dict`
(latent-diffusion), a list that ends with the moving average (ermongroup/ddim), `module.` from data parallel training.
Needs torch and safetensors.
"""
import argparse
import sys

import torch
from safetensors.torch import save_file


def is_state(value):
    return isinstance(value, dict) and any(isinstance(v, torch.Tensor) for v in value.values())


def find_state(content, ema):
    """The weights in a checkpoint; with `ema` the moving average that ermongroup/ddim appends."""
    if isinstance(content, (list, tuple)):
        states = [item for item in content if is_state(item)]
        if states:
            return states[-1] if ema else states[0]
    if isinstance(content, dict):
        for key in ("state_dict", "model_state_dict", "model", "net"):
            if is_state(content.get(key)):
                return content[key]
        if is_state(content):
            return content
    sys.exit("no tensors by name in this file: it may hold a whole pickled model, or only an optimiser")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("out")
    parser.add_argument("--ema", action="store_true", help="the moving average of an ermongroup/ddim checkpoint")
    parser.add_argument("--half", action="store_true", help="store 32-bit floats in 16 bits")
    args = parser.parse_args()
    try:
        content = torch.load(args.checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # torch wraps every reason differently; none of them is a reason to open it unsafely
        sys.exit(f"{args.checkpoint}: cannot be read as tensors alone: {str(error).splitlines()[0]}")
    tensors = {}
    for name, value in find_state(content, args.ema).items():
        if not isinstance(value, torch.Tensor):
            continue
        if args.half and value.dtype == torch.float32:
            value = value.half()
        # Tensors that share memory are written once each; safetensors refuses anything else.
        tensors[name.removeprefix("module.")] = value.detach().clone().contiguous()
    save_file(tensors, args.out, metadata={"format": "pt"})
    print(f"{args.out}: {len(tensors)} tensors, {sum(t.numel() for t in tensors.values()):,} values")


if __name__ == "__main__":
    main()
