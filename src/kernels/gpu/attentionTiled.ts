/**
 * Streaming attention for GPUs: a workgroup does 32 queries of one head and walks over the keys, 32 at a time. Queries and
 * keys meet in workgroup memory in slices of 32 channels, each thread making a small block of scores; a softmax that
 * rescales (see streaming.ts) turns them into weights there; then values pass through the same memory and each thread
 * sums them for up to 8 queries × 2 vec4s. Everything is f32 whatever is stored.
 *
 * More threads for larger heads keep those sums in registers (8 × 4 where a device has 128 at most); columns of threads
 * are as many as a head fills. Workgroup memory is 13.4 KiB for any head, below the 16 KiB that every device has.
 */
import type { Codegen, Variant } from "../../runtime/kernel.ts";
import { ceilDiv } from "../../runtime/values.ts";
import { range, wgsl } from "../../runtime/wgsl.ts";
import type { AttentionFlags } from "../attention/contract.ts";

/** Queries of a workgroup, and keys of a step. */
const BLOCK = 32;
/** vec4s of a slice of channels; queries and keys lie one further apart, so that they begin in different banks. */
const SLICE = 8;
/** vec4s of the memory that first holds slices of queries and keys, then values. */
const MEMORY = 2 * BLOCK * (SLICE + 1);

/** Lengths below which most of a block would be empty. */
const LEAST_LENGTH = 64;
/** vec4s per head above which a thread per query has no registers for it. */
const MOST_REGISTERS = 32;

/** vec4s of the largest head whose sums threads can hold. */
const MOST_GROUPS = 128;

const powerOfTwo = (n: number): number => 2 ** Math.ceil(Math.log2(n));

