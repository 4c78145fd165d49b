/**
 * What the sampler's kernels share. The state x is f32 [N, H, W, C] in a buffer whatever the network's dtype; with
 * guidance it is stored twice, conditional half first, so that the network sees both as one batch, or the first half alone
 * where nothing is guided.
 *
 * `run`, u32: the seed's low and high half, guidance rescale φ as f32 bits, 0; then per image its number, the sign bit of
 * its noise, its guidance scale as f32 bits, 0.
 *
 * `coefficients`, f32, four vectors per row of the plan, the first the same for every rule: (k0, k1, clip or 0, whether
 * guidance is on). Row `frame.w` is the current one; x0 = k0 x + k1 m before it is bounded.
 *
 * `factors`, one vector per image: (guidance rescale factor, threshold s), made by the kernels of factors.ts, one workgroup per image.
 */
import type { Codegen, Flags } from "../../runtime/kernel.ts";
import { ceilDiv } from "../../runtime/values.ts";
import { maskChannels } from "../parts/normal.ts";

export const RUN_HEADER = 4;
export const RUN_STRIDE = 4;
export const ROW_VECTORS = 4;

/** Bits of the step word under which noise other than a step's own is drawn (docs/rng.md). */
export const RENOISE_WORD = 0x40000000;
export const KNOWN_WORD = 0x80000000;

export interface StateFlags extends Flags {
  /** The state is stored twice, and the network's output holds both halves. */
  guided: boolean;
}

export interface PredictionFlags extends StateFlags {
  /** The guided output is rescaled by `factors`. */
  rescale: boolean;
  /** The network's output has more channels than the state; the first ones count. */
  wider: boolean;
}

export type NoiseSource = "none" | "philox" | "given";

export const stateGrid = (d: Readonly<Record<string, number>>, batch: number, wg: number) =>
  [ceilDiv((d.W as number) * (d.C4 as number), wg), d.H as number, batch] as const;
export const stateWorkgroup = (target: { software: boolean }) => (target.software ? 32 : 64);

/** Vectors of a state at batch N. */
export const stateVectors = (d: Readonly<Record<string, number>>, batch: number): number =>
  batch * (d.H as number) * (d.W as number) * (d.C4 as number);

/**
 * Scope of a thread: image n, and one vec4 of the state by its index e in the image and i in the batch, its pixel and its
 * channel group c4. The last two take divisions, which are dear on software adapters and vanish where they are not used.
 */
export const thread = (k: Codegen<Flags>): string => `@compute @workgroup_size(${k.workgroup})
fn main(@builtin(global_invocation_id) id: vec3u) {
  ${k.prelude}
  if (id.x >= W * C4) { return; }
  let n = id.z;
  let c4 = id.x % C4;
  let pixel = id.y * W + id.x / C4;
  let e = id.y * W * C4 + id.x;
  let i = n * H * W * C4 + e;`;

/** Philox noise of (step word, image n); antithetic images flip its sign. */
export const normal = (word: string): string =>
  `flipped(normal4(vec4u(pixel, c4, ${word}, run[${RUN_HEADER}u + n * ${RUN_STRIDE}u]), vec2u(run[0], run[1])), n)`;

export const FLIP_FUNCTION = `
fn flipped(z: vec4f, n: u32) -> vec4f {
  return bitcast<vec4f>(bitcast<vec4u>(z) ^ vec4u(run[${RUN_HEADER}u + n * ${RUN_STRIDE}u + 1u]));
}`;

/** `head()`: the row's first vector. */
export const headFunction = (k: Codegen<Flags>): string => `
fn head() -> vec4f { return ${k.load("coefficients", `frame.w * ${ROW_VECTORS}u`)}; }`;

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

/** `weight(n)` and `guides(n)`; needs `head()`. */
export const guidanceFunctions = `
fn weight(n: u32) -> f32 { return bitcast<f32>(run[${RUN_HEADER}u + n * ${RUN_STRIDE}u + 2u]); }
fn guides(n: u32) -> bool { return head().w > 0.0 && weight(n) != 1.0; }`;

/** Marks the image whose x0 is not finite: by its exponent bits, since clamp(NaN) is a number and `v != v` folds away. */
export const markNonFinite = (v: string): string => `
  let exponent = bitcast<vec4u>(${v}) & vec4u(0x7f800000u);
  if (any(exponent == vec4u(0x7f800000u))) { atomicMin(&status[n], frame.w); }`;

/** Bounds the variable `clean` by the row (whose head is `first`)'s clip, or by the image's threshold. */
export const boundClean = (threshold: boolean): string =>
  threshold
    ? "let s = factors[n].y; clean = clamp(clean, vec4f(-s), vec4f(s)) / s;"
    : "if (first.z > 0.0) { clean = clamp(clean, vec4f(-first.z), vec4f(first.z)); }";

/** Writes `next` to every copy of the state. */
export const storeState = (k: Codegen<StateFlags>, next: string): string => `${k.store("x", "i", next)}
  ${k.flags.guided ? k.store("x", "i + N * H * W * C4", next) : ""}`;
