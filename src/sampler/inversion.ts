/**
 * From an image back to the latent that DDIM with eta 0 turns into it. Every scheme walks the schedule's pairs upwards.
 *
 * - `next` (diffusers' DDIMInverseScheduler): the network is asked at the timestep that the step leads to;
 * - `current` (OpenAI's ddim_reverse_sample): at the timestep where the step starts, 0 for the clean image;
 * - `fixed-point`: `next` as a first guess, then x = (x_src - k4 m(x, t_dst))/k3, the equation that the sampler's own step
 *   fulfils, is iterated (Pan et al. 2023; Meiri et al. 2023);
 * - `exact`: BDIA (Zhang et al. 2023) with γ = 1, which remembers two states and can be undone but for rounding.
 */
import type { Update } from "../kernels/sampling/records.ts";
import { UsageError } from "../runtime/errors.ts";
import { noiseFrom, type PredictionType, type StepCoefficients, stepCoefficients } from "./coefficients.ts";
import { cleanPart, type Plan, type PlanRow, plainUpdate, planOf } from "./plan.ts";
import type { Compat, Schedule, ScheduleStep } from "./scheduleTypes.ts";

export const inversions = ["next", "current", "fixed-point", "exact"] as const;
export type Inversion = (typeof inversions)[number];

/**
 * Whether a system has a convention as its own. Its inversions are then reproduced as they are: x0 is clipped as there, and
 * OpenAI's ladder counts the clean image as the lowest timestep's and ends at pure ε.
 */
export const isOwnInversion = (compat: Compat | undefined, convention: Inversion): boolean =>
  (compat === "diffusers" && convention === "next") || (compat === "openai" && convention === "current");

interface Bound {
  readonly clip: number | null;
  readonly rederive: boolean;
}

/** The ODE's step between any two levels, in either direction, from 1 and to 0 included. */
export function levelCoefficients(
  from: number,
  to: number,
  prediction: PredictionType,
  { clip, rederive }: Bound = { clip: null, rederive: false },
): StepCoefficients {
  // From a clean image the formulas are 0/0: x0 is x, and the network's output is ε for epsilon and for v alike.
  if (from === 1) {
    const [k2, k3] = clip === null ? [0, Math.sqrt(to)] : [Math.sqrt(to), 0];
    return { k0: 1, k1: 0, k2, k3, k4: Math.sqrt(1 - to), clip, threshold: null };
  }
  const step = { alphaCumprod: from, eta: 0, prediction, clip, threshold: null, rederive };
  if (to > 0) return stepCoefficients({ ...step, alphaCumprodPrev: to });
  // To no signal at all: ε alone remains, the network's or what x and x0 leave.
  const { k0, k1 } = stepCoefficients({ ...step, alphaCumprodPrev: 1 });
  const [signal, noise] = [Math.sqrt(from), Math.sqrt(1 - from)];
  const [k3, k4] = noiseFrom(prediction, signal, noise);
  const own = clip !== null && rederive ? { k2: -signal / noise, k3: 1 / noise, k4: 0 } : { k2: 0, k3, k4 };
  return { k0, k1, ...own, clip, threshold: null };
}

/** @param lowest ᾱ where the way up begins */
function checkInvertible({ steps, prediction }: Schedule, lowest: number): void {
  if (steps.some((s) => s.sigma > 0))
    throw new UsageError("eta", "only the deterministic sampler has an inverse: eta must be 0");
  if (prediction === "sample" && lowest === 1)
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
 * @param schedule eta 0; its clip is not used, because a bounded step has no inverse, but where {@link isOwnInversion}
 * @param iterations evaluations per step beyond the first guess, for `fixed-point`
 * @throws UsageError when the schedule has no inverse
 */
export function planInversion(schedule: Schedule, convention: Inversion, iterations: number): Plan {
  const { steps, prediction, compat } = schedule;
  const ladder = compat === "openai" && isOwnInversion(compat, convention);
  checkInvertible(schedule, ladder ? steps.at(-1)!.alphaCumprod : schedule.finalAlphaCumprod);
  if (ladder) return reversedLadder(schedule);
  const bound = isOwnInversion(compat, convention) ? schedule : undefined;
  const up = (i: number) => levelCoefficients(steps[i]!.alphaCumprodPrev, steps[i]!.alphaCumprod, prediction, bound);
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
      const solve = { value: OUTPUT, base: 1 / k3, weights: [-k4 / k3], save: last };
      rows.push({ ...row, update: { ...cleanPart({ ...c, k0, k1 }), ...solve }, residual: last });
    }
  }
  const memoryless = convention === "next" || convention === "current";
  return planOf(rows, null, memoryless ? null : BASE);
}

/** OpenAI's ddim_reverse_sample at every timestep of the list: from its level to the next one's, the last to ᾱ = 0. */
function reversedLadder({ steps, prediction, clip, rederive }: Schedule): Plan {
  const rows = steps.map(({ t, tNetwork, alphaCumprod }, i): PlanRow => {
    const coefficients = levelCoefficients(alphaCumprod, steps[i - 1]?.alphaCumprod ?? 0, prediction, {
      clip,
      rederive,
    });
    return { step: i, t, tNetwork, alphaCumprod, update: plainUpdate({ coefficients, sigma: 0, logVariance: null }) };
  });
  return planOf(rows.reverse(), null);
}

/** v_0 is the network's output. */
const OUTPUT = [0, 1, 0];
/** A state is remembered, and no v. */
const BASE = { ring: 0, base: true };

/** x ← k3 x + k4 m, and the old x is remembered. */
const ascent = (c: StepCoefficients): Update => ({
  ...cleanPart(c),
  value: OUTPUT,
  k3: c.k3,
  weights: [c.k4],
  save: true,
});

/** x ← base + (one step on from x) - (one step back from x), and the old x is remembered. */
const leap = (on: StepCoefficients, back: StepCoefficients): Update => ({
  ...cleanPart(on),
  value: OUTPUT,
  k3: on.k3 - back.k3,
  base: 1,
  weights: [on.k4 - back.k4],
  save: true,
});

/**
 * The way down from the two states that `exact` ends with: x is the one before the noisiest, the base the noisiest.
 *
 * @returns one evaluation fewer than the schedule has steps; nothing for a single step, whose second state is the image
 */
export function planExactReturn(schedule: Schedule): Plan {
  checkInvertible(schedule, schedule.finalAlphaCumprod);
  const { steps, prediction } = schedule;
  const rows = steps.slice(1).map((step, j): PlanRow => {
    const upper = steps[j]!;
    const on = levelCoefficients(step.alphaCumprod, step.alphaCumprodPrev, prediction);
    const back = levelCoefficients(step.alphaCumprod, upper.alphaCumprod, prediction);
    const { t, tNetwork, alphaCumprod } = step;
    return { step: j + 1, t, tNetwork, alphaCumprod, update: leap(on, back) };
  });
  return planOf(rows, null, BASE);
}
