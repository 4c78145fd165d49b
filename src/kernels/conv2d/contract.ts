/**
 * What every conv2d variant shares: the epilogue and the packed weights.
 *
 * Packed weights: texel ((block·taps + tap)·CP + c)·L + lane holds output channels 4·(block·L + lane) … +3 of input
 * position c; CP = 4·C4 positions, taps in row-major kernel order. `gather` uses L = subgroup lanes, the others one
 * block with L = all output groups. The weights of a shortcut follow in each block as one more tap of 4·S4 positions.
 *
 * Epilogue: y = (acc + bias + emb[n] + residual) · outScale. `emb` has an entry per image, of which this layer's channels
 * begin at group EO. Absent tensors are bound to any readable value and switched off by a scalar, so that one pipeline
 * serves every layer where pipelines are dear.
 */
import { ShapeError } from "../../runtime/errors.ts";
import type { Codegen, Cost, Dims, Flags } from "../../runtime/kernel.ts";

/** Bound after a variant's own input tensors. `emb` is [N, E]; `residual` has the shape of y. */
export const OUTPUT_TENSORS = {
  w: "in *",
  bias: "in O",
  emb: "in *",
  residual: "in *",
  y: "out N HO WO O",
} as const;

/** Scalars of a convolution beside its tensors. */
export interface ConvScalars extends Dims {
  KH: number;
  KW: number;
  STRIDE: number;
  /** Zero lines above and columns to the left of the input. */
  PT: number;
  PL: number;
  /** vec4 groups of an entry of emb, and the first of this layer; USE_EMB 0 switches it off. */
  E4: number;
  EO: number;
  USE_EMB: number;
  USE_RESIDUAL: number;
  SCALE: number;
}

export const CONV_FLOATS = ["SCALE"] as const;

/** WGSL statements that finish `v` (vec4f) for pixel index `m` = (n·HO + y)·WO + x and group `o4`, and store it. */
export function epilogue(k: Codegen<Flags>, v: string, n: string, m: string, o4: string): string {
  return `{
    var r = ${v} + ${k.load("bias", o4)};
    if (USE_EMB != 0u) { r += ${k.load("emb", `${n} * E4 + EO + ${o4}`)}; }
    if (USE_RESIDUAL != 0u) { r += ${k.load("residual", `${m} * O4 + ${o4}`)}; }
    ${k.store("y", `${m} * O4 + ${o4}`, "r * SCALE")}
  }`;
}

/** Output size of one axis. @throws ShapeError when the declared output differs. */
export function checkOutput(where: string, dims: Dims, height: number, width: number): void {
  if (dims.HO !== height || dims.WO !== width)
    throw new ShapeError(where, "y", `${height}×${width} pixels`, [dims.HO ?? 0, dims.WO ?? 0]);
}

export function convCost(d: Dims, batch: number): Cost {
  const out = batch * (d.HO as number) * (d.WO as number) * (d.O4 as number) * 4;
  const k = ((d.KH as number) * (d.KW as number) * (d.C4 as number) + (d.S4 ?? 0)) * 4;
  const input = batch * (d.HO as number) * (d.WO as number) * (d.STRIDE as number) ** 2 * (d.C4 as number) * 4;
  return { flops: 2 * out * k, bytes: 4 * (out + input + k * (d.O4 as number) * 4) };
}
