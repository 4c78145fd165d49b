/**
 * Learned tokens before those of an image: keys and values that attention finds beside the pixels' own
 * (denoising-diffusion-pytorch's mem_kv).
 */
import { defineKernel } from "../../runtime/kernel.ts";
import { channelGroups, channelPositions, type Value } from "../../runtime/values.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { costOf, inLine } from "../parts/threads.ts";
import { type ParamRef, table } from "../weights.ts";
import { hwc } from "./node.ts";
import { defineOp } from "./operation.ts";

/** Extra scalar: XO, the first vec4 of x that is taken. */
export const prependRowsKernel = defineKernel({
  name: "prependRows",
  tensors: { x: "in N H W X", rows: "in M R", y: "out N 1 L C" },
  variants: inLine("N L C4", {
    body: (k) => wgsl`
  let c = i % C4;
  let token = i / C4 % L;
  let n = i / (L * C4);
  if (token < M) { ${k.store("y", "i", k.load("rows", "token * R4 + c"))} }
  else { ${k.store("y", "i", k.load("x", "(n * H * W + token - M) * X4 + XO + c"))} }`,
  }),
  cost: costOf("N L C4", { flops: 0, bytes: 32 }),
});

export const prependRows = defineOp({
  name: "prependRows",
  /**
   * @param rows [M, stored channels]: padded as the segments of the result are
   * @param first segment of x that is taken; those behind it are, too
   */
  build(graph, label, x: Value, rows: ParamRef, first: number) {
    const [h, w] = hwc(x);
    const segments = x.segments.slice(first);
    const channels = channelPositions(segments).length;
    const [count = 0] = rows.shape;
    return { x, rows, first, y: graph.value(`${label}.tokens`, [1, count + h * w, channels], segments) };
  },
  reads: ({ x }) => [x],
  params: ({ rows }) => [rows],
  lower(ctx, { label, x, rows, first, y }) {
    const XO = channelGroups(x.segments.slice(0, first));
    ctx.calls.push(prependRowsKernel.lower(ctx.target, label, { x, rows: ctx.weight(table(rows)), y }, {}, { XO }));
  },
});
