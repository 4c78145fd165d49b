/**
 * The sums of linear attention for GPUs: a workgroup makes all rows of a head over one chunk of tokens. Exponentials are made
 * once per key, in workgroup memory beside the values, and 64 threads share the products.
 */
import type { Codegen, Flags, Variant } from "../../runtime/kernel.ts";
import { wgsl } from "../../runtime/wgsl.ts";

const THREADS = 64;
/** Tokens in workgroup memory at once. */
const TILE = 16;
/** Widest head, in channels: then a thread has 16 sums, and the memory holds 8.5 KiB. */
const MOST = 64;

const body = (k: Codegen<Flags>, chunk: number): string => wgsl`
${k.header}
var<workgroup> keys: array<vec4f, ${(TILE * MOST) / 4}>;
var<workgroup> values: array<vec4f, ${(TILE * MOST) / 4}>;
var<workgroup> largest: array<vec4f, ${MOST / 4}>;
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) lane: u32) {
  ${k.prelude}
  let head = wg.y;
  let base = wg.z * LK + wg.x * ${chunk}u;
  let count = min(${chunk}u, LK - wg.x * ${chunk}u);
  if (lane < D4) {
    var most = vec4f(-3.0e38);
    for (var token = 0u; token < count; token++) { most = max(most, ${k.load("kv", "(base + token) * CK4 + KO + head * D4 + lane")}); }
    largest[lane] = most;
  }
  workgroupBarrier();
  var sums: array<vec4f, ${(MOST * MOST) / 4 / THREADS}>;
  var total = 0.0;
  for (var first = 0u; first < count; first += ${TILE}u) {
    for (var i = lane; i < ${TILE}u * D4; i += ${THREADS}u) {
      let token = first + i / D4;
      let c = i % D4;
      var p = vec4f();
      var v = vec4f();
      if (token < count) {
        p = exp(${k.load("kv", "(base + token) * CK4 + KO + head * D4 + c")} - largest[c]);
        v = ${k.load("kv", "(base + token) * CK4 + VO + head * D4 + c")};
      }
      keys[i] = p;
      values[i] = v;
    }
    workgroupBarrier();
    for (var i = lane; i < D * D4; i += ${THREADS}u) {
      let d = i / D4;
      var acc = vec4f();
      for (var token = 0u; token < ${TILE}u; token++) { acc += keys[token * D4 + d / 4u][d % 4u] * values[token * D4 + i % D4]; }
      sums[i / ${THREADS}u] += acc;
    }
    if (lane < D) {
      for (var token = 0u; token < ${TILE}u; token++) { total += keys[token * D4 + lane / 4u][lane % 4u]; }
    }
    workgroupBarrier();
  }
  let row = ((wg.z * CHUNKS + wg.x) * R + head * D) * P4;
  for (var i = lane; i < D * D4; i += ${THREADS}u) { ${k.store("partial", "row + i / D4 * P4 + i % D4", `sums[i / ${THREADS}u]`)} }
  if (lane < D) { ${k.store("partial", "row + lane * P4 + D4", "vec4f(largest[lane / 4u][lane % 4u], total, 0.0, 0.0)")} }
}`;

/** @param chunk tokens of a chunk */
export const partialShared = (chunk: number): Variant<Flags> => ({
  name: "shared",
  when: (target, d) => !target.software && (d.D as number) <= MOST,
  workgroup: () => THREADS,
  grid: (d, batch) => [d.CHUNKS as number, (d.R as number) / (d.D as number), batch],
  wgsl: (k) => body(k, chunk),
});
