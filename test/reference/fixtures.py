"""Writes test/golden/torch/fixtures.json: small inputs and what torch makes of them in float64. See README.md here."""

import json
import math
import pathlib

import torch
import torch.nn.functional as F

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(20240611)
fixtures = []


def rand(*shape):
    """Multiples of 1/64 in [-2, 2): exact in float16 and short in JSON."""
    return torch.randint(-128, 128, shape, generator=generator).double() / 64


def nchw(x):
    return x.permute(0, 3, 1, 2)


def nhwc(x):
    return x.permute(0, 2, 3, 1)


def packed(value):
    if isinstance(value, torch.Tensor):
        return {"shape": list(value.shape), "data": value.contiguous().flatten().tolist()}
    if isinstance(value, dict):
        return {k: packed(v) for k, v in value.items()}
    return value


def fixture(op, args, output):
    fixtures.append({"op": op, "args": packed(args), "output": packed(output)})


ACTS = {"none": lambda x: x, "silu": F.silu, "relu": F.relu, "gelu": F.gelu, "mish": F.mish}


def conv2d(n, h, w, c, o, k, stride, pad, c2=0, act=None, affine=False, up=False, bias=True, epilogue=False, out_scale=1.0):
    args = {"x": rand(n, h, w, c), "weight": rand(o, c + c2, k, k), "stride": stride, "pad": pad}
    x = args["x"]
    if c2:
        args["x2"] = rand(n, h, w, c2)
        x = torch.cat([x, args["x2"]], -1)
    if affine:
        args["affine"] = {"scale": rand(n, c + c2), "shift": rand(n, c + c2)}
        x = x * args["affine"]["scale"][:, None, None] + args["affine"]["shift"][:, None, None]
    if act:
        args["act"] = act
        x = ACTS[act](x)
    if up:
        args["upsample"] = True
        x = nhwc(F.interpolate(nchw(x), scale_factor=2.0, mode="nearest"))
    top, left, bottom, right = pad
    y = F.conv2d(F.pad(nchw(x), (left, right, top, bottom)), args["weight"], stride=stride)
    if bias:
        args["bias"] = rand(o)
        y = y + args["bias"][:, None, None]
    if epilogue:
        args["channelAdd"] = rand(n, o)
        args["residual"] = rand(*nhwc(y).shape)
        args["outScale"] = out_scale
        y = (y + args["channelAdd"][:, :, None, None] + nchw(args["residual"])) * out_scale
    fixture("conv2d", args, nhwc(y))


conv2d(2, 5, 4, 3, 2, 3, 1, [1, 1, 1, 1])
conv2d(1, 4, 3, 3, 5, 3, 1, [1, 1, 1, 1], c2=2, act="silu", affine=True)
conv2d(2, 5, 6, 2, 3, 3, 2, [0, 0, 1, 1], act="gelu", affine=True)
conv2d(1, 7, 5, 3, 2, 3, 2, [1, 1, 1, 1], bias=False)
conv2d(2, 3, 2, 2, 3, 3, 1, [1, 1, 1, 1], act="mish", affine=True, up=True)
conv2d(2, 3, 4, 6, 4, 1, 1, [0, 0, 0, 0], act="relu", epilogue=True, out_scale=0.75)
conv2d(1, 6, 5, 1, 2, 5, 1, [2, 2, 2, 2])
conv2d(1, 5, 9, 1, 1, 7, 2, [1, 2, 3, 0])


def group_norm(n, h, w, c, groups, eps, c2=0, emb=False, mean=0.0):
    args = {"x": rand(n, h, w, c) + mean, "gamma": rand(c + c2), "beta": rand(c + c2), "groups": groups, "eps": eps}
    x = args["x"]
    if c2:
        args["x2"] = rand(n, h, w, c2) + mean
        x = torch.cat([x, args["x2"]], -1)
    y = F.group_norm(nchw(x), groups, args["gamma"], args["beta"], eps)
    if emb:
        args["emb"] = rand(n, 2 * (c + c2))
        scale, shift = args["emb"].chunk(2, 1)
        y = y * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
    fixture("groupNorm", args, nhwc(y))


group_norm(2, 3, 4, 8, 4, 1e-5)
group_norm(1, 2, 3, 6, 3, 1e-2, c2=3, emb=True)
group_norm(2, 1, 1, 6, 2, 1e-6, mean=4.0)

x, gamma, beta = rand(3, 7), rand(7), rand(7)
fixture("layerNorm", {"x": x, "gamma": gamma, "beta": beta, "eps": 1e-5}, F.layer_norm(x, (7,), gamma, beta, 1e-5))

x, weight, bias = rand(3, 5), rand(4, 5), rand(4)
fixture("linear", {"x": x, "weight": weight, "bias": bias}, F.linear(x, weight, bias))
fixture("linear", {"x": x, "weight": weight}, F.linear(x, weight))


