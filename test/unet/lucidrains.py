"""Random configurations of denoising-diffusion-pytorch's `Unet` against `ddim forward`; not run in CI.

    PACKAGES=FOLDER python3 test/unet/lucidrains.py [COUNT] [VERSION]

FOLDER/VERSION/denoising_diffusion_pytorch is that version from PyPI, unpacked; what it imports, torch and safetensors have to be there.
Run in the repository's root. Prints the error of each network (NMSE), and fails above 1e-8: the package computes in float32.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 60
VERSION = sys.argv[2] if len(sys.argv) > 2 else "2.3.4"
sys.path.insert(0, str(Path(os.environ["PACKAGES"]) / VERSION))

import torch  # noqa: E402
from denoising_diffusion_pytorch import Unet  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402


def configuration(rng):
    levels = rng.choice([1, 2, 2, 3])
    unet = {"dim": rng.choice([4, 6, 8, 12]), "dim_mults": [rng.choice([1, 1, 2, 3]) for _ in range(levels)]}
    sometimes = {
        "init_dim": lambda: rng.choice([5, 8, 10]),
        "out_dim": lambda: rng.choice([1, 4]),
        "channels": lambda: rng.choice([1, 2, 4]),
        "self_condition": lambda: True,
        "learned_variance": lambda: True,
        "sinusoidal_pos_emb_theta": lambda: rng.choice([100, 50000]),
        "attn_dim_head": lambda: rng.choice([8, 6, [rng.choice([4, 5, 16]) for _ in range(levels)]]),
        "attn_heads": lambda: rng.choice([1, 3, [rng.choice([1, 2, 4]) for _ in range(levels)]]),
        "full_attn": lambda: [rng.random() < 0.5 for _ in range(levels)],
    }
    unet |= {key: make() for key, make in sometimes.items() if rng.random() < 0.35}
    if rng.random() < 0.3:
        unet |= {rng.choice(["learned_sinusoidal_cond", "random_fourier_features"]): True, "learned_sinusoidal_dim": 6}
    return unet, (2 ** (levels - 1) * rng.choice([2, 3, 4]), 2 ** (levels - 1) * rng.choice([2, 4, 5]))


def check(seed, folder):
    rng = random.Random(seed)
    torch.manual_seed(seed)
    unet, size = configuration(rng)
    network = Unet(**{key: tuple(v) if isinstance(v, list) else v for key, v in unet.items()}, flash_attn=False)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    save_file({name: v.contiguous() for name, v in network.state_dict().items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"unet": unet, "diffusion": {}}))
    x, t = torch.randn(2, unet.get("channels", 3), *size), torch.tensor([0, rng.randrange(1000)])
    given = {"x_self_cond": torch.randn_like(x)} if unet.get("self_condition") and rng.random() < 0.7 else {}
    save_file({"sample": x, "timestep": t, **given}, folder / "in.safetensors")
    with torch.no_grad():
        expected = network.double()(x.double(), t.double(), **{k: v.double() for k, v in given.items()})
    command = ["npx", "ddim", "forward", "-q", "-m", folder, "--input", folder / "in.safetensors", "-o", folder / "out.safetensors"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        return unet, size, done.stderr.strip().splitlines()[-1]
    y = load_file(folder / "out.safetensors")["output"].double()
    return unet, size, float(((y - expected) ** 2).sum() / (expected**2).sum())


bad = 0
for seed in range(COUNT):
    with tempfile.TemporaryDirectory() as name:
        unet, size, error = check(seed, Path(name))
    wrong = not isinstance(error, float) or not error <= 1e-8
    bad += wrong
    print(seed, size, json.dumps(unet), error if isinstance(error, str) else f"{error:.1e}", "WRONG" if wrong else "", flush=True)
print(f"{COUNT - bad} of {COUNT} agree")
sys.exit(bad > 0)
