/**
 * What the convolutions of GPUs share. A convolution is a product of a matrix of mapped pixels, one line per output pixel
 * of all images and taps × channels long, with the packed weights; neither matrix is ever written out. A workgroup owns a
 * tile of the result and walks over steps of some channels of one tap.
 *
 * Small levels have too few tiles to fill a GPU, so their steps are split among workgroups: each writes a partial sum, and
 * `convSum` adds those in order. No atomics, and the number of splits depends on one image alone, so an image's last bits
 * do not depend on the batch.
 */
import type { Codegen, Dims, Grid } from "../../runtime/kernel.ts";
import { ceilDiv } from "../../runtime/values.ts";
import { epilogue } from "../conv2d/contract.ts";
import type { LoadFlags } from "../parts/loadMap.ts";

export interface GemmFlags extends LoadFlags {
  /** Whether a workgroup does some of the steps and writes its sum, for `convSum` to finish. */
  split: boolean;
}

/** Output channel groups of a workgroup's tile. */
export const TILE_GROUPS = 16;

/** Bound by kernels of partial sums in place of the epilogue's tensors. */
export const PARTIAL_TENSORS = { w: "in *", y: "out N SPLITS HO WO O" } as const;

/** Levels of at most so many pixels are split, until so many workgroups do an image. */
const MOST_PIXELS = 256;
const WANTED_WORKGROUPS = 64;
/** Memory for partial sums grows with each split; shorter loops cost more to begin than they do. */
const MOST_SPLITS = 8;
const LEAST_CHANNELS = 256;

/** Partial sums of an output of `pixels` × 4·O4 channels, each over `length` products. */
export function splitsOf(pixels: number, O4: number, length: number): number {
  if (pixels > MOST_PIXELS) return 1;
  const tiles = ceilDiv(pixels, 64) * ceilDiv(O4, TILE_GROUPS);
  return Math.max(1, Math.min(MOST_SPLITS, Math.floor(WANTED_WORKGROUPS / tiles), Math.floor(length / LEAST_CHANNELS)));
}

/** Workgroups per image that fill a GPU even with tiles of 128 pixels, which fetch fewer weights per product. */
const MANY_TILES = 64;
export const manyTiles = (pixels: number, O4: number): boolean =>
  ceilDiv(pixels, 128) * ceilDiv(O4, TILE_GROUPS) >= MANY_TILES;

export function gemmGrid(d: Dims, batch: number, tile: number): Grid {
  const tiles = ceilDiv(batch * (d.HO as number) * (d.WO as number), tile);
  // One axis ends at 65,535 workgroups.
  return [ceilDiv(d.O4 as number, TILE_GROUPS) * (d.SPLITS ?? 1), Math.min(tiles, 32768), ceilDiv(tiles, 32768)];
}

/**
 * Statements: the tile's first pixel `m0` and output group `o0`, and the range of steps of `depth` channels each. They leave
 * workgroups beyond the last pixel.
 */
export const beginTile = (k: Codegen<GemmFlags>, tile: number, depth: number): string => `
  let m0 = (wg.z * 32768u + wg.y) * ${tile}u;
  if (m0 >= N * HO * WO) { return; }
  let columns = (O4 + ${TILE_GROUPS - 1}u) / ${TILE_GROUPS}u;
  let o0 = (wg.x % columns) * ${TILE_GROUPS}u;
  let split = wg.x / columns;
  let chunks = (C4 * 4u + ${depth - 1}u) / ${depth}u;
  let steps = KH * KW * chunks;
  ${
    k.flags.split
      ? "let first = split * steps / SPLITS; let last = (split + 1u) * steps / SPLITS;"
      : "let first = 0u; let last = steps;"
  }`;

/** Statements: image `n<i>` and top left corner `y<i>`, `x<i>` of what output pixel `m` reads. */
export const pixelCorner = (i: number, m: string): string => `
  let q${i} = min(${m}, N * HO * WO - 1u);
  let n${i} = q${i} / (HO * WO);
  let y${i} = i32(q${i} / WO % HO * STRIDE) - i32(PT);
  let x${i} = i32(q${i} % WO * STRIDE) - i32(PL);`;

/** Module-scope function `finish(v, m, o4, split)`: what becomes of the sums of pixel m and output group o4. */
export const finishFunction = (k: Codegen<GemmFlags>): string => `
fn finish(v: vec4f, m: u32, o4: u32, split: u32) {
  ${k.prelude}
  if (m >= N * HO * WO || o4 >= O4) { return; }
  let n = m / (HO * WO);
  ${
    k.flags.split
      ? k.store("y", "((n * (SPLITS - 1u) + split) * HO * WO + m) * O4 + o4", "v")
      : epilogue(k, "v", "n", "m", "o4")
  }
}`;
