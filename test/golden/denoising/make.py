"""Writes the goldens in this folder: `python make.py [FOLDER]`, with torch and safetensors.

The post's networks are those of post.py; those of denoising-diffusion-pytorch need its versions from PyPI, unpacked side by side
as PACKAGES/<version>/denoising_diffusion_pytorch (environment variable PACKAGES), and what they import. Networks are computed in
float64 (old versions in float32) with weights that float16 holds, off their initial values so that a wrong order shows.
"""

import importlib
import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from post import UnetV1, UnetV2

HERE = Path(__file__).parent
TIMES = torch.tensor([3, 217])


def package(version):
    """`Unet` of a version of denoising-diffusion-pytorch."""
    for name in [name for name in sys.modules if name.startswith("denoising_diffusion_pytorch")]:
        del sys.modules[name]
    sys.path.insert(0, str(Path(os.environ["PACKAGES"]) / version))
    try:
        return importlib.import_module("denoising_diffusion_pytorch.denoising_diffusion_pytorch")
    finally:
        sys.path.pop(0)


def randomise(network, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in network.named_parameters():
            noise = torch.randn(p.shape, generator=g)
            plain = name.rsplit(".", 1)[-1]
            if p.dim() == 1 or (plain in ("g", "b") and p.dim() == 4):
                p.copy_((1 if plain in ("weight", "g") else 0) + 0.2 * noise)
            elif name.endswith("mem_kv"):
                p.copy_(noise)
            else:
                p.copy_(noise / (p[0].numel() ** 0.5) * (0.3 if "proj" in name else 1))
            p.copy_(p.half())
    return network


def golden(folder, network, config, *, channels=3, size=(8, 8), self_cond=False, taps=(), seed=7, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed + 1)
    network = randomise(network, seed)
    weights = {name: value.detach().half().contiguous() for name, value in network.state_dict().items()}
    network = network.to(dtype).eval()
    found = {}
    modules = dict(network.named_modules())
    for name in taps:
        modules[name].register_forward_hook(lambda _m, _i, y, name=name: found.update({name: y}))
    sample = torch.randn((2, channels, *size), generator=g)
    given = {"x_self_cond": torch.randn(sample.shape, generator=g)} if self_cond else {}
    with torch.no_grad():
        output = network(sample.to(dtype), TIMES.to(dtype), **{k: v.to(dtype) for k, v in given.items()})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    save_file(weights, folder / "model.safetensors")
    io = {"sample": sample, "timestep": TIMES, "output": output.float().contiguous(), **given}
    io |= {f"taps/{name}": y.float().contiguous() for name, y in found.items()}
    save_file(io, folder / "golden.safetensors")


def main(out):
    v1 = {"dim": 6, "dim_mults": [1, 2], "channels": 1, "use_convnext": True, "convnext_mult": 3}
    golden(
        out / "post-v1-gray",
        UnetV1(dim=6, dim_mults=(1, 2), channels=1, convnext_mult=3),
        v1,
        channels=1,
        size=(6, 10),
        taps=("downs.0.0", "downs.1.3", "mid_attn.fn.fn", "ups.0.0", "ups.0.3", "final_conv.0.net.2"),
    )
    golden(
        out / "post-v1-resnet",
        UnetV1(dim=4, init_dim=4, out_dim=6, dim_mults=(1, 1), use_convnext=False, resnet_block_groups=2, norm="layer"),
        {"dim": 4, "init_dim": 4, "out_dim": 6, "dim_mults": [1, 1], "use_convnext": False, "resnet_block_groups": 2},
        taps=("downs.0.0", "mid_block1.mlp.1", "ups.0.3"),
    )
    golden(
        out / "post-v2-selfcond",
        UnetV2(dim=4, dim_mults=(1, 2), channels=2, self_condition=True, resnet_block_groups=2),
        {"dim": 4, "dim_mults": [1, 2], "channels": 2, "self_condition": True, "resnet_block_groups": 2},
        channels=2,
        self_cond=True,
        taps=("init_conv", "downs.0.2", "mid_block1.block1.norm", "mid_block1.block1.act", "final_res_block.mlp.0"),
    )
    if "PACKAGES" not in os.environ:
        return
    flat = {"dim": 4, "dim_mults": [1, 2]}
    for version, unet, key in [
        ("0.27.0", {**flat, "resnet_block_groups": 2, "learned_variance": True}, {"version": "0.27"}),
        ("1.5.4", {**flat, "resnet_block_groups": 4, "learned_sinusoidal_cond": True, "learned_sinusoidal_dim": 6}, {}),
        ("1.11.1", {**flat, "resnet_block_groups": 2, "self_condition": True}, {}),
        ("2.3.4", {**flat, "full_attn": [True, False], "attn_heads": [2, 3], "attn_dim_head": [8, 6], "init_dim": 6}, {}),
    ]:
        given = {k: tuple(v) if isinstance(v, list) else v for k, v in unet.items()}
        network = package(version).Unet(**given)
        # Up to 1.6 the norms' epsilon is another one in float64.
        golden(out / f"lucidrains-{version}", network, {"unet": unet, "diffusion": {"image_size": 8}, **key},
               self_cond=unet.get("self_condition", False), taps=("downs.0.2", "mid_attn", "time_mlp.0"),
               dtype=torch.float32 if version < "1.7" else torch.float64)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
