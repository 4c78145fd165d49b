/**
 * The 36 products of Winograd's method, as one dispatch: M[m] = V[m] · U[m], a vector for every tile. The same subgroup outer
 * product as ../convGather.ts, on inputs that lie in the order of the lanes; two channel groups per iteration, because a
 * loop's accumulators are blended with the execution mask each time round.
 */

import { type Codegen, defineKernel, type Flags } from "../../../runtime/kernel.ts";
import { ceilDiv } from "../../../runtime/values.ts";
import { range, wgsl } from "../../../runtime/wgsl.ts";
import { accumulators, eachResult, outerProduct } from "../outerProduct.ts";
import { SUBGROUPS } from "../subgroups.ts";
import { PRODUCTS } from "./transforms.ts";

/** Channel groups per iteration. */
export const UNROLL = 2;

export interface ProductFlags extends Flags {
  /** Tiles per workgroup. */
  tiles: number;
  /** Blocks of 4·lanes output channels per workgroup. */
  blocks: number;
}

function body(k: Codegen<ProductFlags>): string {
  const lanes = k.workgroup;
  const { tiles, blocks } = k.flags;
  // A longer loop body would not fit the processor's instruction cache.
  const unroll = blocks > 1 ? 1 : UNROLL;
  const loads = range(tiles / lanes);
  const step = (u: number) =>
    outerProduct({
      height: tiles,
      lanes,
      blocks,
      tag: `${u}_`,
      left: (i) => k.load("v", `tile${i} + (c + ${u}u) * ${lanes}u`),
      column: (j, block) =>
        k.load("w", `weight + (${block * PRODUCTS}u * C4 + c + ${u}u) * ${4 * lanes}u + ${j * lanes}u`),
    });
  return wgsl`
${SUBGROUPS}
${k.header}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  ${k.prelude}
  let wg = group + ${k.first};
  let total = N * TP;
  let r0 = wg.y * ${tiles}u;
  let blocks = total / ${lanes}u;
  let first = r0 / ${lanes}u;
  ${loads.map((i) => `let tile${i} = (wg.z * blocks + min(first + ${i}u, blocks - 1u)) * C4 * ${lanes}u + lane;`).join("\n  ")}
  let weight = (wg.x * ${blocks * PRODUCTS}u + wg.z) * C4 * ${4 * lanes}u + lane;
  ${accumulators(tiles, blocks)}
  for (var c = 0u; c < C4; c += ${unroll}u) {
    ${range(unroll).map(step).join("\n    ")}
  }
  ${eachResult({
    height: tiles,
    lanes,
    blocks,
    column: `wg.x * ${blocks * lanes}u + lane`,
    columns: "O4",
    count: `min(${tiles}u, total - r0)`,
    statements: k.store("m", "(wg.z * total + r0 + r) * O4 + at", "result"),
  })}
}`;
}

/** Extra scalars: TP = stored tiles of an image, a multiple of the lanes; C4, a multiple of {@link UNROLL}; O4. */
export const winogradProduct = defineKernel<ProductFlags>({
  name: "winogradProduct",
  tensors: { v: "in *", w: "in *", m: "out *" },
  variants: [
    {
      name: "subgroup",
      workgroup: (target) => target.lanes,
      grid: (d, batch, lanes, { tiles, blocks }) => [
        ceilDiv(d.O4 as number, blocks * lanes),
        ceilDiv(batch * (d.TP as number), tiles),
        PRODUCTS,
      ],
      parts: "y",
      wgsl: body,
    },
  ],
  cost(d, batch) {
    const { TP = 0, C4 = 0, O4 = 0 } = d;
    const tiles = batch * TP;
    return {
      flops: 2 * PRODUCTS * tiles * C4 * O4 * 16,
      bytes: 16 * PRODUCTS * (tiles * (C4 + O4) + C4 * O4 * 4),
    };
  },
});
