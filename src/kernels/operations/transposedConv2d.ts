/**
 * Transposed convolution (torch's ConvTranspose2d without output_padding or dilation): y[o] is the sum over inputs i and taps k
 * with o = i·stride − pad + k. Weights are packed as those of a convolution (conv2d/contract.ts), outputs first.
 *
 * `quad`, for GPUs: a thread makes four outputs that read the same inputs; `direct`: an output a thread.
 */
import { type Codegen, defineKernel, type Flags } from "../../runtime/kernel.ts";
import { channelGroups, type Value } from "../../runtime/values.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { transposedQuad } from "../gpu/transposedQuad.ts";
import { inLine } from "../parts/threads.ts";
import { bias, packed, type WeightSpec } from "../weights.ts";
import { hwc } from "./node.ts";
import { defineOp } from "./operation.ts";

const direct = (k: Codegen<Flags>): string => wgsl`
  let o4 = i % O4;
  let ox = i / O4 % WO;
  let oy = i / (O4 * WO) % HO;
  let n = i / (O4 * WO * HO);
  var acc = ${k.load("bias", "o4")};
  for (var ky = (oy + PAD) % STRIDE; ky < SIDE && ky <= oy + PAD; ky += STRIDE) {
    let iy = (oy + PAD - ky) / STRIDE;
    for (var kx = (ox + PAD) % STRIDE; kx < SIDE && kx <= ox + PAD; kx += STRIDE) {
      let ix = (ox + PAD - kx) / STRIDE;
      if (iy < H && ix < W) {
        for (var c = 0u; c < C4; c++) {
          let v = ${k.load("x", "((n * H + iy) * W + ix) * C4 + c")};
          let wi = ((ky * SIDE + kx) * C4 + c) * 4u * O4 + o4;
          acc += v.x * ${k.load("w", "wi")} + v.y * ${k.load("w", "wi + O4")}
            + v.z * ${k.load("w", "wi + 2u * O4")} + v.w * ${k.load("w", "wi + 3u * O4")};
        }
      }
    }
  }
  ${k.store("y", "i", "acc")}`;

/** Extra scalars: SIDE of the kernel, STRIDE, PAD. */
export const transposedKernel = defineKernel<Flags>({
  name: "transposedConv2d",
  tensors: { x: "in N H W C", w: "in *", bias: "in O", y: "out N HO WO O" },
  variants: [transposedQuad, ...inLine("N HO WO O4", { body: direct })],
  cost(d, batch) {
    const [inputs, outputs] = [(d.C4 as number) * 4, (d.O4 as number) * 4];
    const [small, large] = [(d.H as number) * (d.W as number), (d.HO as number) * (d.WO as number)];
    const taps = (d.SIDE as number) ** 2;
    return {
      flops: 2 * batch * small * taps * inputs * outputs,
      bytes: 4 * (batch * (small * inputs + large * outputs) + taps * inputs * outputs),
    };
  },
});

export const transposedConv2d = defineOp({
  name: "transposedConv2d",
  /** @param weights of shape [outputs, C, side, side]: torch keeps them inputs first */
  build(graph, label, x: Value, weights: WeightSpec, { stride, pad }: { stride: number; pad: number }) {
    const [h, w] = hwc(x);
    const [outputs = 0, , side = 0] = weights.weight.shape;
    const size = (n: number) => (n - 1) * stride - 2 * pad + side;
    const y = graph.value(label, [size(h), size(w), outputs], weights.segments);
    return { x, weights, stride, pad, y };
  },
  reads: ({ x }) => [x],
  params: ({ weights: { weight, bias } }) => [weight, bias],
  lower(ctx, { label, x, weights, stride, pad, y }) {
    const [, , side = 0] = weights.weight.shape;
    const sections = [{ weights: [weights], kernel: [side, side] as const, segments: x.segments }];
    const w = ctx.weight(packed(label, sections, channelGroups(y.segments), ctx));
    const tensors = { x, w, bias: ctx.weight(bias(label, [weights])), y };
    const sizes = { SIDE: side, STRIDE: stride, PAD: pad };
    ctx.calls.push(transposedKernel.lower(ctx.target, label, tensors, {}, sizes));
  },
});
