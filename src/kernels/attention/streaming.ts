/**
 * Attention with a streaming softmax in f32: no N×N matrix in memory, any head size, any length. Scores, maximum,
 * denominator and output stay in registers; the output is divided once at the end (Dao et al., FlashAttention, 2022;
 * Milakov & Gimelshein, "Online normalizer calculation for softmax", 2018).
 *
 * `direct`: one thread per query. `tiled…`: see gpu/attentionTiled.ts. `broadcast` (one subgroup per workgroup, no barriers): lanes are keys while scores are
 * made and channels while values are summed, queries are broadcast; a block of queries shares every fetch.
 *
 * Heads are channel groups of D4 vec4s each (head sizes are padded to a multiple of four by the packed weights, padding
 * is zero). Extra scalars: QO, KO, VO = offsets of the first head in vec4s, HEADS, SCALE = 1/√d of the unpadded d.
 */

import { type Codegen, defineKernel } from "../../runtime/kernel.ts";
import { ceilDiv } from "../../runtime/values.ts";
import { range, wgsl } from "../../runtime/wgsl.ts";
import { tiledVariants } from "../gpu/attentionTiled.ts";
import { SUBGROUPS, usesLanes } from "../software/subgroups.ts";
import type { AttentionFlags } from "./contract.ts";

const DIMS = `let LQ = HQ * WQ;
  let LK = HK * WK;`;

function direct(k: Codegen<AttentionFlags>): string {
  const { d4 } = k.flags;
  return wgsl`
${k.header}
@compute @workgroup_size(${k.workgroup})
fn main(@builtin(global_invocation_id) invocation: vec3u) {
  ${k.prelude}
  // Not as a sum of vectors: without robustness checks llvmpipe (Mesa 25.0) then computes every other eight queries wrongly.
  let id = vec3u(invocation.x + ${k.workgroup}u * (${k.first}).x, invocation.yz);
  ${DIMS}
  if (id.x >= LQ) { return; }
  let head = id.y * ${d4}u;
  let row = (id.z * LQ + id.x);
  var query: array<vec4f, ${d4}>;
  var sum: array<vec4f, ${d4}>;
  for (var d = 0u; d < ${d4}u; d++) { query[d] = ${k.load("q", "row * CQ4 + QO + head + d")} * SCALE; }
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
  for (var d = 0u; d < ${d4}u; d++) { ${k.store("y", "row * CY4 + head + d", "sum[d] / denominator")} }
}`;
}

/** Queries per workgroup of `broadcast`: at most 64 vec4 accumulators per lane. */
const queriesPerBlock = (d4: number, lanes: number) => Math.max(1, Math.min(16, Math.floor(64 / ceilDiv(d4, lanes))));

function broadcast(k: Codegen<AttentionFlags>): string {
  const { d4 } = k.flags;
  const lanes = k.workgroup;
  const block = queriesPerBlock(d4, lanes);
  const queries = range(block);
  const parts = range(ceilDiv(d4, lanes));
  const loads = range(ceilDiv(block, lanes));
  const ragged = d4 % lanes !== 0;
  const column = (part: number) => (ragged ? `min(lane + ${part * lanes}u, ${d4 - 1}u)` : `lane + ${part * lanes}u`);
  return wgsl`
${SUBGROUPS}
${k.header}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  ${k.prelude}
  let wg = group + ${k.first};
  ${DIMS}
  let head = wg.y * ${d4}u;
  let q0 = wg.x * ${block}u;
  ${loads.map((i) => `let row${i} = (wg.z * LQ + min(q0 + ${i * lanes}u + lane, LQ - 1u)) * CQ4 + QO + head;`).join("\n  ")}
  ${queries.map((q) => `var max${q} = -3.0e38; var sum${q} = 0.0; ${parts.map((p) => `var o${q}_${p} = vec4f();`).join(" ")}`).join("\n  ")}
  for (var key0 = 0u; key0 < LK; key0 += ${lanes}u) {
    let valid = key0 + lane < LK;
    let kbase = (wg.z * LK + min(key0 + lane, LK - 1u)) * CK4 + KO + head;
    ${queries.map((q) => `var s${q} = 0.0;`).join(" ")}
    for (var d = 0u; d < ${d4}u; d++) {
      let key = ${k.load("kv", "kbase + d")};
      ${loads.map((i) => `let query${i} = ${k.load("q", `row${i} + d`)};`).join("\n      ")}
      ${queries.map((q) => `s${q} += dot(subgroupBroadcast(query${Math.floor(q / lanes)}, ${q % lanes}u), key);`).join("\n      ")}
    }
    ${queries
      .map(
        (q) => `s${q} = select(-3.0e38, s${q} * SCALE, valid);
    let next${q} = max(max${q}, subgroupMax(s${q}));
    let keep${q} = exp(max${q} - next${q});
    s${q} = select(0.0, exp(s${q} - next${q}), valid);
    max${q} = next${q};
    sum${q} = sum${q} * keep${q} + subgroupAdd(s${q});
    ${parts.map((p) => `o${q}_${p} *= keep${q};`).join(" ")}`,
      )
      .join("\n    ")}
    ${range(lanes)
      .map(
        (j) => `{
      let vbase = (wg.z * LK + min(key0 + ${j}u, LK - 1u)) * CK4 + VO + head;
      ${parts.map((p) => `let v${p} = ${k.load("kv", `vbase + ${column(p)}`)};`).join("\n      ")}
      ${queries.map((q) => `let p${q} = subgroupBroadcast(s${q}, ${j}u); ${parts.map((p) => `o${q}_${p} += p${q} * v${p};`).join(" ")}`).join("\n      ")}
    }`,
      )
      .join("\n    ")}
  }
  ${queries
    .map((q) =>
      parts
        .map(
          (p) =>
            `if (q0 + ${q}u < LQ${ragged ? ` && lane + ${p * lanes}u < ${d4}u` : ""}) { ${k.store("y", `(wg.z * LQ + q0 + ${q}u) * CY4 + head + lane + ${p * lanes}u`, `o${q}_${p} / sum${q}`)} }`,
        )
        .join("\n  "),
    )
    .join("\n  ")}
}`;
}

/** y[n, i, head] = Σ_j softmax_j(q_i·k_j·SCALE)·v_j. `kv` is `q` again for self-attention. */
export const attention = defineKernel<AttentionFlags>({
  name: "attention",
  tensors: { q: "in N HQ WQ CQ", kv: "in N HK WK CK", y: "out N HQ WQ CY" },
  floats: ["SCALE"],
  variants: [
    {
      name: "broadcast",
      when: usesLanes,
      workgroup: (target) => target.lanes,
      parts: "x",
      grid: (d, batch, lanes, { d4 }) => [
        ceilDiv((d.HQ as number) * (d.WQ as number), queriesPerBlock(d4, lanes)),
        d.HEADS as number,
        batch,
      ],
      wgsl: broadcast,
    },
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
