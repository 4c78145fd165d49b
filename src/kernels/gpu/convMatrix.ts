/**
 * Convolution on the matrix units of GPUs (`chromium-experimental-subgroup-matrix`): f16 operands, f32 sums. Four
 * subgroups, two by two, share a tile of 64 or 128 pixels × 64 output channels. Per step every thread fetches some vec4s of
 * pixels through the load map and of weights, rounds them to f16 and puts them in workgroup memory, from where each
 * subgroup multiplies its quarter tile. Results go through workgroup memory again, matrix by matrix, because where a
 * subgroup keeps an element is its own affair: an epilogue needs to know pixel and channel.
 *
 * Workgroup memory stays below the 16 KiB that every device has: 128 pixels take steps of 16 channels, 64 of 32.
 */
import { type Codegen, defineKernel, type MatrixTile } from "../../runtime/kernel.ts";
import { range, wgsl } from "../../runtime/wgsl.ts";
import { CONV_FLOATS, convCost, OUTPUT_TENSORS } from "../conv2d/contract.ts";
import { LOAD_TENSORS, loadHelpers, loadScalars, readInput } from "../parts/loadMap.ts";
import {
  beginTile,
  finishFunction,
  type GemmFlags,
  gemmGrid,
  PARTIAL_TENSORS,
  pixelCorner,
  TILE_GROUPS,
} from "./implicitGemm.ts";

export interface MatrixFlags extends GemmFlags {
  /** Pixels per workgroup. */
  tile: 64 | 128;
}

const SUBGROUPS = 4;
/** Threads of a workgroup that multiplies tiles. */
export const matrixThreads = ({ lanes }: MatrixTile): number => SUBGROUPS * lanes;

const COLUMNS = TILE_GROUPS * 4;
/** Elements between pixels, or channels of weights, in workgroup memory beyond their own: neighbours begin in different banks. */
const SKEW = 8;