function tiled(k: Codegen<AttentionFlags>): string {
  const { d4 } = k.flags;
  const threads = k.workgroup;
  // The block of scores: four keys per thread, and so many queries.
  const queries = range((BLOCK * BLOCK) / 4 / threads);
  const keys = range(4);
  const columns = Math.min(threads / 4, Math.max(threads / BLOCK, powerOfTwo(d4)));
  const summed = range((BLOCK * columns) / threads);
  const parts = range(ceilDiv(d4, columns));
  const ragged = d4 % columns !== 0;
  const column = (p: number) => (ragged ? `min(column + ${p * columns}u, ${d4 - 1}u)` : `column + ${p * columns}u`);
  const pass = Math.min(BLOCK, powerOfTwo(Math.floor(MEMORY / d4) + 1) / 2);
  const blocks = queries.flatMap((i) => keys.map((j) => ({ i, j, s: `s${i}_${j}` })));
  const sums = summed.flatMap((r) => parts.map((p) => `o${r}_${p}`));
  const score = ({ i, j }: { i: number; j: number }) => `scores[(query + ${i}u) * ${BLOCK + 1}u + key + ${j * SLICE}u]`;
  return wgsl`
${k.header}
var<workgroup> memory: array<vec4f, ${MEMORY}>;
var<workgroup> scores: array<f32, ${BLOCK * (BLOCK + 1)}>;
var<workgroup> largest: array<f32, ${BLOCK}>;
var<workgroup> rescale: array<f32, ${BLOCK}>;
@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  ${k.prelude}
  let wg = group + ${k.first};
  let LQ = HQ * WQ;
  let LK = HK * WK;
  let head = wg.y * ${d4}u;
  let q0 = wg.x * ${BLOCK}u;
  let key = thread % ${SLICE}u;
  let query = thread / ${SLICE}u * ${queries.length}u;
  let column = thread % ${columns}u;
  let summed = thread / ${columns}u * ${summed.length}u;
  var top = -3.0e38;
  var denominator = 0.0;
  ${sums.map((o) => `var ${o} = vec4f();`).join(" ")}
  for (var key0 = 0u; key0 < LK; key0 += ${BLOCK}u) {
    let count = min(${BLOCK}u, LK - key0);
    ${blocks.map(({ s }) => `var ${s} = 0.0;`).join(" ")}
    for (var d0 = 0u; d0 < ${d4}u; d0 += ${SLICE}u) {
      workgroupBarrier();
      for (var i = thread; i < ${2 * BLOCK * SLICE}u; i += ${threads}u) {
        let r = i / ${SLICE}u;
        let d = d0 + i % ${SLICE}u;
        var value = vec4f();
        if (d < ${d4}u && r < ${BLOCK}u) {
          value = ${k.load("q", "(wg.z * LQ + min(q0 + r, LQ - 1u)) * CQ4 + QO + head + d")};
        } else if (d < ${d4}u) {
          value = ${k.load("kv", `(wg.z * LK + min(key0 + r - ${BLOCK}u, LK - 1u)) * CK4 + KO + head + d`)};
        }
        memory[r * ${SLICE + 1}u + i % ${SLICE}u] = value;
      }
      workgroupBarrier();
      for (var d = 0u; d < min(${SLICE}u, ${d4}u - d0); d++) {
        ${queries.map((i) => `let a${i} = memory[(query + ${i}u) * ${SLICE + 1}u + d];`).join(" ")}
        ${keys.map((j) => `let b${j} = memory[(${BLOCK + j * SLICE}u + key) * ${SLICE + 1}u + d];`).join(" ")}
        ${blocks.map(({ i, j, s }) => `${s} += dot(a${i}, b${j});`).join(" ")}
      }
    }
    ${blocks.map((block) => `${block.s} *= SCALE; ${score(block)} = ${block.s};`).join("\n    ")}
    workgroupBarrier();
    if (thread < ${BLOCK}u) {
      var next = top;
      for (var j = 0u; j < count; j++) { next = max(next, scores[thread * ${BLOCK + 1}u + j]); }
      let keep = exp(top - next);
      top = next;
      denominator *= keep;
      largest[thread] = next;
      rescale[thread] = keep;
    }
    workgroupBarrier();
    ${blocks.map((block) => `${score(block)} = exp(${block.s} - largest[query + ${block.i}u]);`).join("\n    ")}
    ${summed.map((r) => `let keep${r} = rescale[summed + ${r}u]; ${parts.map((p) => `o${r}_${p} *= keep${r};`).join(" ")}`).join("\n    ")}
    for (var first = 0u; first < ${BLOCK}u; first += ${pass}u) {
      workgroupBarrier();
      for (var i = thread; i < ${pass * d4}u; i += ${threads}u) {
        let v = min(key0 + first + i / ${d4}u, LK - 1u);
        memory[i] = ${k.load("kv", `(wg.z * LK + v) * CK4 + VO + head + i % ${d4}u`)};
      }
      workgroupBarrier();
      for (var j = 0u; j < min(${pass}u, count - min(first, count)); j++) {
        ${parts.map((p) => `let v${p} = memory[j * ${d4}u + ${column(p)}];`).join(" ")}
        ${summed
          .map(
            (r) => `let p${r} = scores[(summed + ${r}u) * ${BLOCK + 1}u + first + j];
        ${parts.map((p) => `o${r}_${p} += p${r} * v${p};`).join(" ")}`,
          )
          .join("\n        ")}
      }
    }
    if (thread < ${BLOCK}u) {
      for (var j = 0u; j < count; j++) { denominator += scores[thread * ${BLOCK + 1}u + j]; }
      largest[thread] = denominator;
    }
  }
  workgroupBarrier();
  var sums = array<vec4f, ${sums.length}>(${sums.join(", ")});
  let valid = min(${summed.length}u, max(LQ, q0 + summed) - q0 - summed);
  for (var i = 0u; i < valid * ${parts.length}u; i++) {
    let r = summed + i / ${parts.length}u;
    let d = column + i % ${parts.length}u * ${columns}u;
    if (d < ${d4}u) { ${k.store("y", "(wg.z * LQ + q0 + r) * CY4 + head + d", "sums[i] / largest[r]")} }
  }
}`;
}

/** Threads of a workgroup, and the most vec4s per head for which they are enough where more are to be had. */
const SIZES = [
  [64, 16],
  [128, 64],
  [256, MOST_GROUPS],
] as const;

/**
 * One variant per number of threads: for heads of up to 64, 256 and 512 channels. The largest number that a device allows
 * does what larger ones would: its threads sum for twice as many queries, in the same order.
 */
export const tiledVariants: readonly Variant<AttentionFlags>[] = SIZES.map(([threads, groups], i) => ({
  name: `tiled${threads}`,
  when({ software, maxThreads = 256 }, d, { d4 }) {
    const lengths = [(d.HQ as number) * (d.WQ as number), (d.HK as number) * (d.WK as number)];
    const worthwhile = lengths.every((l) => l >= LEAST_LENGTH) || d4 > MOST_REGISTERS;
    const [larger = Number.POSITIVE_INFINITY] = SIZES[i + 1] ?? [];
    const most = larger <= maxThreads ? groups : MOST_GROUPS;
    return !software && worthwhile && threads <= maxThreads && d4 <= most;
  },
  workgroup: () => threads,
  parts: "x",
  grid: (d, batch) => [ceilDiv((d.HQ as number) * (d.WQ as number), BLOCK), d.HEADS as number, batch],
  wgsl: tiled,
}));
