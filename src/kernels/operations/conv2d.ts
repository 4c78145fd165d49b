/** Convolutions and linear layers; they read through views, and add to their result what fusion brings. */
import { ShapeError } from "../../runtime/errors.ts";
import type { Value } from "../../runtime/values.ts";
import type { ConvFields, EmbRef, Padding } from "../conv2d/node.ts";
import { lowerGpuConv } from "../gpu/conv.ts";
import { SubgroupConvs } from "../software/conv.ts";
import type { WeightSpec } from "../weights.ts";
import { hwc, plain } from "./node.ts";
import { defineOp } from "./operation.ts";

export interface ConvOptions {
  /** A side of 1 is a linear layer too, whose weight may be a matrix. */
  readonly kernel?: readonly [number, number];
  readonly stride?: number;
  readonly pad?: Padding;
  /** Of the result, where it has to be f32. */
  readonly dtype?: "f32";
}

export const conv2d = defineOp({
  name: "conv2d",
  /** @param weights their outputs come side by side */
  build(graph, label, x: Value, weights: readonly WeightSpec[], options: ConvOptions = {}): ConvFields {
    const { kernel = [1, 1], stride = 1, pad = [0, 0, 0, 0], dtype } = options;
    const [h, w, c] = hwc(x);
    for (const { weight } of weights)
      if (weight.shape[1] !== c)
        throw new ShapeError(label, "input", `[H, W, ${weight.shape[1]}] to fit ${weight.name}`, x.shape);
    const size = (n: number, before: number, after: number, k: number) =>
      Math.floor((n + before + after - k) / stride) + 1;
    const ho = size(h, pad[0], pad[2], kernel[0]);
    const wo = size(w, pad[1], pad[3], kernel[1]);
    if (ho < 1 || wo < 1)
      throw new ShapeError(label, "input", `at least ${kernel.join("×")} pixels after padding`, x.shape);
    const segments = weights.flatMap((s) => s.segments);
    const y = graph.value(label, [ho, wo, segments.reduce((a, b) => a + b, 0)], segments, dtype);
    return { view: plain(x), weights, kernel, stride, pad, scale: 1, y };
  },
  reads: ({ view, residual }) => [...view.sources, view.affine, residual],
  params: ({ weights }) => weights.flatMap(({ weight, bias }) => [weight, bias]),
  fuse: (fusion, node) => fusion.convolve({ ...node, view: fusion.view(node.view.sources[0]) }),
  lower: (lowering, node) =>
    lowering.bySubgroups ? lowering.shared(SubgroupConvs).lower(node) : lowerGpuConv(lowering, node),
});

/** Adds a slice of the time-embedding table to every pixel of what a convolution made. */
export const addEmb = defineOp({
  name: "addEmb",
  build(graph, label, x: Value, emb: EmbRef) {
    return { x, emb, y: graph.value(`${label}.emb`, x.shape, x.segments) };
  },
  reads: ({ x }) => [x],
  fuse(fusion, { label, x, emb, y }) {
    const conv = fusion.open(x) ?? fusion.again(x);
    if (!conv || conv.emb) throw new TypeError(`internal: ${label}: an embedding is added to no convolution`);
    conv.emb = emb;
    fusion.close(conv, y);
  },
});
