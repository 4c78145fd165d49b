/**
 * Attention as two products with the softmax between them, for software adapters and lengths whose score matrix fits in
 * memory: both products run at the rate of a convolution (see outerProduct.ts), several times that of the streaming
 * kernel, whose registers hold too few queries to pay for the fetches of the keys.
 *
 * Scores and probabilities are [heads, queries, LK4] vec4s of four keys each; keys beyond the last have probability 0.
 * Extra scalars: QO, KO, VO = offsets of the first head in vec4s, HEADS, D4 = vec4s per head, LK4 = vec4s of a query,
 * SCALE = 1/√d of the unpadded d.
 */
import {
  type AttentionMethod,
  type Codegen,
  type Cost,
  type Dims,
  defineKernel,
  type Flags,
  type Grid,
  type Target,
} from "../../runtime/kernel.ts";
import { ceilDiv, padded4 } from "../../runtime/values.ts";
import { range, wgsl } from "../../runtime/wgsl.ts";
import { type AttentionInit, pixels } from "../attention/contract.ts";
import { costOf } from "../parts/threads.ts";
import { accumulators, eachResult, outerProduct } from "./outerProduct.ts";
import { SUBGROUPS } from "./subgroups.ts";

/** Queries per workgroup of the products. */
const QUERIES = 32;

/** Bytes of the scores of one image; longer sequences stream. */
const MOST_BYTES = 64 * 2 ** 20;
/** Operations per image below which one dispatch of a simple kernel is quicker than three. */
const LEAST_FLOPS = 1e6;

/** Beyond so many times that, the simple kernel is out of the question. */
const FAR = 100;

const scoresOf = ({ q, kv, heads }: AttentionInit): number => heads * pixels(q) * padded4(pixels(kv));
const fits = (node: AttentionInit): boolean => scoresOf(node) * 4 <= MOST_BYTES;

/** What of an attention decides how long any method takes. */
export const attentionKey = ({ q, kv, heads, headDim }: AttentionInit): string =>
  `attention ${heads} x ${pixels(q)}x${pixels(kv)}x${headDim} ${q.dtype}`;

/** The methods that a software adapter can do an attention by, in reasonable time and memory. */
export function attentionMethods(node: AttentionInit): AttentionMethod[] {
  const simple = 4 * scoresOf(node) * node.headDim < FAR * LEAST_FLOPS;
  return ["broadcast", ...(fits(node) ? (["products"] as const) : []), ...(simple ? (["direct"] as const) : [])];
}

/** How attention is done on software adapters. Never depends on the batch. */
export function attentionMethod(node: AttentionInit, { methods }: Target): AttentionMethod {
  const given = methods?.attention ?? (methods?.measured?.[attentionKey(node)] as AttentionMethod | undefined);
  if (given) return given;
  if (4 * scoresOf(node) * node.headDim < LEAST_FLOPS) return "direct";
  return fits(node) ? "products" : "broadcast";
}

export interface ProductFlags extends Flags {
  /** Blocks of 4·lanes columns per workgroup. */
  blocks: number;
}

/** Workgroups of a product whose heads have so many times `width` vec4 columns. */
const productGrid = (d: Dims, batch: number, width: number, columns: number): Grid => [
  ceilDiv((d.HQ as number) * (d.WQ as number), QUERIES),
  ceilDiv(columns, width) * (d.HEADS as number),
  batch,
];

/** The beginning of a product's kernel: its head, first query q0, and this lane's column of COLUMNS per head. */
const productHead = (k: Codegen<ProductFlags>, columns: string): string => `
${SUBGROUPS}
${k.header}
@compute @workgroup_size(${k.workgroup})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  ${k.prelude}
  let wg = group + ${k.first};
  let LQ = HQ * WQ;
  let LK = HK * WK;
  let blocks = (${columns} + ${k.flags.blocks * k.workgroup - 1}u) / ${k.flags.blocks * k.workgroup}u;
  let head = wg.y / blocks;
  let column = (wg.y % blocks) * ${k.flags.blocks * k.workgroup}u + lane;
  let q0 = wg.x * ${QUERIES}u;`;

/** Statements for every `result` of this lane: of query q0 + r, in column `at` of a head's. */
const eachQuery = (k: Codegen<ProductFlags>, columns: string, statements: string): string =>
  eachResult({
    height: QUERIES,
    lanes: k.workgroup,
    blocks: k.flags.blocks,
    column: "column",
    columns,
    count: `min(${QUERIES}u, LQ - q0)`,
    statements,
  });

/** Names of this lane's keys, four for each block of columns, with the block and the place therein. */
const keys = (k: Codegen<ProductFlags>): (readonly [string, number, number])[] =>
  range(k.flags.blocks).flatMap((block) => range(4).map((j) => [`key${block}${j}`, block, j] as const));

function productCost(d: Dims, batch: number): Cost {
  const { HQ = 0, WQ = 0, LK4 = 0, HEADS = 0, D4 = 0 } = d;
  const scores = batch * HEADS * HQ * WQ * LK4 * 4;
  return { flops: 8 * scores * D4, bytes: 4 * (scores + batch * HEADS * D4 * 4 * (HQ * WQ + LK4 * 4)) };
}

