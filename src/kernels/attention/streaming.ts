/**
 * Attention with a streaming softmax in f32: no N×N matrix in memory, any head size, any length. Scores, maximum,
 * denominator and output stay in registers; the output is divided once at the end (Dao et al., FlashAttention, 2022;
 * Milakov & Gimelshein, "Online normalizer calculation for softmax", 2018).
 *
 * `direct` is one thread per query; GPUs get `tiled…` (gpu/attentionTiled.ts), software adapters `broadcast`
 * (software/attentionBroadcast.ts).
 *
 * Heads are channel groups of D4 vec4s each (head sizes are padded to a multiple of four by the packed weights, padding
 * is zero). Extra scalars: QO, KO, VO = offsets of the first head in vec4s, HEADS, SCALE = 1/√d of the unpadded d.
 */

import { type Codegen, defineKernel } from "../../runtime/kernel.ts";
import { ceilDiv } from "../../runtime/values.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { tiledVariants } from "../gpu/attentionTiled.ts";
import { broadcast } from "../software/attentionBroadcast.ts";
import { type AttentionFlags, LENGTHS } from "./contract.ts";

function direct(k: Codegen<AttentionFlags>): string {
  const { d4 } = k.flags;
  return wgsl`
${k.header}
@compute @workgroup_size(${k.workgroup})
fn main(@builtin(global_invocation_id) invocation: vec3u) {
  ${k.prelude}
  // Not as a sum of vectors: without robustness checks llvmpipe (Mesa 25.0) then computes every other eight queries wrongly.
  let id = vec3u(invocation.x + ${k.workgroup}u * (${k.first}).x, invocation.yz);
  ${LENGTHS}
  if (id.x >= LQ) { return; }
  let head = id.y * ${d4}u;
  let at = (id.z * LQ + id.x);
  var query: array<vec4f, ${d4}>;
  var sum: array<vec4f, ${d4}>;
  for (var d = 0u; d < ${d4}u; d++) { query[d] = ${k.load("q", "at * CQ4 + QO + head + d")} * SCALE; }
  var largest = -3.0e38;
  var denominator = 0.0;
  for (var key = 0u; key < LK; key++) {
    let base = (id.z * LK + key) * CK4 + head;
    var score = 0.0;
    for (var d = 0u; d < ${d4}u; d++) { score += dot(query[d], ${k.load("kv", "base + KO + d")}); }
    let next = max(largest, score);
    let keep = exp(largest - next);
    let p = exp(score - next);
    largest = next;
    denominator = denominator * keep + p;
    for (var d = 0u; d < ${d4}u; d++) { sum[d] = sum[d] * keep + p * ${k.load("kv", "base + VO + d")}; }
  }
  for (var d = 0u; d < ${d4}u; d++) { ${k.store("y", "at * CY4 + head + d", "sum[d] / denominator")} }
}`;
}

/** y[n, i, head] = Σ_j softmax_j(q_i·k_j·SCALE)·v_j. `kv` is `q` again for self-attention. */
export const attention = defineKernel<AttentionFlags>({
  name: "attention",
  tensors: { q: "in N HQ WQ CQ", kv: "in N HK WK CK", y: "out N HQ WQ CY" },
  floats: ["SCALE"],
  variants: [
    broadcast,
    ...tiledVariants,
    {
      name: "direct",
      workgroup: () => 32,
      parts: "x",
      grid: (d, batch, wg) => [ceilDiv((d.HQ as number) * (d.WQ as number), wg), d.HEADS as number, batch],
      wgsl: direct,
    },
  ],
  cost(d, batch, { d4 }) {
    const queries = batch * (d.HQ as number) * (d.WQ as number);
    const keys = (d.HK as number) * (d.WK as number);
    const head = d4 * 4 * (d.HEADS as number);
    return { flops: 4 * queries * keys * head, bytes: 4 * head * (2 * queries + 2 * batch * keys) };
  },
});
