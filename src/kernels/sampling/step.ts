/** Guidance, x0, the update and its noise in one dispatch: the step of every rule that needs no memory. */
import { type Codegen, defineKernel } from "../../runtime/kernel.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { EXP_FUNCTION } from "../parts/exp.ts";
import { maskChannels } from "../parts/normal.ts";
import { type BoundFlags, cleanStatements, PREDICTION_TENSORS, predictedFunction } from "./prediction.ts";
import { RECORDS } from "./records.ts";
import { NOISE_FUNCTIONS, type NoiseSource, normal, perVector, stateVectors, storeState } from "./state.ts";

export interface NoisyFlags extends BoundFlags {
  /** Whether some step adds noise, and whose; `given` is the tensor z. */
  noise: NoiseSource;
  /** Some step's variance is the network's to say, in its second half of channels. */
  learned: boolean;
}

/**
 * `standard_deviation(…)` of a step with learned_range: the logarithm of the variance lies between the row's two bounds at
 * f = (v + 1)/2. Channel c's v is channel C + c of the network's output (of its conditional half), which begins anywhere
 * in a vec4.
 */
const deviationFunction = (k: Codegen<NoisyFlags>): string => wgsl`
${EXP_FUNCTION}
fn standard_deviation(n: u32, pixel: u32, c4: u32, low: f32, high: f32) -> vec4f {
  ${k.prelude}
  let first = C + c4 * 4u;
  let base = (n * H * W + pixel) * O4 + first / 4u;
  let a = ${k.load("m", "base")};
  var b = a;
  if (first / 4u + 1u < O4) { b = ${k.load("m", "base + 1u")}; }
  var v = a;
  switch (first % 4u) {
    case 1u: { v = vec4f(a.yzw, b.x); }
    case 2u: { v = vec4f(a.zw, b.xy); }
    case 3u: { v = vec4f(a.w, b.xyz); }
    default: {}
  }
  let f = (v + 1.0) * 0.5;
  return natural_exp(0.5 * (f * high + (1.0 - f) * low));
}`;

/** What the statements of a step call. */
export const stepFunctions = (k: Codegen<NoisyFlags>): string => `${predictedFunction(k)}
${k.flags.noise === "philox" ? NOISE_FUNCTIONS : ""}
${k.flags.learned ? deviationFunction(k) : ""}`;

/** Statements that add a step's own noise to `next`. */
export const noiseStatements = (k: Codegen<NoisyFlags>): string => wgsl`
  #if ${k.flags.noise !== "none"}
  if (row.sigma > 0.0) {
    var z = ${k.flags.noise === "given" ? k.load("z", "i") : normal("frame.row")};
    ${maskChannels("z", "c4")}
    #if ${k.flags.learned}
    if (row.learned != 0u) { next += standard_deviation(n, pixel, c4, row.logMin, row.logMax) * z; }
    else { next += row.sigma * z; }
    #else
    next += row.sigma * z;
    #endif
  }
  #endif`;

/**
 * x0 = bound(k0 x + k1 m);  x ← k2 x0 + k3 x + k4 m + σ z  (records.ts, src/sampler/coefficients.ts). `m` may have more
 * channels than x (learned variance): the first ones count. `status[n]` becomes the first row whose x0 is not finite.
 */
export const ddimStep = defineKernel<NoisyFlags>({
  name: "ddimStep",
  tensors: {
    x: "inout N H W C",
    ...PREDICTION_TENSORS,
    status: "atomic *",
    x0: "out N H W C",
    z: "in? N H W C",
    factors: "in? *",
  },
  records: RECORDS,
  frame: true,
  variants: perVector(
    stepFunctions,
    (k) => wgsl`
  ${cleanStatements(k)}
  var next = row.k2 * clean + row.k3 * state + row.k4 * m;
  ${noiseStatements(k)}
  ${storeState(k, "next")}
  ${k.store("x0", "i", "clean")}`,
  ),
  cost(d, batch, flags) {
    const vectors = stateVectors(d, batch);
    return { flops: 40 * vectors, bytes: 16 * vectors * (flags.guided ? 6 : 4) };
  },
});
