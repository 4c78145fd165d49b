"""The networks of the post "The Annotated Diffusion Model" (Rogge and Rasul, 2022) as its two versions describe them, for goldens.

Version 1: ConvNeXt blocks, or resnets that add the time embedding. Version 2: resnets with weight-standardised convolutions.
Modules have the names that their checkpoints have.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Residual(nn.Module):
    def __init__(self, fn):
        super().__init__()
        self.fn = fn

    def forward(self, x):
        return self.fn(x) + x


class PreNorm(nn.Module):
    def __init__(self, norm, fn):
        super().__init__()
        self.fn = fn
        self.norm = norm

    def forward(self, x):
        return self.fn(self.norm(x))


class ChannelNorm(nn.Module):
    """LayerNorm over channels, as the earliest version has it."""

    def __init__(self, dim):
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, dim, 1, 1))
        self.b = nn.Parameter(torch.zeros(1, dim, 1, 1))

    def forward(self, x):
        var = torch.var(x, dim=1, unbiased=False, keepdim=True)
        return (x - x.mean(dim=1, keepdim=True)) / (var + 1e-5).sqrt() * self.g + self.b


NORMS = {"layer": ChannelNorm, "group": lambda dim: nn.GroupNorm(1, dim)}


class Sinusoids(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, time):
        half = self.dim // 2
        rates = torch.exp(torch.arange(half, dtype=time.dtype) * -(math.log(10000) / (half - 1)))
        angles = time[:, None] * rates[None, :]
        return torch.cat((angles.sin(), angles.cos()), dim=-1)


class WeightStandardizedConv2d(nn.Conv2d):
    """With the post's slip: divided by rsqrt(var + eps), that is, multiplied by the deviation."""

    def forward(self, x):
        w = self.weight
        mean = w.mean(dim=(1, 2, 3), keepdim=True)
        var = w.var(dim=(1, 2, 3), unbiased=False, keepdim=True)
        return F.conv2d(x, (w - mean) / (var + 1e-5).rsqrt(), self.bias, self.stride, self.padding)


class Block(nn.Module):
    def __init__(self, conv, dim, dim_out, groups):
        super().__init__()
        self.proj = conv(dim, dim_out, 3, padding=1)
        self.norm = nn.GroupNorm(groups, dim_out)
        self.act = nn.SiLU()

    def forward(self, x, scale_shift=None):
        x = self.norm(self.proj(x))
        if scale_shift is not None:
            scale, shift = scale_shift
            x = x * (scale + 1) + shift
        return self.act(x)


class ResnetBlock(nn.Module):
    def __init__(self, dim, dim_out, time_dim, groups, modulated):
        super().__init__()
        width = dim_out * (2 if modulated else 1)
        self.mlp = None if time_dim is None else nn.Sequential(nn.SiLU(), nn.Linear(time_dim, width))
        conv = WeightStandardizedConv2d if modulated else nn.Conv2d
        self.modulated = modulated
        self.block1 = Block(conv, dim, dim_out, groups)
        self.block2 = Block(conv, dim_out, dim_out, groups)
        self.res_conv = nn.Conv2d(dim, dim_out, 1) if dim != dim_out else nn.Identity()

    def forward(self, x, time=None):
        emb = None if self.mlp is None else self.mlp(time)[:, :, None, None]
        if self.modulated:
            h = self.block1(x, None if emb is None else emb.chunk(2, dim=1))
        else:
            h = self.block1(x)
            if emb is not None:
                h = emb + h
        return self.block2(h) + self.res_conv(x)


class ConvNextBlock(nn.Module):
    def __init__(self, dim, dim_out, time_dim, mult, norm):
        super().__init__()
        self.mlp = None if time_dim is None else nn.Sequential(nn.GELU(), nn.Linear(time_dim, dim))
        self.ds_conv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.net = nn.Sequential(
            NORMS[norm](dim),
            nn.Conv2d(dim, dim_out * mult, 3, padding=1),
            nn.GELU(),
            NORMS[norm](dim_out * mult),
            nn.Conv2d(dim_out * mult, dim_out, 3, padding=1),
        )
        self.res_conv = nn.Conv2d(dim, dim_out, 1) if dim != dim_out else nn.Identity()

    def forward(self, x, time=None):
        h = self.ds_conv(x)
        if self.mlp is not None:
            h = h + self.mlp(time)[:, :, None, None]
        return self.net(h) + self.res_conv(x)


class Attention(nn.Module):
    def __init__(self, dim, heads=4, dim_head=32):
        super().__init__()
        self.scale, self.heads = dim_head**-0.5, heads
        self.to_qkv = nn.Conv2d(dim, heads * dim_head * 3, 1, bias=False)
        self.to_out = self.out(heads * dim_head, dim)

    def out(self, inner, dim):
        return nn.Conv2d(inner, dim, 1)

    def split(self, x):
        b, _, h, w = x.shape
        return [t.reshape(b, self.heads, -1, h * w) for t in self.to_qkv(x).chunk(3, dim=1)]

    def forward(self, x):
        q, k, v = self.split(x)
        attn = torch.einsum("bhdi,bhdj->bhij", q * self.scale, k).softmax(dim=-1)
        out = torch.einsum("bhij,bhdj->bhdi", attn, v)
        return self.to_out(out.reshape(x.shape[0], -1, *x.shape[2:]))


class LinearAttention(Attention):
    def __init__(self, dim, norm):
        self.norm_kind = norm
        super().__init__(dim)

    def out(self, inner, dim):
        return nn.Sequential(nn.Conv2d(inner, dim, 1), NORMS[self.norm_kind](dim))

    def forward(self, x):
        q, k, v = self.split(x)
        q, k = q.softmax(dim=-2) * self.scale, k.softmax(dim=-1)
        context = torch.einsum("bhdn,bhen->bhde", k, v)
        out = torch.einsum("bhde,bhdn->bhen", context, q)
        return self.to_out(out.reshape(x.shape[0], -1, *x.shape[2:]))