function body(k: Codegen<MatrixFlags>): string {
  const { m, n, k: inner, lanes } = k.target.matrix as MatrixTile;
  const { tile } = k.flags;
  const depth = tile === 128 ? 16 : 32;
  const groups = depth / 4;
  const threads = k.workgroup;
  const [pixelStride, weightStride] = [depth + SKEW, COLUMNS + SKEW];
  const pixelLoads = range((tile * groups) / threads);
  const weightLoads = range((depth * TILE_GROUPS) / threads);
  const [tall, wide] = [range(tile / 2 / m), range(COLUMNS / 2 / n)];
  const tiles = tall.flatMap((i) => wide.map((j) => ({ i, j, c: `c${i}_${j}` })));
  const put = (array: string, at: string, v: string) =>
    `{ let at = ${at}; ${range(4)
      .map((j) => `${array}[at + ${j}u] = ${v}.${"xyzw"[j]};`)
      .join(" ")} }`;
  const left = `subgroup_matrix_left<f16, ${inner}, ${m}>`;
  const right = `subgroup_matrix_right<f16, ${n}, ${inner}>`;
  return wgsl`
enable f16;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
${k.header}
${loadHelpers(k)}
${finishFunction(k)}
var<workgroup> pixels: array<f16, ${tile * pixelStride}>;
var<workgroup> weights: array<f16, ${depth * weightStride}>;
var<workgroup> results: array<f32, ${SUBGROUPS * m * n}>;
@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  ${k.prelude}
  let wg = group + ${k.first};
  ${beginTile(k, tile, depth)}
  let subgroup = thread / ${lanes}u;
  let lane = thread % ${lanes}u;
  let pixel = (subgroup / 2u) * ${tile / 2}u;
  let column = (subgroup % 2u) * ${COLUMNS / 2}u;
  let slot = thread % ${groups}u;
  ${pixelLoads.map((i) => pixelCorner(i, `m0 + thread / ${groups}u + ${(i * threads) / groups}u`)).join("")}
  ${tiles.map(({ c }) => `var ${c}: subgroup_matrix_result<f32, ${n}, ${m}>;`).join("\n  ")}
  for (var step = first; step < last; step++) {
    let tap = step / chunks;
    let c = step % chunks * ${groups}u;
    let ky = i32(tap / KW);
    let kx = i32(tap % KW);
    let c4 = c + slot;
    ${pixelLoads.map((i) => readInput(k, `v${i}`, `n${i}`, `(y${i} + ky)`, `(x${i} + kx)`, "c4")).join("\n")}
    ${weightLoads
      .map(
        (i) => `var w${i} = vec4<f16>();
    {
      let position = c * 4u + thread / ${TILE_GROUPS}u + ${(i * threads) / TILE_GROUPS}u;
      let o4 = o0 + thread % ${TILE_GROUPS}u;
      if (position < C4 * 4u && o4 < O4) { w${i} = ${k.half("w", "(tap * C4 * 4u + position) * O4 + o4")}; }
    }`,
      )
      .join("\n    ")}
    workgroupBarrier();
    ${pixelLoads
      .map((i) =>
        put(
          "pixels",
          `(thread / ${groups}u + ${(i * threads) / groups}u) * ${pixelStride}u + slot * 4u`,
          `vec4<f16>(v${i})`,
        ),
      )
      .join("\n    ")}
    ${weightLoads
      .map((i) =>
        put(
          "weights",
          `(thread / ${TILE_GROUPS}u + ${(i * threads) / TILE_GROUPS}u) * ${weightStride}u + thread % ${TILE_GROUPS}u * 4u`,
          `w${i}`,
        ),
      )
      .join("\n    ")}
    workgroupBarrier();
    for (var s = 0u; s < ${depth}u; s += ${inner}u) {
      ${wide.map((j) => `let b${j} = subgroupMatrixLoad<${right}, row_major>(&weights, s * ${weightStride}u + column + ${j * n}u, ${weightStride}u);`).join("\n      ")}
      ${tall
        .map(
          (
            i,
          ) => `let a${i} = subgroupMatrixLoad<${left}, row_major>(&pixels, (pixel + ${i * m}u) * ${pixelStride}u + s, ${pixelStride}u);
      ${wide.map((j) => `c${i}_${j} = subgroupMatrixMultiplyAccumulate(a${i}, b${j}, c${i}_${j});`).join(" ")}`,
        )
        .join("\n      ")}
    }
  }
  let strip = subgroup * ${m * n}u;
  ${tiles
    .map(
      ({ i, j, c }) => `workgroupBarrier();
  subgroupMatrixStore<row_major>(&results, strip, ${c}, ${n}u);
  workgroupBarrier();
  for (var t = lane; t < ${(m * n) / 4}u; t += ${lanes}u) {
    let at = strip + t * 4u;
    let v = vec4f(results[at], results[at + 1u], results[at + 2u], results[at + 3u]);
    finish(v, m0 + pixel + ${i * m}u + t / ${n / 4}u, o0 + column / 4u + ${(j * n) / 4}u + t % ${n / 4}u, split);
  }`,
    )
    .join("\n  ")}
}`;
}

const common = {
  floats: CONV_FLOATS,
  scalars: loadScalars,
  variants: [
    {
      name: "matrix",
      workgroup: (target: { matrix?: MatrixTile }) => matrixThreads(target.matrix as MatrixTile),
      grid: (d: Readonly<Record<string, number>>, batch: number, _: number, { tile }: MatrixFlags) =>
        gemmGrid(d, batch, tile),
      parts: "y" as const,
      wgsl: body,
    },
  ],
  cost: convCost,
};

/** Convolution of a mapped input; like `convFused`, for targets with matrix units and networks in f16. */
export const convMatrix = defineKernel<MatrixFlags>({
  name: "conv2d",
  tensors: { ...LOAD_TENSORS, ...OUTPUT_TENSORS },
  ...common,
});

/** {@link convMatrix} over some of the steps, for `convSum`. */
export const convMatrixPartial = defineKernel<MatrixFlags>({
  name: "conv2dPartial",
  tensors: { ...LOAD_TENSORS, ...PARTIAL_TENSORS },
  ...common,
});
