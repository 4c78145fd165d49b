"""Weights as a recipe, weights.json: for each safetensors file its type, and for each tensor its shape and the mean and width of uniform
numbers, which are a function of the tensor's name and the index. scripts/goldens.mjs makes the same numbers, bit for bit."""

import json
import pathlib

import numpy as np
import torch

FOLDER = pathlib.Path(__file__).parent
TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def mix(x):
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def values(name, shape, mean, width):
    """float32, as valuesOf of scripts/goldens.mjs."""
    key = np.zeros(1, np.uint32)
    for byte in name.encode():
        key = mix(key ^ np.uint32(byte)) + np.uint32(1)
    index = np.arange(int(np.prod(shape)), dtype=np.uint32)
    uniform = ((mix(mix(index ^ key) ^ np.uint32(0x5BD1E995)) >> 8).astype(np.float64) + 0.5) / 0x1000000
    return torch.from_numpy((mean + width * (uniform - 0.5)).astype(np.float32)).reshape(shape)


def recipe_of(state, dtype="F32"):
    """The recipe of numbers that are as large as these: around 0, or what a norm's weights have on average."""
    tensors = {}
    for name, tensor in sorted(state.items()):
        norm = tensor.dim() == 1 and name.endswith("weight")
        mean = float(f"{tensor.double().mean():.2g}") if norm else 0
        deviation = (tensor.double() - mean).square().mean().sqrt().item()
        tensors[name] = [list(tensor.shape), mean, float(f"{max(deviation, 0.1 * mean) * 12**0.5:.3g}")]
    return {"dtype": dtype, "tensors": tensors}


def state_of(recipe):
    """What a file of that recipe holds, in float32."""
    return {name: values(name, *tensor).to(TYPES[recipe["dtype"]]).float() for name, tensor in recipe["tensors"].items()}


def recipes():
    path = FOLDER / "weights.json"
    read = json.loads(path.read_text()) if path.exists() else {}
    of = lambda tensors: read[tensors]["tensors"] if isinstance(tensors, str) else tensors
    return {name: {**recipe, "tensors": of(recipe["tensors"])} for name, recipe in read.items()}


def keep(changed):
    """Adds files to weights.json, a line for each tensor. A file of the same tensors as an earlier one names that."""
    files, known = [], {}
    for path, recipe in sorted({**recipes(), **changed}.items()):
        lines = ",\n".join(f'"{name}":{json.dumps(tensor, separators=(",", ":"))}' for name, tensor in recipe["tensors"].items())
        tensors = json.dumps(known[lines]) if lines in known else f"{{\n{lines}}}"
        known.setdefault(lines, path)
        files.append(f'"{path}":{{"dtype":"{recipe["dtype"]}","tensors":{tensors}}}')
    (FOLDER / "weights.json").write_text("{\n" + ",\n".join(files) + "}\n")
