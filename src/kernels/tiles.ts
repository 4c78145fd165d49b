/**
 * Images in overlapping tiles: one cut out, and one added to the whole. Over what two tiles share, the one fades out as
 * the other fades in, by linear ramps along both axes, so that all weights at a pixel sum to 1.
 */
import { defineKernel } from "../runtime/kernel.ts";
import { wgsl } from "../runtime/wgsl.ts";
import { costOf, inGrid } from "./parts/threads.ts";

const TILE = ["TW C4", "TH", "N"] as const;
const cost = costOf("N TH TW C4", { flops: 8, bytes: 48 });

/** Scope of a thread: vec4 `c4` of pixel (line, column) of image n's tile, at `own` in the tile and `at` in the whole. */
const THREAD = `let c4 = id.x % C4;
  let column = id.x / C4;
  let line = id.y;
  let own = ((id.z * TH + line) * TW + column) * C4 + c4;
  let at = ((id.z * H + TOP + line) * W + LEFT + column) * C4 + c4;`;

/** Extra scalars: TOP, LEFT = the tile's place in the whole. */
export const cutTile = defineKernel({
  name: "cutTile",
  tensors: { x: "in N H W C", tile: "out N TH TW C" },
  variants: inGrid(TILE, {
    body: (k) => wgsl`
  ${THREAD}
  ${k.store("tile", "own", k.load("x", "at"))}`,
  }),
  cost,
});

/**
 * Tiles come line by line, from the left. Extra scalars: TOP, LEFT; Y0, X0 = the first line and column of the tile that count;
 * ABOVE, BEFORE = how many from there on it shares with the tiles above and to the left; BELOW, AFTER = how many at its
 * end with the next ones.
 */
export const blendTile = defineKernel({
  name: "blendTile",
  tensors: { tile: "in N TH TW C", y: "inout N H W C" },
  variants: inGrid(TILE, {
    functions: () => `
fn ramp(i: u32, size: u32, before: u32, after: u32) -> f32 {
  if (i < before) { return f32(i) / f32(before); }
  if (i >= size - after) { return 1.0 - f32(i - (size - after)) / f32(after); }
  return 1.0;
}`,
    body: (k) => wgsl`
  ${THREAD}
  if (line < Y0 || column < X0) { return; }
  let weight = ramp(line - Y0, TH - Y0, ABOVE, BELOW) * ramp(column - X0, TW - X0, BEFORE, AFTER);
  var sum = weight * ${k.load("tile", "own")};
  if (line - Y0 < ABOVE || column - X0 < BEFORE) { sum += ${k.load("y", "at")}; }
  ${k.store("y", "at", "sum")}`,
  }),
  cost,
});
