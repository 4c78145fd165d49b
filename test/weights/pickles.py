"""Writes the files of test/weights/pickles with torch and numpy, and expected.json: what torch.load says they hold.

usage: python3 test/weights/pickles.py    (from the repository's root; needs torch, numpy; 2.15 and 2.4 wrote what is committed)
"""
import collections
import hashlib
import io
import json
import pickle
import sys
import types
import warnings
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent / "pickles"
NAMES = {torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
         torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
         torch.complex64: "C64", torch.uint16: "U16", torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2"}
expected = {}
warnings.filterwarnings("ignore")
torch.manual_seed(0)
np.random.seed(0)


def digest(value):
    """Type, shape and the SHA-256 of the bytes in row-major order."""
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<")).reshape(value.shape))
    flat = value.detach().contiguous().reshape(-1)
    data = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    return [NAMES[value.dtype], list(value.shape), hashlib.sha256(data).hexdigest()[:16]]


def save(name, content, weights=None, ema=None, left_out=(), **how):
    """Saves with torch, and records what torch reads of it: `weights` and `ema` take the state out of the content."""
    path = FOLDER / name
    torch.save(content, path, **how)
    record(name, torch.load(path, weights_only=False), weights, ema, left_out)


def record(name, content, weights=None, ema=None, left_out=()):
    take = lambda get: {k: digest(v) for k, v in get(content).items() if isinstance(v, (torch.Tensor, np.ndarray)) and k not in left_out}
    expected[name] = {"weights": take(weights or (lambda c: c)), "left_out": sorted(left_out)}
    if ema:
        expected[name]["ema"] = take(ema)


def fake_class(module, name):
    """A class of a package that is not here, as pytorch-lightning's callbacks are."""
    parts = module.split(".")
    for i in range(len(parts)):
        sys.modules.setdefault(".".join(parts[: i + 1]), types.ModuleType(".".join(parts[: i + 1])))
    made = type(name, (), {"__module__": module})
    setattr(sys.modules[module], name, made)
    return made


def state():
    base = torch.randn(4, 6)
    return OrderedDict([
        ("f32", torch.randn(3, 5)), ("f64", torch.randn(2, dtype=torch.float64)), ("f16", torch.randn(7).half()),
        ("bf16", torch.randn(3, 3).bfloat16()), ("i64", torch.tensor([2**53 + 1, -1])), ("i32", torch.tensor([[-5]], dtype=torch.int32)),
        ("i16", torch.tensor([-300], dtype=torch.int16)), ("i8", torch.tensor([-3, 4], dtype=torch.int8)), ("u8", torch.arange(5, dtype=torch.uint8)),
        ("bool", torch.tensor([True, False, True])), ("c64", torch.randn(2, dtype=torch.complex64)),
        ("scalar", torch.tensor(1.5)), ("empty", torch.empty(0, 3)), ("parameter", torch.nn.Parameter(torch.randn(2, 2))),
        ("base", base), ("tied", base), ("view", base[1:3]), ("columns", base[:, ::2]), ("transposed", base.t()),
        ("expanded", torch.randn(1, 4).expand(3, 4)), ("channels_last", torch.randn(2, 3, 2, 2).contiguous(memory_format=torch.channels_last)),
        ("ü.weight", torch.randn(2)),
    ])


def main():
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    everything = state()
    everything._metadata = OrderedDict([("", {"version": 1})])
    save("zip.pt", everything)
    save("legacy.pt", state(), _use_new_zipfile_serialization=False)
    for protocol in (3, 4, 5):
        save(f"protocol{protocol}.pth", {"a": torch.arange(4.0), "b": torch.randn(3, 2).t()}, pickle_protocol=protocol)
    save("newtypes.pt", {"u16": torch.tensor([65535], dtype=torch.uint16), "e4m3": torch.randn(4).to(torch.float8_e4m3fn),
                         "e5m2": torch.randn(4).to(torch.float8_e5m2)})

    # As pytorch-lightning wrote latent-diffusion's: callbacks by class, numpy scalars, settings of a foreign class.
    checkpoint = fake_class("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
    config = fake_class("omegaconf.dictconfig", "DictConfig")()
    config.content, config.parent = {"lr": 1e-4}, config
    weights = {"model.w": torch.randn(4, 4), "model_ema.w": torch.randn(4, 4), "model_ema.decay": torch.tensor(0.9999)}
    for name, how in (("lightning.ckpt", {}), ("lightning-legacy.ckpt", {"_use_new_zipfile_serialization": False})):
        save(name, {"epoch": 3, "global_step": 2**40, "pytorch-lightning_version": "1.4.2", "state_dict": weights,
                    "callbacks": {checkpoint: {"best": np.float64(0.25), "at": np.int64(7), checkpoint(): checkpoint}},
                    "optimizer_states": [{"state": {0: {"step": 1, "exp_avg": torch.zeros(4)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}],
                    "lr_schedulers": [], "hyper_parameters": config}, lambda c: c["state_dict"], **how)

    # ermongroup/ddim's list, and dicts with the moving average beside.
    plain, average = {"module.w": torch.ones(3)}, {"module.w": torch.full((3,), 2.0)}
    save("list.pth", [plain, {"state": {}, "param_groups": []}, 5, 100, average], lambda c: c[0], lambda c: c[4])
    for key in ("ema", "model_ema", "ema_state_dict", "params_ema"):
        save(f"beside-{key}.pt", {"step": 7, "model": plain, key: average}, lambda c: c["model"], lambda c, key=key: c[key])
    save("nested.pt", {"rng": torch.zeros(4, dtype=torch.uint8), "my_net": {"w": torch.ones(2), "b": torch.zeros(2)}}, lambda c: c["my_net"])

    # Everything that training scripts keep, in the state itself.
    odd = {"w": torch.randn(2, 3), "none": None, "big": 2**200, "negative": -(2**70), "float": 1e300, "text": "ä" * 3, "bytes": b"\xff\x00",
           "set": {1, 2}, "frozen": frozenset([3]), "default": defaultdict(list, a=[1]), "counter": collections.Counter("ab"),
           "size": torch.Size([1, 2]), "device": torch.device("cpu"), "dtype": torch.float32, "range": range(3), "complex": complex(1, 2),
           "slice": slice(1, 2), "module": torch.nn.Linear(2, 2), "list": [torch.zeros(1)], "c128": torch.zeros(2, dtype=torch.complex128),
           "objects": np.array([None, 1], dtype=object), "words": np.array(["a"]), "scalar": np.float32(2.5)}
    for protocol in (2, 5):
        save(f"odd{protocol}.pt", odd, left_out=sorted(set(odd) - {"w"}), pickle_protocol=protocol)

    arrays = {"c": np.random.randn(2, 3).astype("f4"), "f": np.asfortranarray(np.random.randn(2, 3)), "turned": np.random.randn(2, 3, 4).transpose(1, 2, 0),
              "big": np.random.randn(4).astype(">f4"), "i8": np.arange(3), "bool": np.array([True]), "none": np.zeros((0, 2), "f2"), "u1": np.arange(256, dtype="u1"),
              "scalar": np.array(2.5, "f4")}
    for protocol in (2, 3, 5):
        save(f"numpy{protocol}.pt", arrays, pickle_protocol=protocol)
    # NumPy 1 has its functions in another module.
    old = pickle.dumps(arrays, 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    (FOLDER / "numpy1.bin").write_bytes(old)
    record("numpy1.bin", arrays)
    # Longer than what is read with the pickle.
    long = {"long": np.arange(50000, dtype="u4") % 251}
    save("long2.pt", {k: v.astype("u1") for k, v in long.items()}, pickle_protocol=2, _use_new_zipfile_serialization=False)

    # Storages as files inside the pickle, as plain pickle writes tensors.
    with open(FOLDER / "pickled.bin", "wb") as f:
        pickle.dump({"a": torch.arange(3.0), "b": torch.randn(2, 2).t()}, f, 2)
    record("pickled.bin", pickle.loads((FOLDER / "pickled.bin").read_bytes()))

    # The same archive with its parts deflated, and as a big-endian machine would write it.
    def rezip(name, source, change=lambda n, b: b, method=zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(FOLDER / source) as z, zipfile.ZipFile(FOLDER / name, "w", method) as out:
            for item in z.namelist():
                out.writestr(item, change(item, z.read(item)))
        expected[name] = expected[source]

    rezip("deflated.pt", "zip.pt")
    torch.save({"w": torch.arange(6.0).reshape(2, 3), "t": torch.arange(6.0).reshape(2, 3).t()}, FOLDER / "little.pt")
    record("little.pt", torch.load(FOLDER / "little.pt"))
    swap = lambda n, b: b"big" if n.endswith("/byteorder") else np.frombuffer(b, "<f4").astype(">f4").tobytes() if "/data/" in n else b
    rezip("big-endian.pt", "little.pt", swap, zipfile.ZIP_STORED)

    (FOLDER / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, separators=(",", ":")) + "\n")
    total = sum(p.stat().st_size for p in FOLDER.iterdir())
    print(f"{len(expected)} files, {total} bytes")
    assert total <= 200_000


main()
