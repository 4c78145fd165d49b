/**
 * Streaming attention for software adapters, one subgroup per workgroup and no barriers: lanes are keys while scores are
 * made and channels while values are summed, queries are broadcast; a block of queries shares every fetch.
 */
import type { Codegen, Variant } from "../../runtime/kernel.ts";
import { ceilDiv } from "../../runtime/values.ts";
import { range, wgsl } from "../../runtime/wgsl.ts";
import { type AttentionFlags, LENGTHS } from "../attention/contract.ts";
import { SUBGROUPS, usesSubgroups } from "./subgroups.ts";

/** Queries per workgroup of `broadcast`: at most 64 vec4 accumulators per lane. */
const queriesPerBlock = (d4: number, lanes: number) => Math.max(1, Math.min(16, Math.floor(64 / ceilDiv(d4, lanes))));

function body(k: Codegen<AttentionFlags>): string {
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
  ${LENGTHS}
  let head = wg.y * ${d4}u;
  let q0 = wg.x * ${block}u;
  ${loads.map((i) => `let from${i} = (wg.z * LQ + min(q0 + ${i * lanes}u + lane, LQ - 1u)) * CQ4 + QO + head;`).join("\n  ")}
  ${queries.map((q) => `var max${q} = -3.0e38; var sum${q} = 0.0; ${parts.map((p) => `var o${q}_${p} = vec4f();`).join(" ")}`).join("\n  ")}
  for (var key0 = 0u; key0 < LK; key0 += ${lanes}u) {
    let valid = key0 + lane < LK;
    let kbase = (wg.z * LK + min(key0 + lane, LK - 1u)) * CK4 + KO + head;
    ${queries.map((q) => `var s${q} = 0.0;`).join(" ")}
    for (var d = 0u; d < ${d4}u; d++) {
      let key = ${k.load("kv", "kbase + d")};
      ${loads.map((i) => `let query${i} = ${k.load("q", `from${i} + d`)};`).join("\n      ")}
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

export const broadcast: Variant<AttentionFlags> = {
  name: "broadcast",
  when: usesSubgroups,
  workgroup: (target) => target.lanes,
  parts: "x",
  grid: (d, batch, lanes, { d4 }) => [
    ceilDiv((d.HQ as number) * (d.WQ as number), queriesPerBlock(d4, lanes)),
    d.HEADS as number,
    batch,
  ],
  wgsl: body,
};
