/**
 * Depthwise convolution that keeps the size: every channel by itself, under an odd kernel. Weights are packed as those of a
 * convolution with one input channel (conv2d/contract.ts), so a tap's texel holds four channels.
 *
 * `tiled`, for GPUs, fetches a tile of pixels with its border into workgroup memory; `rows`, for software adapters, lets a
 * thread make four neighbours of a line from the same fetches; `direct` is the plain loop.
 */
import { type Codegen, defineKernel, type Flags } from "../../runtime/kernel.ts";
import { channelGroups, type Value } from "../../runtime/values.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { depthwiseTiled } from "../gpu/depthwiseTiled.ts";
import { inLine } from "../parts/threads.ts";
import { depthwiseRows } from "../software/depthwiseRows.ts";
import { bias, packed, type WeightSpec } from "../weights.ts";
import { hwc } from "./node.ts";
import { defineOp } from "./operation.ts";

const direct = (k: Codegen<Flags>): string => wgsl`
  let c4 = i % C4;
  let ox = i / C4 % W;
  let oy = i / (C4 * W) % H;
  let n = i / (C4 * W * H);
  var acc = ${k.load("bias", "c4")};
  for (var ky = 0u; ky < KH; ky++) {
    for (var kx = 0u; kx < KW; kx++) {
      let iy = i32(oy + ky) - i32(KH / 2u);
      let ix = i32(ox + kx) - i32(KW / 2u);
      if (iy >= 0 && ix >= 0 && iy < i32(H) && ix < i32(W)) {
        acc += ${k.load("x", "((n * H + u32(iy)) * W + u32(ix)) * C4 + c4")} * ${k.load("w", "(ky * KW + kx) * 4u * C4 + c4")};
      }
    }
  }
  ${k.store("y", "i", "acc")}`;

export const depthwiseKernel = defineKernel<Flags>({
  name: "depthwiseConv2d",
  tensors: { x: "in N H W C", w: "in *", bias: "in C", y: "out N H W C" },
  variants: [depthwiseTiled, depthwiseRows, ...inLine("N H W C4", { body: direct })],
  cost(d, batch) {
    const elements = batch * (d.H as number) * (d.W as number) * (d.C4 as number) * 4;
    return { flops: 2 * elements * (d.KH as number) * (d.KW as number), bytes: 8 * elements };
  },
});

export const depthwiseConv2d = defineOp({
  name: "depthwiseConv2d",
  /** @param weights the weight's shape is [C, 1, side, side], side odd */
  build(graph, label, x: Value, weights: WeightSpec) {
    return { x, weights: { ...weights, segments: x.segments }, y: graph.value(label, hwc(x), x.segments) };
  },
  reads: ({ x }) => [x],
  params: ({ weights: { weight, bias } }) => [weight, bias],
  lower(ctx, { label, x, weights, y }) {
    const [, , KH = 1, KW = 1] = weights.weight.shape;
    const sections = [{ weights: [weights], kernel: [KH, KW] as const, segments: [1] }];
    const w = ctx.weight(packed(label, sections, channelGroups(x.segments), ctx));
    const tensors = { x, w, bias: ctx.weight(bias(label, [weights])), y };
    ctx.calls.push(depthwiseKernel.lower(ctx.target, label, tensors, {}, { KH, KW }));
  },
});
