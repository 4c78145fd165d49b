/**
 * Solvers that remember: DPM-Solver++ 2M (Lu et al. 2022, algorithm 2; 1M and 3M where the model says so) and PLMS (Liu et al. 2022; latent-diffusion's
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
   * PLMS's first step: after a plain step the network is evaluated again at this step's timestep, and the first is repeated
   * with the mean of the two ε. One more evaluation for the whole run; the second ε is not remembered. Null everywhere else.
   */
  ahead: ScheduleStep | null;
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

/** DPMSolverMultistepScheduler's defaults, for schedules of another sampler. */
const usual: NonNullable<Schedule["solver"]> = { order: 2, lowerOrderFinal: true, eulerAtFinal: false };

/** The order of step i: the solver's own where there are as many x0, 1 to ᾱ = 1, whose time is infinite, lower near the end. */
function dpmOrder({ steps, solver = usual }: Schedule, i: number): number {
  if (steps[i]!.alphaCumprodPrev === 1) return 1;
  const order = Math.min(solver.order, i + 1);
  // A run with a `stop` ends in the middle, so its last step is not the solver's last.
  if (steps.at(-1)!.tPrev !== null) return order;
  const left = steps.length - 1 - i;
  if (left === 0 && solver.eulerAtFinal) return 1;
  return solver.lowerOrderFinal && steps.length < 15 ? Math.min(order, left + 1) : order;
}

/** Weights of the last x0s, newest first, from finite differences of x0 over the solver's time. */
function dpmWeights(schedule: Schedule, i: number): number[] {
  const { steps, solverType } = schedule;
  const order = dpmOrder(schedule, i);
  if (order === 1) return [1];
  const time = (k: number) => halfLogSnr(steps[k]!.alphaCumprod);
  const h = halfLogSnr(steps[i]!.alphaCumprodPrev) - time(i);
  const r0 = (time(i) - time(i - 1)) / h;
  if (order === 2) {
    const extrapolation = slopeShare(solverType, h) / r0;
    return [1 + extrapolation, -extrapolation];
  }
  const r1 = (time(i - 1) - time(i - 2)) / h;
  // The slope and the curvature at the newest x0, in units of the step: u (v_0 - v_1) + w (v_1 - v_2) each.
  const slope = { u: (1 + r0 / (r0 + r1)) / r0, w: -r0 / (r0 + r1) / r1 };
  const curvature = { u: 1 / (r0 + r1) / r0, w: -1 / (r0 + r1) / r1 };
  const [c1, c2] = [slopeShare("heun", h), curvatureShare(h)];
  const u = c1 * slope.u + c2 * curvature.u;
  const w = c1 * slope.w + c2 * curvature.w;
  return [1 + u, w - u, -w];
}

/**
 * The same of the curvature, exactly: 1/2 less the (e^-h - 1 + h)/h² that a curvature constant over the step comes to, in
 * units of the gain 1 - e^-h.
 */
function curvatureShare(h: number): number {
  if (h < 0.005) return 1 / 6 + h / 24 + (h * h) / 720;
  return (0.5 - (Math.expm1(-h) + h) / (h * h)) / -Math.expm1(-h);
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
  const { steps, compat } = schedule;
  return steps.map(({ alphaCumprod, alphaCumprodPrev }, i) => {
    const pair = { alphaCumprod, alphaCumprodPrev, eta: 0, threshold: null };
    if (solver === "plms") {
      const { k3, k4 } = stepCoefficients({ ...pair, prediction: "epsilon", clip: null, rederive: false });
      // latent-diffusion evaluates a single step's own timestep twice.
      const ahead = i > 0 ? null : (steps[1] ?? (compat === "ldm" ? steps[0]! : null));
      return { state: k3, gain: k4, weights: plmsWeights[Math.min(i, 3)]!, ahead };
    }
    const { k3, k4 } = stepCoefficients({ ...pair, prediction: "sample", clip: null, rederive: false });
    return { state: k3, gain: k4, weights: dpmWeights(schedule, i), ahead: null };
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
  return multistepSteps(schedule, solver).map(({ state, gain, weights, ahead }, i) => {
    const evaluate = (at: Float64Array, step: ScheduleStep) =>
      rememberedValue(schedule, solver, step, at, network(at, step.tNetwork), images);
    const advance = (values: readonly Float64Array[]) =>
      x.map((v, j) => state * v + gain * weights.reduce((sum, w, k) => sum + w * values[k]![j]!, 0));
    const newest = evaluate(x, schedule.steps[i]!);
    past = [newest, ...past].slice(0, 4);
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
