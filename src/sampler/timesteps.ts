/**
 * Which of the T training timesteps a run of S steps visits. Every rule gives exactly S strictly decreasing integers in
 * 0..T-1 for every S in 1..T, or says which S does. leading, trailing and linspace are the formulas of diffusers in
 * integer arithmetic, where diffusers accumulates floats (62 of the 1000 `trailing` lists end at t = -1 there).
 */
import { UsageError } from "../runtime/errors.ts";

export interface TimestepOptions {
  /** T, the length of the training schedule. */
  numTrainTimesteps: number;
  /** S, the number of network evaluations. */
  steps: number;
  /** Added to every timestep of `leading`. */
  stepsOffset: number;
}

/** Timesteps in ascending order; may leave 0..T-1, which {@link spacedTimesteps} reports. */
type TimestepRule = (T: number, S: number, offset: number) => number[];

const indices = (S: number) => Array.from({ length: S }, (_, i) => i);

/** n/d rounded to the nearest integer, halves to even, for n ≥ 0 and d > 0 below 2^52. */
export function roundRatio(n: number, d: number): number {
  const floor = Math.floor(n / d);
  const twice = 2 * (n - floor * d);
  return twice > d || (twice === d && floor % 2 === 1) ? floor + 1 : floor;
}

const rules = {
  leading: (T, S, offset) => indices(S).map((i) => i * Math.floor(T / S) + offset),
  trailing: (T, S) => indices(S).map((i) => roundRatio(T * (i + 1), S) - 1),
  /** A single step is the noisiest one: that is where x_T is. */
  linspace: (T, S) => (S === 1 ? [T - 1] : indices(S).map((i) => roundRatio(i * (T - 1), S - 1))),
  uniform: (T, S) => indices(S).map((i) => Math.floor((i * T) / S)),
  /** ermongroup's and latent-diffusion's list, from 0.8 T down, with its repeated values moved apart. */
  quad: (T, S) => {
    let previous = -1;
    return squares(T, S).map((t) => {
      previous = Math.max(t, previous + 1);
      return previous;
    });
  },
} satisfies Record<string, TimestepRule>;

/** int(linspace(0, √(0.8 T), S)²) in float64, ascending, with repeated values where S is large. */
export function squares(T: number, S: number): number[] {
  const end = Math.sqrt(0.8 * T);
  const step = S > 1 ? end / (S - 1) : 0;
  return indices(S).map((i) => {
    const root = i > 0 && i === S - 1 ? end : i * step;
    return Math.floor(root * root);
  });
}

export type TimestepSpacing = keyof typeof rules;
export const timestepSpacings = Object.keys(rules) as TimestepSpacing[];

/** S as a caller gave it: a whole number from 1 to T. @throws UsageError otherwise */
export function checkSteps(steps: number, T: number): void {
  if (!Number.isInteger(steps) || steps < 1 || steps > T)
    throw new UsageError("steps", `steps must be a whole number from 1 to ${T} (num_train_timesteps), got ${steps}`);
}

/**
 * The timesteps of a rule, noisiest first.
 *
 * @throws UsageError naming the nearest S that works where `steps_offset` moves the list past the last timestep
 */
export function spacedTimesteps(spacing: TimestepSpacing, options: TimestepOptions): number[] {
  const { numTrainTimesteps: T, steps, stepsOffset } = options;
  checkSteps(steps, T);
  const list = rules[spacing](T, steps, stepsOffset);
  if (list[steps - 1]! < T) return list.reverse();
  const fits = (S: number) => S >= 1 && S <= T && rules[spacing](T, S, stepsOffset)[S - 1]! < T;
  const distance = indices(T).find((d) => fits(steps - d) || fits(steps + d));
  const nearest = distance === undefined ? undefined : fits(steps - distance) ? steps - distance : steps + distance;
  throw new UsageError(
    "steps",
    `${spacing} spacing with ${steps} steps and steps_offset ${stepsOffset} starts at t = ${list[steps - 1]}, past the last timestep ${T - 1}` +
      (nearest ? `; the nearest number of steps that works is ${nearest}` : ""),
  );
}

/**
 * A caller's own timesteps, checked: whole numbers in 0..T-1, strictly decreasing or strictly increasing.
 *
 * @returns them noisiest first
 * @throws UsageError naming the first value that is wrong
 */
export function customTimesteps(timesteps: readonly number[], T: number): number[] {
  if (timesteps.length === 0) throw new UsageError("timesteps", "timesteps must name at least one timestep");
  const outside = timesteps.find((t) => !Number.isInteger(t) || t < 0 || t >= T);
  if (outside !== undefined)
    throw new UsageError("timesteps", `timesteps must be whole numbers from 0 to ${T - 1}, got ${outside}`);
  const list = timesteps[0]! < timesteps[timesteps.length - 1]! ? timesteps.toReversed() : [...timesteps];
  const bad = list.findIndex((t, i) => i > 0 && t >= list[i - 1]!);
  if (bad > 0)
    throw new UsageError(
      "timesteps",
      `timesteps must be strictly decreasing, but ${list[bad]} follows ${list[bad - 1]}`,
    );
  return list;
}
