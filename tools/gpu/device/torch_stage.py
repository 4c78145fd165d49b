"""The same networks in PyTorch: diffusers' classes from the same configurations, made-up weights, GPU time of one
evaluation. Eager in float32, tf32, float16, float16 channels_last, as a CUDA graph (no launch gaps), compiled."""

import json
import os
import statistics
import sys
import time

import torch

REHEARSAL = os.environ.get("GPU_REHEARSE") == "1"
LIMIT = float(os.environ.get("GPU_LIMIT_S", "90"))
APP = sys.argv[1]
BEGAN = time.time()
CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
NETS = {
    "sd-1.5": ("bench/configs/stable-diffusion-v1-5", (4, 64, 64), (77, 768)),
    "celebahq-256": ("bench/configs/ddpm-celebahq-256", (3, 256, 256), None),
    "cifar10": ("bench/configs/ddpm-cifar10-32", (3, 32, 32), None),
    "pixel-avatars-16": ("weights/pixel-avatars-16", (3, 16, 16), None),
    "crawl-tiles-32": ("weights/crawl-tiles-32", (3, 32, 32), None),
    "cin256-v2": ("bench/configs/cin256-v2", (3, 32, 32), (1, 512)),
}
# Type, tf32, channels_last, as a graph.
MODES = {
    "f32": (torch.float32, False, False, False),
    "tf32": (torch.float32, True, False, False),
    "f16": (torch.float16, False, False, False),
    "f16 graph": (torch.float16, False, False, True),
    "f16 nhwc": (torch.float16, False, True, False),
    "f16 nhwc graph": (torch.float16, False, True, True),
}


def left():
    return LIMIT - (time.time() - BEGAN)


def tell(text, **result):
    print(f"= {text}", flush=True)
    if os.environ.get("GPU_RESULTS"):
        with open(os.environ["GPU_RESULTS"], "a") as file:
            file.write(json.dumps({"stage": os.environ.get("GPU_STAGE"), **result}) + "\n")


def attempt(name, work):
    try:
        work()
    except Exception as error:
        message = f"{type(error).__name__}: {str(error).splitlines()[0][:300] if str(error) else ''}"
        tell(f"{name}: FAILED {message[:200]}", name=name, error=message)


def timed(work, least=0.3):
    """Median milliseconds of a call, on the GPU where there is one."""
    with torch.inference_mode():
        for _ in range(1 if REHEARSAL else 3):
            work()
        times, end = [], time.time() + least
        while time.time() < end or len(times) < (1 if REHEARSAL else 5):
            if CUDA:
                a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                a.record()
                work()
                b.record()
                b.synchronize()
                times.append(a.elapsed_time(b))
            else:
                start = time.perf_counter()
                work()
                times.append(1e3 * (time.perf_counter() - start))
        return statistics.median(times)


def tf32(on):
    torch.backends.cuda.matmul.allow_tf32 = on
    torch.backends.cudnn.allow_tf32 = on


def library():
    """diffusers without what a UNet needs none of, whose versions it may not know."""
    for name in ("peft", "transformers", "accelerate", "xformers", "flash_attn", "bitsandbytes", "torchao", "onnxruntime"):
        sys.modules.setdefault(name, None)
    import diffusers

    return diffusers


def make(name):
    path = os.path.join(APP, NETS[name][0])
    file = next(f for f in ("config.json", "unet/config.json") if os.path.exists(os.path.join(path, f)))
    with open(os.path.join(path, file)) as f:
        config = json.load(f)
    with torch.device(DEVICE):
        return getattr(library(), config.get("_class_name", "UNet2DModel")).from_config(config).eval()


def measure(name, label, batch, unet, compiled=False):
    dtype, fast, channels_last, graph = MODES[label]
    _, shape, context = NETS[name]
    tf32(fast)
    form = torch.channels_last if channels_last else torch.contiguous_format
    unet = unet.to(dtype).to(memory_format=form)
    x = torch.randn(batch, *shape, device=DEVICE, dtype=dtype).contiguous(memory_format=form)
    t = torch.full((batch,), 500, device=DEVICE)
    extra = {}
    if context:
        extra["encoder_hidden_states"] = torch.randn(batch, *context, device=DEVICE, dtype=dtype)
    if getattr(unet, "class_embedding", None) is not None:
        extra["class_labels"] = torch.zeros(batch, device=DEVICE, dtype=torch.long)
    network = torch.compile(unet) if compiled else unet

    def work():
        return network(x, t, **extra, return_dict=False)[0]

    if graph:
        with torch.inference_mode():
            side = torch.cuda.Stream()
            with torch.cuda.stream(side):
                for _ in range(3):
                    work()
            torch.cuda.current_stream().wait_stream(side)
            recorded = torch.cuda.CUDAGraph()
            with torch.cuda.graph(recorded):
                work()
        ms = timed(recorded.replay)
    else:
        ms = timed(work)
    mode = f"{label}{' compiled' if compiled else ''}"
    tell(f"{name} {mode} batch {batch}: {ms:.3f} ms", network=name, mode=mode, batch=batch, ms=ms, torch=torch.__version__)


def networks():
    wanted = os.environ.get("GPU_NETS")
    for name in wanted.split(",") if wanted else ["pixel-avatars-16"] if REHEARSAL else NETS:
        if left() < 8:
            tell(f"{name}: not begun, time was up", network=name, error="not begun")
            continue
        unet = make(name)
        for label in MODES if CUDA else ["f32"]:
            for batch in (1,) if REHEARSAL else (1, 4):
                attempt(f"{name} {label} batch {batch}", lambda: measure(name, label, batch, unet))
        del unet
    # Compiling takes half a minute or more: last, and only while there is time.
    for name in ("sd-1.5", "celebahq-256") if CUDA and os.environ.get("GPU_COMPILE", "1") == "1" else ():
        if left() > 40:
            attempt(f"{name} compiled", lambda: measure(name, "f16 nhwc", 1, make(name), compiled=True))


def roof():
    size, n = (2**24, 256) if REHEARSAL else (2**29, 8192)
    a, b = torch.rand(size // 4, device=DEVICE), torch.empty(size // 4, device=DEVICE)
    rate = 2 * size / timed(lambda: b.copy_(a)) / 1e6
    tell(f"copy {rate:.0f} GB/s", measure="copy", value=rate, unit="GB/s")
    for label in ("f32", "tf32", "f16") if CUDA else ("f32",):
        dtype, fast, _, _ = MODES[label]
        tf32(fast)
        a, b = torch.randn(n, n, device=DEVICE, dtype=dtype), torch.randn(n, n, device=DEVICE, dtype=dtype)
        rate = 2 * n**3 / timed(lambda: a @ b) / 1e9
        tell(f"matmul {n} {label} {rate:.1f} TFLOP/s", measure=f"matmul {n} {label}", value=rate, unit="TFLOP/s")


print(f"torch {torch.__version__} on {torch.cuda.get_device_name() if CUDA else 'the processor'}, cudnn {torch.backends.cudnn.version()}")
attempt("networks", networks)
attempt("roof", roof)
