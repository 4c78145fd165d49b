"""PyTorch as a peer of the benchmarks: python3 torch_peer.py eager|compiled. Networks are diffusers', single operations
are torch's. Commands as JSON lines on stdin, see bench/harness/protocol.ts."""

import json
import os
import resource
import struct
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

MODE = sys.argv[1] if len(sys.argv) > 1 else "eager"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = {"f32": torch.float32, "f16": torch.float16}
torch.set_num_threads(os.cpu_count() or 1)
# Full float32, as the other engines compute it.
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False
state = {}


def read_tensors(path):
    with open(path, "rb") as f:
        (size,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(size))
        data = f.read()
    types = {"F32": np.float32, "I64": np.int64}
    return {
        name: torch.from_numpy(
            np.frombuffer(data[slice(*t["data_offsets"])], types[t["dtype"]]).reshape(t["shape"]).copy()
        )
        for name, t in header.items()
        if name != "__metadata__"
    }


def network(job):
    import diffusers

    with open(os.path.join(job["weights"], "config.json")) as f:
        kind = getattr(diffusers, json.load(f).get("_class_name", "UNet2DModel"))
    unet = kind.from_pretrained(job["weights"]).eval().to(DEVICE, DTYPES[job["dtype"]])
    if MODE == "compiled":
        unet = torch.compile(unet)
    extra = {k: state["inputs"][k].to(DEVICE) for k in ("class_labels", "encoder_hidden_states") if k in state["inputs"]}

    def evaluate(sample, timestep):
        x = sample.to(DEVICE, DTYPES[job["dtype"]])
        return unet(x, timestep.to(DEVICE), **extra).sample.float().cpu()

    return evaluate


def operation(spec, params):
    """The chain of kernelGraph.ts."""
    op, groups, heads = spec["op"], 32, 1

    def norm(i, x):
        return F.silu(F.group_norm(x, groups, params[f"norm{i}.gamma"], params[f"norm{i}.beta"], 1e-5))

    def conv(i, x):
        return F.conv2d(x, params[f"conv{i}.weight"], params[f"conv{i}.bias"], padding=1)

    def split(x):
        n, l, c = x.shape
        return x.view(n, l, heads, c // heads).transpose(1, 2)

    def run(x, k=None, v=None):
        for i in range(spec["chain"]):
            if op == "conv3x3":
                x = conv(i, x)
            elif op == "block":
                x = norm(i, conv(i, x))
            elif op == "groupNorm":
                x = norm(i, x)
            elif op == "linear":
                x = F.linear(x, params[f"linear{i}.weight"], params[f"linear{i}.bias"])
            else:
                x = F.scaled_dot_product_attention(split(x), split(k), split(v)).transpose(1, 2).flatten(2)
        return x

    compiled = torch.compile(run) if MODE == "compiled" else run
    return lambda *inputs: compiled(*(t.to(DEVICE) for t in inputs)).cpu()


def sample(evaluate, loop):
    x = state["inputs"]["sample"]
    for step in loop["steps"]:
        alpha, previous = step["alpha"], step["alphaPrev"]
        out = evaluate(x, torch.full_like(state["inputs"]["timestep"], step["t"]))
        a, s = alpha**0.5, (1 - alpha) ** 0.5
        x0 = {"epsilon": lambda: (x - s * out) / a, "v_prediction": lambda: a * x - s * out, "sample": lambda: out}[
            loop["prediction"]
        ]()
        if loop["clip"] is not None:
            x0 = x0.clamp(-loop["clip"], loop["clip"])
        x = previous**0.5 * x0 + (1 - previous) ** 0.5 * ((x - a * x0) / s)
    return x


def open_job(job):
    start = time.perf_counter()
    if job["dtype"] == "f16" and DEVICE == "cpu":
        raise RuntimeError("PyTorch's half precision is not measured on a processor")
    state["inputs"] = inputs = read_tensors(job["inputs"])
    if job["kind"] == "kernel":
        params = {k: v.to(DEVICE) for k, v in read_tensors(job["weights"]).items()}
        run = operation(job["kernel"], params)
        names = ("q", "k", "v") if job["kernel"]["op"] == "attention" else ("x",)
        state["work"] = lambda: run(*(inputs[n] for n in names))
    else:
        evaluate = network(job)
        state["work"] = (
            (lambda: sample(evaluate, job["loop"]))
            if job["kind"] == "sampler"
            else (lambda: evaluate(inputs["sample"], inputs["timestep"]))
        )
    return {"modes": ["host"], "ms": 1e3 * (time.perf_counter() - start)}


def run(times):
    start = time.perf_counter()
    for _ in range(times):
        state["work"]()
    return {"ms": 1e3 * (time.perf_counter() - start) / times}


def output(path):
    state["work"]().contiguous().numpy().astype("<f4").tofile(path)
    return {}


def stats():
    memory = {"peakHostBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    return {**memory, "peakGpuBytes": torch.cuda.max_memory_allocated()} if DEVICE == "cuda" else memory


def hello():
    device = torch.cuda.get_device_name() if DEVICE == "cuda" else f"{torch.get_num_threads()} threads"
    return {"version": torch.__version__, "settings": {"mode": MODE, "device": device, "tf32": False}}


def close():
    state.clear()
    return {}


HANDLERS = {
    "hello": hello,
    "open": lambda job: open_job(job),
    "run": lambda times, mode: run(times),
    "output": output,
    "stats": stats,
    "close": close,
}

answers = os.fdopen(os.dup(1), "w")
# Libraries that print must not disturb the protocol.
os.dup2(2, 1)
for line in sys.stdin:
    request = json.loads(line)
    number, command = request.pop("id"), request.pop("command")
    try:
        with torch.inference_mode():
            answer = {"result": HANDLERS[command](**request)}
    except Exception as error:
        answer = {"error": (str(error) or type(error).__name__).split("\n")[0]}
    answers.write(json.dumps({"id": number, **answer}) + "\n")
    answers.flush()
