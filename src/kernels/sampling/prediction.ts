/** What a kernel does with the network's output before a rule begins: guidance, and x0 within its bound. */
import type { Codegen, Flags } from "../../runtime/kernel.ts";
import { maskChannels } from "../parts/normal.ts";
import { RUN_HEADER, RUN_STRIDE, type StateFlags } from "./state.ts";

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
export const PREDICTION_TENSORS = { m: "in N H W O", coefficients: "in *", run: "in *" } as const;

/** Vectors per row of `coefficients`. */
const ROW_VECTORS = 4;

/** Expression: vector j of the row. */
export const rowVector = (k: Codegen<Flags>, j: number): string =>
  k.load("coefficients", `frame.w * ${ROW_VECTORS}u + ${j}u`);

/** `head()`: the row's first vector. */
export const headFunction = (k: Codegen<Flags>): string => `
fn head() -> vec4f { return ${k.load("coefficients", `frame.w * ${ROW_VECTORS}u`)}; }`;

/**
 * `predicted(n, e)`: the network's output for vector e of image n after guidance, m_u + w (m_c - m_u). Where w is 1, or guidance is off in
 * this step, it is m_c itself: then an image has the bits that it has in a run without guidance.
 */
function predictedFunction(k: Codegen<PredictionFlags>): string {
  const { guided, rescale, wider } = k.flags;
  // Without further channels the padding is the network's own, which is zero.
  const output = wider ? "(n * H * W + e / C4) * O4 + c4" : "n * H * W * C4 + e";
  const lines = guided
    ? `let conditional = ${k.load("m", output)};
  let free = ${k.load("m", `${output} + N * H * W * O4`)};
  let on = guides(n);
  var m = select(conditional, free + weight(n) * (conditional - free), vec4<bool>(on));
  ${rescale ? "if (on) { m *= factors[n].x; }" : ""}`
    : `var m = ${k.load("m", output)};`;
  return `${guided ? guidanceFunctions : ""}
fn predicted(n: u32, e: u32) -> vec4f {
  ${k.prelude}
  ${wider ? "let c4 = e % C4;" : ""}
  ${lines}
  ${wider ? maskChannels("m", "c4") : ""}
  return m;
}`;
}

/** `head()` and `predicted(n, e)`. */
export const predictionFunctions = (k: Codegen<PredictionFlags>): string => `${headFunction(k)}
${predictedFunction(k)}`;

/** `weight(n)` and `guides(n)`; needs `head()`. */
export const guidanceFunctions = `
fn weight(n: u32) -> f32 { return bitcast<f32>(run[${RUN_HEADER}u + n * ${RUN_STRIDE}u + 2u]); }
fn guides(n: u32) -> bool { return head().w > 0.0 && weight(n) != 1.0; }`;

/** Marks the image whose x0 is not finite: by its exponent bits, since clamp(NaN) is a number and `v != v` folds away. */
const markNonFinite = (v: string): string => `
  let exponent = bitcast<vec4u>(${v}) & vec4u(0x7f800000u);
  if (any(exponent == vec4u(0x7f800000u))) { atomicMin(&status[n], frame.w); }`;

/** Bounds the variable `clean` by the row (whose head is `first`)'s clip, or by the image's threshold. */
const boundClean = (threshold: boolean): string =>
  threshold
    ? "let s = factors[n].y; clean = clamp(clean, vec4f(-s), vec4f(s)) / s;"
    : "if (first.z > 0.0) { clean = clamp(clean, vec4f(-first.z), vec4f(first.z)); }";

/**
 * Statements that begin every step: the vector's `state`, the network's output `m` for it, and `clean`, its x0 within the
 * bound. Needs the row's head as `first`.
 */
export const cleanStatements = (k: Codegen<BoundFlags>): string => `let state = ${k.load("x", "i")};
  let m = predicted(n, e);
  var clean = first.x * state + first.y * m;
  ${markNonFinite("clean")}
  ${boundClean(k.flags.threshold)}`;