def attention(n, length, keys, heads, d, scale=None):
    args = {"q": rand(n, length, heads * d), "k": rand(n, keys, heads * d), "v": rand(n, keys, heads * d), "heads": heads}
    if scale is not None:
        args["scale"] = scale
    split = [args[name].unflatten(-1, (heads, d)).transpose(1, 2) for name in "qkv"]
    y = F.scaled_dot_product_attention(*split, scale=scale)
    fixture("attention", args, y.transpose(1, 2).flatten(2))


attention(2, 5, 3, 2, 3)
attention(1, 4, 6, 1, 4, scale=30.0)

x = torch.cat([rand(24), torch.tensor([-40.0, -9.0, -5.5, -0.0078125, 0.0, 0.0078125, 5.5, 9.0, 40.0], dtype=torch.double)])
for act in ACTS:
    fixture("activation", {"x": x, "act": act}, ACTS[act](x))
x = torch.linspace(-6.5, 6.5, 53, dtype=torch.double)
fixture("erf", {"x": x}, torch.tensor([math.erf(v) for v in x.tolist()], dtype=torch.double))


def timestep_embedding(timesteps, dim, flip, shift):
    t = torch.tensor(timesteps, dtype=torch.double)
    half = dim // 2
    angles = t[:, None] * torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.double) / (half - shift))[None]
    parts = [torch.cos(angles), torch.sin(angles)] if flip else [torch.sin(angles), torch.cos(angles)]
    y = F.pad(torch.cat(parts, 1), (0, dim % 2))
    fixture("timestepEmbedding", {"timesteps": timesteps, "dim": dim, "flipSinToCos": flip, "freqShift": shift}, y)


timestep_embedding([0, 1, 999], 8, False, 1)
timestep_embedding([500, 832.5], 9, True, 0)

x, x2 = rand(2, 3, 5, 3), rand(2, 3, 5, 2)
fixture("upsample", {"x": x}, nhwc(F.interpolate(nchw(x), scale_factor=2.0, mode="nearest")))
fixture("avgPool2", {"x": x}, nhwc(F.avg_pool2d(nchw(x), 2)))
fixture("concat", {"a": x, "b": x2}, torch.cat([x, x2], -1))


def ddim_step(prediction, abar, abar_prev, eta=0.0, clip=None, rederive=False, guidance=None):
    """DDIM eq. 12 from its definition; the scalars k fold it the way the sampler does."""
    n, shape = 2, (2, 2, 3, 3)
    args = {"x": rand(*shape), "model": rand(2 * n if guidance is not None else n, *shape[1:])}
    m = args["model"]
    if guidance is not None:
        args["guidance"] = guidance
        cond, uncond = m.chunk(2)
        m = uncond + guidance * (cond - uncond)
    x, a, b = args["x"], math.sqrt(abar), math.sqrt(1 - abar)
    sigma = eta * math.sqrt((1 - abar_prev) / (1 - abar) * (1 - abar / abar_prev))
    direction = math.sqrt(1 - abar_prev - sigma**2)
    x0, eps, k0, k1, e0, e1 = {
        "epsilon": ((x - b * m) / a, m, 1 / a, -b / a, 0.0, 1.0),
        "v_prediction": (a * x - b * m, b * x + a * m, a, -b, b, a),
        "sample": (m, (x - a * m) / b, 0.0, 1.0, 1 / b, -a / b),
    }[prediction]
    k2 = math.sqrt(abar_prev)
    if clip is not None:
        args["clip"] = clip
        x0 = x0.clamp(-clip, clip)
    if rederive:
        eps = (x - a * x0) / b
        args["k"] = [k0, k1, k2 - direction * a / b, direction / b, 0.0]
    else:
        args["k"] = [k0, k1, k2, direction * e0, direction * e1]
    prev = math.sqrt(abar_prev) * x0 + direction * eps
    if eta > 0:
        args["sigma"], args["noise"] = sigma, rand(*shape)
        prev = prev + sigma * args["noise"]
    fixture("ddimStep", args, {"x0": x0, "prev": prev})


ddim_step("epsilon", 0.5, 0.9)
ddim_step("epsilon", 0.25, 0.75, eta=0.5, clip=1.0, rederive=True, guidance=2.5)
ddim_step("v_prediction", 0.3, 1.0, clip=1.0)
ddim_step("sample", 0.3, 0.6, eta=1.0)

lines = ",\n".join(json.dumps(f, separators=(",", ":")) for f in fixtures)
target = pathlib.Path(__file__).parents[1] / "golden" / "torch" / "fixtures.json"
target.write_text(f"[\n{lines}\n]\n")
