/** What a kernel does with the network's output before a rule begins: guidance, and x0 within its bound. */
import type { Codegen } from "../../runtime/kernel.ts";
import { maskChannels } from "../parts/normal.ts";
import { updateRow } from "./records.ts";
import type { StateFlags } from "./state.ts";

export interface PredictionFlags extends StateFlags {
  /** The guided output is rescaled by `factors`. */
  rescale: boolean;
  /** The network's output has more channels than the state; the first ones count. */
  wider: boolean;
}

export interface BoundFlags extends PredictionFlags {
  /** x0 is bounded by the image's threshold in `factors`, not by the row's clip. */
  threshold: boolean;
}

/** What these functions read beside x, whose access is the kernel's own. */
export const PREDICTION_TENSORS = { m: "in N H W O", updates: "in *", run: "in *" } as const;

/**
 * `predicted(n, e)`: the network's output for vector e of image n after guidance, m_u + w (m_c - m_u). Where w is 1, or guidance is off in
 * this step, it is m_c itself: then an image has the bits that it has in a run without guidance.
 */
export function predictedFunction(k: Codegen<PredictionFlags>): string {
  const { guided, rescale, wider } = k.flags;
  // Without further channels the padding is the network's own, which is zero.
  const output = wider ? "(n * H * W + e / C4) * O4 + c4" : "n * H * W * C4 + e";
  const lines = guided
    ? `let conditional = ${k.load("m", output)};
  let free = ${k.load("m", `${output} + N * H * W * O4`)};
  let on = guides(n);
  var m = select(conditional, free + weight(n) * (conditional - free), vec4<bool>(on));
  ${rescale ? `if (on) { m *= ${k.load("factors", "n")}.rescale; }` : ""}`
    : `var m = ${k.load("m", output)};`;
  return `${guided ? guidanceFunctions(k) : ""}
fn predicted(n: u32, e: u32) -> vec4f {
  ${k.prelude}
  ${wider ? "let c4 = e % C4;" : ""}
  ${lines}
  ${wider ? maskChannels("m", "c4") : ""}
  return m;
}`;
}

/** `weight(n)` and `guides(n)`. */
export const guidanceFunctions = (k: Codegen<StateFlags>): string => `
fn weight(n: u32) -> f32 { return run.images[n].guidance; }
fn guides(n: u32) -> bool { return ${updateRow(k)}.guided != 0u && weight(n) != 1.0; }`;

/** Marks the image whose x0 is not finite: by its exponent bits, since clamp(NaN) is a number and `v != v` folds away. */
const markNonFinite = (v: string): string => `
  let exponent = bitcast<vec4u>(${v}) & vec4u(0x7f800000u);
  if (any(exponent == vec4u(0x7f800000u))) { atomicMin(&status[n], frame.row); }`;

/** Bounds the variable `clean` by the row's clip, or by the image's threshold. */
const boundClean = (k: Codegen<BoundFlags>): string =>
  k.flags.threshold
    ? `let s = ${k.load("factors", "n")}.threshold; clean = clamp(clean, vec4f(-s), vec4f(s)) / s;`
    : "if (row.clip > 0.0) { clean = clamp(clean, vec4f(-row.clip), vec4f(row.clip)); }";

/**
 * Statements that begin every step: the `row`, the vector's `state`, the network's output `m` for it, and `clean`, its x0
 * within the bound.
 */
export const cleanStatements = (k: Codegen<BoundFlags>): string => `let row = ${updateRow(k)};
  let state = ${k.load("x", "i")};
  let m = predicted(n, e);
  var clean = row.k0 * state + row.k1 * m;
  ${markNonFinite("clean")}
  ${boundClean(k)}`;