class SpaceToDepth(nn.Module):
    def forward(self, x):
        return F.pixel_unshuffle(x, 2)


def time_mlp(dim):
    return nn.Sequential(Sinusoids(dim), nn.Linear(dim, dim * 4), nn.GELU(), nn.Linear(dim * 4, dim * 4))


class UnetV1(nn.Module):
    def __init__(self, dim, init_dim=None, out_dim=None, dim_mults=(1, 2, 4, 8), channels=3, resnet_block_groups=8,
                 use_convnext=True, convnext_mult=2, norm="group"):
        super().__init__()
        init_dim = init_dim or dim // 3 * 2
        self.init_conv = nn.Conv2d(channels, init_dim, 7, padding=3)
        dims = [init_dim, *(dim * m for m in dim_mults)]
        pairs = list(zip(dims[:-1], dims[1:]))
        self.time_mlp = time_mlp(dim)

        def block(a, b, time_dim=dim * 4):
            if use_convnext:
                return ConvNextBlock(a, b, time_dim, convnext_mult, norm)
            return ResnetBlock(a, b, time_dim, resnet_block_groups, False)

        def linear(c):
            return Residual(PreNorm(NORMS[norm](c), LinearAttention(c, norm)))

        self.downs, self.ups = nn.ModuleList([]), nn.ModuleList([])
        for i, (a, b) in enumerate(pairs):
            down = nn.Conv2d(b, b, 4, 2, 1) if i < len(pairs) - 1 else nn.Identity()
            self.downs.append(nn.ModuleList([block(a, b), block(b, b), linear(b), down]))
        mid = dims[-1]
        self.mid_block1 = block(mid, mid)
        self.mid_attn = Residual(PreNorm(NORMS[norm](mid), Attention(mid)))
        self.mid_block2 = block(mid, mid)
        for a, b in reversed(pairs[1:]):
            up = nn.ConvTranspose2d(a, a, 4, 2, 1)
            self.ups.append(nn.ModuleList([block(b * 2, a), block(a, a), linear(a), up]))
        self.final_conv = nn.Sequential(block(dim, dim, None), nn.Conv2d(dim, out_dim or channels, 1))

    def forward(self, x, time):
        x, t, skips = self.init_conv(x), self.time_mlp(time), []
        for block1, block2, attn, down in self.downs:
            x = attn(block2(block1(x, t), t))
            skips.append(x)
            x = down(x)
        x = self.mid_block2(self.mid_attn(self.mid_block1(x, t)), t)
        for block1, block2, attn, up in self.ups:
            x = torch.cat((x, skips.pop()), dim=1)
            x = up(attn(block2(block1(x, t), t)))
        return self.final_conv(x)


class UnetV2(nn.Module):
    def __init__(self, dim, init_dim=None, out_dim=None, dim_mults=(1, 2, 4, 8), channels=3, self_condition=False,
                 resnet_block_groups=4):
        super().__init__()
        self.self_condition = self_condition
        init_dim = init_dim or dim
        self.init_conv = nn.Conv2d(channels * (2 if self_condition else 1), init_dim, 1)
        dims = [init_dim, *(dim * m for m in dim_mults)]
        pairs = list(zip(dims[:-1], dims[1:]))
        self.time_mlp = time_mlp(dim)

        def block(a, b):
            return ResnetBlock(a, b, dim * 4, resnet_block_groups, True)

        def linear(c):
            return Residual(PreNorm(nn.GroupNorm(1, c), LinearAttention(c, "group")))

        self.downs, self.ups = nn.ModuleList([]), nn.ModuleList([])
        last = len(pairs) - 1
        for i, (a, b) in enumerate(pairs):
            down = nn.Sequential(SpaceToDepth(), nn.Conv2d(a * 4, b, 1)) if i < last else nn.Conv2d(a, b, 3, padding=1)
            self.downs.append(nn.ModuleList([block(a, a), block(a, a), linear(a), down]))
        mid = dims[-1]
        self.mid_block1 = block(mid, mid)
        self.mid_attn = Residual(PreNorm(nn.GroupNorm(1, mid), Attention(mid)))
        self.mid_block2 = block(mid, mid)
        for i, (a, b) in enumerate(reversed(pairs)):
            conv = nn.Conv2d(b, a, 3, padding=1)
            up = nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), conv) if i < last else conv
            self.ups.append(nn.ModuleList([block(b + a, b), block(b + a, b), linear(b), up]))
        self.final_res_block = block(dim * 2, dim)
        self.final_conv = nn.Conv2d(dim, out_dim or channels, 1)

    def forward(self, x, time, x_self_cond=None):
        if self.self_condition:
            x = torch.cat((torch.zeros_like(x) if x_self_cond is None else x_self_cond, x), dim=1)
        x = self.init_conv(x)
        first, t, skips = x, self.time_mlp(time), []
        for block1, block2, attn, down in self.downs:
            x = block1(x, t)
            skips.append(x)
            x = attn(block2(x, t))
            skips.append(x)
            x = down(x)
        x = self.mid_block2(self.mid_attn(self.mid_block1(x, t)), t)
        for block1, block2, attn, up in self.ups:
            x = block1(torch.cat((x, skips.pop()), dim=1), t)
            x = attn(block2(torch.cat((x, skips.pop()), dim=1), t))
            x = up(x)
        return self.final_conv(self.final_res_block(torch.cat((x, first), dim=1), t))
