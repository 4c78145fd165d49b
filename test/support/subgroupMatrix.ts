/**
 * Subgroup matrices in plain WGSL, for adapters without matrix units. A kernel stays as it is but for the calls of the
 * extension: an operand becomes where it was loaded from (workgroup memory, which no kernel changes between a load and
 * its last use), a result the elements that one lane of a subgroup owns, every LANES-th of the matrix in row-major
 * order. What is left to check is all that can go wrong in our source: offsets, strides, tiles, barriers, epilogue.
 */
import type { KernelCall, MatrixTile } from "../../src/runtime/kernel.ts";

/** Replaces every match; a form that no longer occurs is a mistake, not a success. */
function replaced(source: string, pattern: RegExp, by: string): string {
  if (!source.match(pattern)) throw new Error(`the kernel has no ${pattern}`);
  return source.replace(pattern, by);
}

const helpers = ({ m, n, k, lanes }: MatrixTile) => `
struct Operand { offset: u32, stride: u32 }
alias Result = array<f32, ${Math.ceil((m * n) / lanes)}>;
var<private> lane: u32;
var<private> unknown: u32;
fn emulatedProduct(a: Operand, b: Operand, sums: ptr<function, Result>) {
  // A compiler that does not know the bounds does not unroll: the calls are many.
  for (var i = 0u; i < ${Math.ceil((m * n) / lanes)}u + unknown; i++) {
    let line = (i * ${lanes}u + lane) / ${n}u;
    let column = (i * ${lanes}u + lane) % ${n}u;
    for (var k = 0u; k < ${k}u + unknown; k++) {
      (*sums)[i] += f32(pixels[a.offset + line * a.stride + k]) * f32(weights[b.offset + k * b.stride + column]);
    }
  }
}
fn emulatedStore(offset: u32, sums: Result, stride: u32) {
  for (var i = 0u; i < ${Math.ceil((m * n) / lanes)}u; i++) {
    let element = i * ${lanes}u + lane;
    results[offset + element / ${n}u * stride + element % ${n}u] = sums[i];
  }
}`;

/** The call with its matrix operations emulated; the tile's elements must be a multiple of its lanes. */
export function emulateMatrices(call: KernelCall, tile: MatrixTile): KernelCall {
  const { m, n, k, lanes } = tile;
  let source = call.source;
  source = replaced(source, /enable chromium_experimental_subgroup_matrix;/, "");
  source = replaced(source, /diagnostic\(off, chromium\.subgroup_matrix_uniformity\);/, "");
  const left = `subgroupMatrixLoad<subgroup_matrix_left<f16, ${k}, ${m}>, row_major>\\(&pixels, `;
  const right = `subgroupMatrixLoad<subgroup_matrix_right<f16, ${n}, ${k}>, row_major>\\(&weights, `;
  source = replaced(source, new RegExp(left, "g"), "Operand(");
  source = replaced(source, new RegExp(right, "g"), "Operand(");
  source = replaced(source, new RegExp(`subgroup_matrix_result<f32, ${n}, ${m}>`, "g"), "Result");
  source = replaced(
    source,
    /(\w+) = subgroupMatrixMultiplyAccumulate\((\w+), (\w+), \1\)/g,
    "emulatedProduct($2, $3, &$1)",
  );
  source = replaced(source, /subgroupMatrixStore<row_major>\(&results, /g, "emulatedStore(");
  source = replaced(source, /let lane = [^;]+;/, `lane = thread % ${lanes}u; unknown = params.N / 0xffffffffu;`);
  return { ...call, source: `${source}\n${helpers(tile)}` };
}
