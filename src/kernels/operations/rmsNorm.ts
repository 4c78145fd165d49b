/**
 * RMSNorm over the channels of every pixel as denoising-diffusion-pytorch has it: y = x/max(‖x‖, 1e-12)·√C·gamma, with the
 * scale and shift of a time embedding on top where there are some: y·(1 + scale) + shift. Channels must be one segment; those
 * that pad its last vec4 are zero in x and in the packed weights, and stay zero.
 *
 * `direct`: a thread per pixel. `shared`, for GPUs: a workgroup per pixel, so that neighbouring threads read neighbouring
 * channels.
 */
import { type Codegen, defineKernel, type Flags } from "../../runtime/kernel.ts";
import type { Value } from "../../runtime/values.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import type { EmbRef } from "../conv2d/node.ts";
import { rmsNormShared } from "../gpu/rmsNormShared.ts";
import { embPlace } from "../lowering/lowering.ts";
import { costOf, inLine } from "../parts/threads.ts";
import { type ParamRef, vector } from "../weights.ts";
import { defineOp } from "./operation.ts";

/** WGSL: the normed vec4 `c` of the pixel at `base`, of image `n`, stored; `inverse` is √C/‖x‖. */
export function storeNormed(k: Codegen<Flags>): string {
  const value = `${k.load("x", "base + c")} * inverse * ${k.load("gamma", "c")}`;
  if (!k.has("emb")) return k.store("y", "base + c", value);
  const row = (part: string) => k.load("emb", `n * E4 + EO + ${part} + c`);
  return k.store("y", "base + c", `${value} * (1.0 + ${row("0u")}) + ${row("C4")}`);
}

const direct = (k: Codegen<Flags>): string => wgsl`
  let base = i * C4;
  let n = i / (H * W);
  var squares = vec4f();
  for (var c = 0u; c < C4; c++) {
    let v = ${k.load("x", "base + c")};
    squares += v * v;
  }
  let inverse = sqrt(f32(C)) / max(sqrt(dot(squares, vec4f(1.0))), 1e-12);
  for (var c = 0u; c < C4; c++) { ${storeNormed(k)} }`;

export const rmsNormKernel = defineKernel<Flags>({
  name: "rmsNorm",
  tensors: { x: "in N H W C", gamma: "in C", emb: "in? *", y: "out N H W C" },
  variants: [
    rmsNormShared(storeNormed),
    ...inLine("N H W", { workgroup: (target) => target.lanes || 32, body: direct }),
  ],
  cost: costOf("N H W C", { flops: 6, bytes: 8 }),
});

export const rmsNorm = defineOp({
  name: "rmsNorm",
  /** @param emb scale, then shift, stored as the channels of x are */
  build(graph, label, x: Value, gamma: ParamRef, emb?: EmbRef) {
    return { x, gamma, emb, y: graph.value(label, x.shape, x.segments) };
  },
  reads: ({ x }) => [x],
  params: ({ gamma }) => [gamma],
  lower(ctx, { label, x, gamma, emb, y }) {
    const tensors = { x, gamma: ctx.weight(vector(gamma)), emb: emb?.table, y };
    ctx.calls.push(rmsNormKernel.lower(ctx.target, label, tensors, {}, embPlace(emb)));
  },
});
