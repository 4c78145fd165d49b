/**
 * From an image back to the latent that DDIM with eta 0 turns into it. Every scheme walks the schedule's pairs upwards.
 *
 * - `next` (diffusers' DDIMInverseScheduler): the network is asked at the timestep that the step leads to;
 * - `current` (OpenAI's ddim_reverse_sample): at the timestep where the step starts, 0 for the clean image;
 * - `fixed-point`: `next` as a first guess, then x = (x_src - k4 m(x, t_dst))/k3, the equation that the sampler's own step
 *   fulfils, is iterated (Pan et al. 2023; Meiri et al. 2023);
 * - `exact`: BDIA (Zhang et al. 2023) with γ = 1, which remembers two states and can be undone but for rounding.
 */
import { UsageError } from "../runtime/errors.ts";
import { type PredictionType, type StepCoefficients, stepCoefficients } from "./coefficients.ts";
import { historyUpdate, type Plan, type PlanRow, plainUpdate } from "./plan.ts";
import type { Schedule, ScheduleStep } from "./scheduleTypes.ts";

export const inversions = ["next", "current", "fixed-point", "exact"] as const;
export type Inversion = (typeof inversions)[number];

/** The ODE's step between any two levels, in either direction, without bounds. */
export function levelCoefficients(from: number, to: number, prediction: PredictionType): StepCoefficients {
  if (from < 1)
    return stepCoefficients({
      alphaCumprod: from,
      alphaCumprodPrev: to,
      eta: 0,
      prediction,
      clip: null,
      threshold: null,
      rederive: false,
    });
  // From a clean image the formulas are 0/0: x0 is x, and the network's output is ε for epsilon and for v alike.
  return { k0: 1, k1: 0, k2: 0, k3: Math.sqrt(to), k4: Math.sqrt(1 - to), clip: null, threshold: null };
}

function checkInvertible({ steps, prediction, finalAlphaCumprod }: Schedule): void {
  if (steps.some((s) => s.sigma > 0))
    throw new UsageError("eta", "only the deterministic sampler has an inverse: eta must be 0");
  if (prediction === "sample" && finalAlphaCumprod === 1)
    throw new UsageError(
      "prediction",
      "a network that predicts the sample says nothing about ε at a clean image: cannot invert",
    );
  if (steps[0]!.alphaCumprod === 0 && prediction === "epsilon")
    throw new UsageError("prediction", "epsilon cannot be inverted to zero terminal SNR");
}

/** Where a pair's lower end is: the step before it in the list, or the end of the run. */
const lowerTimestep = (steps: readonly ScheduleStep[], i: number): number => steps[i + 1]?.tNetwork ?? 0;

/**
 * The rows of an inversion, from the image up.
 *
 * @param schedule eta 0; its clip is not used, because a bounded step has no inverse
 * @param iterations evaluations per step beyond the first guess, for `fixed-point`
 * @throws UsageError when the schedule has no inverse
 */
export function planInversion(schedule: Schedule, convention: Inversion, iterations: number): Plan {
  checkInvertible(schedule);
  const { steps, prediction } = schedule;
  const up = (i: number) => levelCoefficients(steps[i]!.alphaCumprodPrev, steps[i]!.alphaCumprod, prediction);
  const down = (i: number) => levelCoefficients(steps[i]!.alphaCumprod, steps[i]!.alphaCumprodPrev, prediction);
  const rows: PlanRow[] = [];
  for (let i = steps.length - 1; i >= 0; i--) {
    const { t, tNetwork, alphaCumprodPrev: alphaCumprod } = steps[i]!;
    const row = { step: i, t, tNetwork, alphaCumprod };
    const c = up(i);
    if (convention === "next" || convention === "current") {
      const update = plainUpdate({ coefficients: c, sigma: 0, logVariance: null });
      rows.push({ ...row, tNetwork: convention === "next" ? tNetwork : lowerTimestep(steps, i), update });
      continue;
    }
    const first = convention === "fixed-point" || i === steps.length - 1;
    if (first) rows.push({ ...row, update: ascent(c) });
    if (convention === "exact" && !first) {
      // From the two states around it the network is asked at the middle one.
      const { t: middle, tNetwork: at } = steps[i + 1]!;
      rows.push({ ...row, t: middle, tNetwork: at, update: leap(c, down(i + 1)) });
    }
    if (convention !== "fixed-point") continue;
    const { k0, k1, k3, k4 } = down(i);
    for (let j = 0; j < iterations; j++) {
      const last = j === iterations - 1;
      const solve = { value: [0, 1, 0] as const, state: 0, base: 1 / k3, weights: [-k4 / k3], save: last };
      const coefficients = { ...c, k0, k1 };
      rows.push({ ...row, update: historyUpdate(coefficients, solve), residual: last });
    }
  }
  const memoryless = convention === "next" || convention === "current";
  return { rows, history: memoryless ? null : { ring: 0, base: true }, threshold: null, noise: false, learned: false };
}

/** x ← k3 x + k4 m, and the old x is remembered. */
const ascent = (c: StepCoefficients) =>
  historyUpdate(c, { value: [0, 1, 0], state: c.k3, weights: [c.k4], save: true });

/** x ← base + (one step on from x) - (one step back from x), and the old x is remembered. */
const leap = (on: StepCoefficients, back: StepCoefficients) =>
  historyUpdate(on, { value: [0, 1, 0], state: on.k3 - back.k3, base: 1, weights: [on.k4 - back.k4], save: true });

/**
 * The way down from the two states that `exact` ends with: x is the one before the noisiest, the base the noisiest.
 *
 * @returns one evaluation fewer than the schedule has steps; nothing for a single step, whose second state is the image
 */
export function planExactReturn(schedule: Schedule): Plan {
  checkInvertible(schedule);
  const { steps, prediction } = schedule;
  const rows = steps.slice(1).map((step, j): PlanRow => {
    const upper = steps[j]!;
    const on = levelCoefficients(step.alphaCumprod, step.alphaCumprodPrev, prediction);
    const back = levelCoefficients(step.alphaCumprod, upper.alphaCumprod, prediction);
    const { t, tNetwork, alphaCumprod } = step;
    return { step: j + 1, t, tNetwork, alphaCumprod, update: leap(on, back) };
  });
  return { rows, history: { ring: 0, base: true }, threshold: null, noise: false, learned: false };
}
