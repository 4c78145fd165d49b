/**
 * One workgroup reads one image, in an order that depends on nothing else, so what it finds is the same in every batch.
 * Kernels of this kind run between the network and the step and read the same x and m.
 */
import type { Codegen, Flags, Variant } from "../../runtime/kernel.ts";
import { type PredictionFlags, predictedFunction } from "./prediction.ts";
import { updateRow } from "./records.ts";

/** The one variant of such a kernel; its `main` begins with {@link imageThread}. */
export const perImage = <F extends Flags>(wgsl: Variant<F>["wgsl"]): [Variant<F>] => [
  {
    name: "image",
    workgroup: ({ software, maxThreads = 256 }) => (software ? 32 : Math.min(256, maxThreads)),
    grid: (_dims, batch) => [1, 1, batch],
    wgsl,
  },
];

/** Scope of a thread: image n and its number among WG. */
export const imageThread = (k: Codegen<Flags>): string => `const WG = ${k.workgroup}u;
@compute @workgroup_size(${k.workgroup})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  ${k.prelude}
  let n = group.z;
  let vectors = H * W * C4;`;

/** Combines `shared_values` of all threads by halving; the result is in the first. */
export const reduce = (k: Codegen<Flags>, combine: (a: string, b: string) => string): string => `
  workgroupBarrier();
  for (var stride = ${k.workgroup / 2}u; stride > 0u; stride /= 2u) {
    if (thread < stride) {
      let a = shared_values[thread];
      let b = shared_values[thread + stride];
      shared_values[thread] = ${combine("a", "b")};
    }
    workgroupBarrier();
  }`;

/** `clean_at(n, e)`: vector e of image n of x0 before it is bounded; brings `predicted()`. */
export const cleanFunctions = (k: Codegen<PredictionFlags>): string => `${predictedFunction(k)}

fn clean_at(n: u32, e: u32) -> vec4f {
  ${k.prelude}
  let row = ${updateRow(k)};
  return row.k0 * ${k.load("x", "n * H * W * C4 + e")} + row.k1 * predicted(n, e);
}`;
