/**
 * Convolution that reads through a load map, as an implicit GEMM: 64 or 128 threads own a tile of as many pixels × 64
 * output channels, 8×8 outputs each. Per 16 input channels of one tap, each thread fetches four pixels' vec4 through the
 * load map and stores them transposed, so that the inner loop reads two vec4 of pixels and two of weights per channel for
 * 64 multiply-adds. Devices that it does not suit get conv2d/direct.ts.
 */
import { type Codegen, defineKernel, type Variant } from "../../runtime/kernel.ts";
import { range, wgsl } from "../../runtime/wgsl.ts";
import { CONV_FLOATS, convCost, OUTPUT_TENSORS } from "../conv2d/contract.ts";
import { direct } from "../conv2d/direct.ts";
import { LOAD_TENSORS, loadHelpers, loadScalars, readInput } from "../parts/loadMap.ts";
import {
  beginTile,
  finishFunction,
  type GemmFlags,
  gemmGrid,
  manyTiles,
  PARTIAL_TENSORS,
  pixelCorner,
} from "./implicitGemm.ts";

/** Channels per step of `tiled`. */
const DEPTH = 16;

function tiled(k: Codegen<GemmFlags>): string {
  const tile = k.workgroup;
  const pixels = range(4);
  const accumulators = range(8).flatMap((i) => [`c${i}0`, `c${i}1`]);
  const multiply = range(8).flatMap((i) => {
    const a = `a${i >> 2}.${"xyzw"[i & 3]}`;
    return [`c${i}0 += ${a} * b0;`, `c${i}1 += ${a} * b1;`];
  });
  return wgsl`
${k.header}
${loadHelpers(k)}
${finishFunction(k)}
var<workgroup> pixels: array<vec4f, ${tile * 4}>;
var<workgroup> weights: array<vec4f, 256>;
@compute @workgroup_size(${tile})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  ${k.prelude}
  let wg = group + ${k.first};
  ${beginTile(k, tile, DEPTH)}
  let quad = thread / 4u;
  let slot = thread % 4u;
  ${pixels.map((i) => pixelCorner(i, `m0 + quad * 4u + ${i}u`)).join("")}
  let tx = thread % 8u;
  let ty = thread / 8u;
  ${accumulators.map((c) => `var ${c} = vec4f();`).join(" ")}
  for (var step = first; step < last; step++) {
    let tap = step / chunks;
    let c = step % chunks * 4u;
    let ky = i32(tap / KW);
    let kx = i32(tap % KW);
    let c4 = c + slot;
    ${pixels.map((i) => readInput(k, `v${i}`, `n${i}`, `(y${i} + ky)`, `(x${i} + kx)`, "c4")).join("\n")}
    workgroupBarrier();
    ${range(4)
      .map((j) => {
        const s = "xyzw"[j];
        return `pixels[(slot * 4u + ${j}u) * ${tile / 4}u + quad] = vec4f(v0.${s}, v1.${s}, v2.${s}, v3.${s});`;
      })
      .join("\n    ")}
    for (var i = thread; i < 256u; i += ${tile}u) {
      let position = c * 4u + i / 16u;
      let o4 = o0 + i % 16u;
      var value = vec4f();
      if (position < C4 * 4u && o4 < O4) { value = ${k.load("w", "(tap * C4 * 4u + position) * O4 + o4")}; }
      weights[i] = value;
    }
    workgroupBarrier();
    for (var kk = 0u; kk < 16u; kk++) {
      let a0 = pixels[kk * ${tile / 4}u + ty * 2u];
      let a1 = pixels[kk * ${tile / 4}u + ty * 2u + 1u];
      let b0 = weights[kk * 16u + tx];
      let b1 = weights[kk * 16u + tx + 8u];
      ${multiply.join("\n      ")}
    }
  }
var sums = array<vec4f, 16>(${accumulators.join(", ")});
  let pixel = m0 + ty * 8u;
  let count = min(8u, max(N * HO * WO, pixel) - pixel);
  for (var i = 0u; i < count * 2u; i++) { finish(sums[i], pixel + i / 2u, o0 + tx + i % 2u * 8u, split); }
}`;
}

/** Each thread makes 8×8 outputs of 64 channels' width, so a tile has as many pixels as a workgroup has threads. */
const tiles = (tile: 64 | 128): Variant<GemmFlags> => ({
  name: tile === 64 ? "tiled" : "tiled128",
  when: (target, d) =>
    !target.software && (tile === 64 || manyTiles((d.HO as number) * (d.WO as number), d.O4 as number)),
  workgroup: () => tile,
  grid: (d, batch) => gemmGrid(d, batch, tile),
  parts: "y",
  wgsl: tiled,
});

/** Convolution of a mapped input; padding at the bottom and right follows from the output's size. */
export const convFused = defineKernel<GemmFlags>({
  name: "conv2d",
  tensors: { ...LOAD_TENSORS, ...OUTPUT_TENSORS },
  floats: CONV_FLOATS,
  scalars: loadScalars,
  variants: [tiles(128), tiles(64), direct],
  cost: convCost,
});

/** {@link convFused} over some of the steps, for `convSum`. */
export const convPartial = defineKernel<GemmFlags>({
  name: "conv2dPartial",
  tensors: { ...LOAD_TENSORS, ...PARTIAL_TENSORS },
  floats: CONV_FLOATS,
  scalars: loadScalars,
  variants: [tiles(64)],
  cost: convCost,
});
