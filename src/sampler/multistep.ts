/**
 * Solvers that remember: DPM-Solver++ 2M (Lu et al. 2022, algorithm 2) and PLMS (Liu et al. 2022; latent-diffusion's
 * PLMSSampler). On a given pair both are the deterministic DDIM step with its x0, or its ε, replaced by a combination of
 * the last few, so they run on the same schedule as DDIM and compare with it evaluation by evaluation.
 */
import { UsageError } from "../runtime/errors.ts";
import { noiseFrom, stepCoefficients } from "./coefficients.ts";
import { referenceX0 } from "./referenceStep.ts";
import type { Schedule, ScheduleStep } from "./scheduleTypes.ts";

export const solvers = ["dpmpp2m", "plms"] as const;
export type Solver = (typeof solvers)[number];

/** x_prev = state · x + gain · Σ_k weights[k] · v_k, with v_0 the newest x0 (dpmpp2m) or ε (plms) and v_k the k-th before. */
export interface MultistepStep {
  state: number;
  gain: number;
  weights: number[];
  /**
   * PLMS's first step: after a plain step the network is evaluated again at the next timestep, and the step is repeated
   * with the mean of the two ε. One more evaluation for the whole run; the second ε is not remembered.
   */
  averagesAhead: boolean;
}

/** Adams–Bashforth weights of order 1 to 4. */
const plmsWeights = [[1], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24]];

/** ½ ln(ᾱ/(1 - ᾱ)), the solver's time. */
const halfLogSnr = (a: number) => 0.5 * Math.log(a / (1 - a));

/**
 * How much of the last slope of x0 a step of length h takes, in units of its own gain: a half (midpoint), or
 * 1/(1 - e^-h) - 1/h, what a slope that is constant over the step comes to (heun).
 */
function slopeShare(solverType: Schedule["solverType"], h: number): number {
  if (solverType === "midpoint") return 0.5;
  // The difference cancels in a short step.
  return h < 0.02 ? 0.5 + h / 12 - h ** 3 / 720 : -1 / Math.expm1(-h) - 1 / h;
}

/** Second order wherever there is a previous x0 and the step does not end at ᾱ = 1, whose time is infinite. */
function dpmWeights({ steps, solverType }: Schedule, i: number): number[] {
  const { alphaCumprod: a, alphaCumprodPrev: p } = steps[i]!;
  if (i === 0 || p === 1) return [1];
  const h = halfLogSnr(p) - halfLogSnr(a);
  const last = halfLogSnr(a) - halfLogSnr(steps[i - 1]!.alphaCumprod);
  const extrapolation = (slopeShare(solverType, h) * h) / last;
  return [1 + extrapolation, -extrapolation];
}

/**
 * The steps of a solver on a schedule's pairs.
 *
 * @throws UsageError when the schedule adds noise, or when plms would start from ᾱ = 0
 */
export function multistepSteps(schedule: Schedule, solver: Solver): MultistepStep[] {
  if (schedule.steps.some((step) => step.sigma > 0))
    throw new UsageError("eta", `${solver} is deterministic: eta must be 0`);
  if (solver === "plms" && schedule.steps[0]!.alphaCumprod === 0)
    throw new UsageError(
      "start",
      "plms works on ε, which does not say x0 at zero terminal SNR; start at a lower timestep",
    );
  return schedule.steps.map(({ alphaCumprod, alphaCumprodPrev }, i) => {
    const pair = { alphaCumprod, alphaCumprodPrev, eta: 0, threshold: null };
    if (solver === "plms") {
      const { k3, k4 } = stepCoefficients({ ...pair, prediction: "epsilon", clip: null, rederive: false });
      return { state: k3, gain: k4, weights: plmsWeights[Math.min(i, 3)]!, averagesAhead: i === 0 };
    }
    const { k3, k4 } = stepCoefficients({ ...pair, prediction: "sample", clip: null, rederive: false });
    return { state: k3, gain: k4, weights: dpmWeights(schedule, i), averagesAhead: false };
  });
}

/**
 * A whole run in float64 on the host.
 *
 * @param network the network's output for a flat state at a timestep
 * @returns the state after every step
 */
export function referenceMultistep(
  schedule: Schedule,
  solver: Solver,
  network: (x: Float64Array, t: number) => Float64Array,
  xT: ArrayLike<number>,
  images = 1,
): Float64Array[] {
  let x: Float64Array = Float64Array.from(xT);
  let past: Float64Array[] = [];
  return multistepSteps(schedule, solver).map(({ state, gain, weights, averagesAhead }, i) => {
    const evaluate = (at: Float64Array, step: ScheduleStep) =>
      rememberedValue(schedule, solver, step, at, network(at, step.tNetwork), images);
    const advance = (values: readonly Float64Array[]) =>
      x.map((v, j) => state * v + gain * weights.reduce((sum, w, k) => sum + w * values[k]![j]!, 0));
    const newest = evaluate(x, schedule.steps[i]!);
    past = [newest, ...past].slice(0, 4);
    const ahead = averagesAhead ? schedule.steps[i + 1] : undefined;
    const second = ahead && evaluate(advance(past), ahead);
    x = advance(second ? [newest.map((v, j) => (v + second[j]!) / 2)] : past);
    return x;
  });
}

/** x0 for DPM-Solver++, ε for PLMS; from the bounded x0 where the schedule bounds and re-derives. */
function rememberedValue(
  schedule: Schedule,
  solver: Solver,
  step: ScheduleStep,
  x: Float64Array,
  m: Float64Array,
  images: number,
): Float64Array {
  const [signal, noise] = [Math.sqrt(step.alphaCumprod), Math.sqrt(1 - step.alphaCumprod)];
  const bounded = schedule.rederive && (schedule.clip !== null || schedule.threshold !== null);
  if (solver === "dpmpp2m" || bounded) {
    const x0 = referenceX0(step, x, m, images);
    return solver === "dpmpp2m" ? x0 : x0.map((v, j) => (x[j]! - signal * v) / noise);
  }
  const [e0, e1] = noiseFrom(schedule.prediction, signal, noise);
  return x.map((v, j) => e0 * v + e1 * m[j]!);
}