/** s[n, head, q, k] = SCALE · q·k */
export const attentionScores = defineKernel<ProductFlags>({
  name: "attentionScores",
  tensors: { q: "in N HQ WQ CQ", kv: "in N HK WK CK", s: "out *" },
  floats: ["SCALE"],
  variants: [
    {
      name: "subgroup",
      workgroup: (target) => target.lanes,
      parts: "x",
      grid: (d, batch, lanes, { blocks }) => productGrid(d, batch, blocks * lanes, d.LK4 as number),
      wgsl: (k) => wgsl`
${productHead(k, "LK4")}
  ${range(QUERIES / k.workgroup)
    .map((i) => `let query${i} = (wg.z * LQ + min(q0 + ${i * k.workgroup}u + lane, LQ - 1u)) * CQ4 + QO + head * D4;`)
    .join("\n  ")}
  ${keys(k)
    .map(
      ([name, block, j]) =>
        `let ${name} = (wg.z * LK + min((column + ${block * k.workgroup}u) * 4u + ${j}u, LK - 1u)) * CK4 + KO + head * D4;`,
    )
    .join("\n  ")}
  ${accumulators(QUERIES, k.flags.blocks)}
  for (var d = 0u; d < D4; d++) {
    ${keys(k)
      .map(([name]) => `let at_${name} = ${k.load("kv", `${name} + d`)};`)
      .join("\n    ")}
    ${outerProduct({
      height: QUERIES,
      lanes: k.workgroup,
      blocks: k.flags.blocks,
      left: (i) => k.load("q", `query${i} + d`),
      // Four keys' vec4s transposed: components are registers of their own, so this costs nothing.
      column: (j, block) => `vec4f(${range(4).map((key) => `at_key${block}${key}.${"xyzw"[j]}`)})`,
    })}
  }
  let out = (wg.z * HEADS + head) * LQ + q0;
  ${eachQuery(k, "LK4", k.store("s", "(out + r) * LK4 + at", "result * SCALE"))}
}`,
    },
  ],
  cost: productCost,
});

/** p = exp(s − max s), and the inverse of its sum over the keys. Lanes are queries, so that nothing is reduced across them. */
export const attentionSoftmax = defineKernel<Flags>({
  name: "attentionSoftmax",
  tensors: { s: "in *", p: "out *", inverse: "out *" },
  variants: [
    {
      name: "subgroup",
      workgroup: (target) => target.lanes,
      grid: (d, batch, lanes) => [ceilDiv(d.LQ as number, lanes), d.HEADS as number, batch],
      wgsl: (k) => wgsl`
${k.header}
fn highest(v: vec4f) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }
@compute @workgroup_size(${k.workgroup})
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) lane: u32) {
  ${k.prelude}
  let query = (wg.z * HEADS + wg.y) * LQ + min(wg.x * ${k.workgroup}u + lane, LQ - 1u);
  let base = query * LK4;
  // The last vec4 may reach beyond the last key.
  let last = LK4 - 1u;
  let valid = vec4u(last * 4u) + vec4u(0u, 1u, 2u, 3u) < vec4u(LK);
  let tail = select(vec4f(-3.0e38), ${k.load("s", "base + last")}, valid);
  var largest = tail;
  for (var i = 0u; i < last; i++) { largest = max(largest, ${k.load("s", "base + i")}); }
  let top = vec4f(highest(largest));
  var sum = select(vec4f(), exp(tail - top), valid);
  ${k.store("p", "base + last", "sum")}
  for (var i = 0u; i < last; i++) {
    let e = exp(${k.load("s", "base + i")} - top);
    sum += e;
    ${k.store("p", "base + i", "e")}
  }
  ${k.store("inverse", "query", "vec4f(1.0 / dot(sum, vec4f(1.0)))")}
}`,
    },
  ],
  cost: costOf("N HEADS LQ LK", { flops: 12, bytes: 8 }),
});

/** y[n, q, head] = inverse[q] · Σ_k p[q, k]·v[k] */
export const attentionValues = defineKernel<ProductFlags>({
  name: "attentionValues",
  tensors: { p: "in *", inverse: "in *", kv: "in N HK WK CK", y: "out N HQ WQ CY" },
  variants: [
    {
      name: "subgroup",
      workgroup: (target) => target.lanes,
      parts: "x",
      grid: (d, batch, lanes, { blocks }) => productGrid(d, batch, blocks * lanes, d.D4 as number),
      wgsl: (k) => wgsl`
${productHead(k, "D4")}
  ${range(k.flags.blocks)
    .map((block) => `let value${block} = VO + head * D4 + min(column + ${block * k.workgroup}u, D4 - 1u);`)
    .join("\n  ")}
  ${range(QUERIES / k.workgroup)
    .map((i) => `let query${i} = (wg.z * HEADS + head) * LQ + min(q0 + ${i * k.workgroup}u + lane, LQ - 1u);`)
    .join("\n  ")}
  ${accumulators(QUERIES, k.flags.blocks)}
  for (var k4 = 0u; k4 < LK4; k4++) {
    ${outerProduct({
      height: QUERIES,
      lanes: k.workgroup,
      blocks: k.flags.blocks,
      left: (i) => k.load("p", `query${i} * LK4 + k4`),
      column: (j, block) => k.load("kv", `(wg.z * LK + min(k4 * 4u + ${j}u, LK - 1u)) * CK4 + value${block}`),
    })}
  }
  ${eachQuery(
    k,
    "D4",
    `let scale = ${k.load("inverse", "(wg.z * HEADS + head) * LQ + q0 + r")}.x;
    ${k.store("y", "(wg.z * LQ + q0 + r) * CY4 + head * D4 + at", "result * scale")}`,
  )}
}`,
    },
  ],
  cost: productCost,
});
