/**
 * Which of the T training timesteps a run of S steps visits: exactly S strictly decreasing integers in 0..T-1, or an error
 * that says which S works.
 */
import { UsageError } from "../runtime/errors.ts";
import { parseSpacing, type TimestepRule, type TimestepSpacing, timestepSpacings } from "./timestepRules.ts";

export { type TimestepSpacing, timestepSpacings };

export interface TimestepOptions {
  /** S; where the spacing says it itself (`ddim25`, `10,10,5`) it may be left out. */
  steps?: number;
  /** Added to every timestep of `leading`. */
  stepsOffset: number;
  /** ᾱ_t for t = 0..T-1. */
  alphasCumprod: Float64Array;
  /** The noisiest timestep of the run, T - 1 by default. */
  start?: number;
  /** The timestep at which the run ends without evaluating it; by default it ends below t = 0. */
  stop?: number;
}

/** S as a caller gave it: a whole number from 1 to T, which `most` explains. @throws UsageError otherwise */
export function checkSteps(steps: number, T: number, most = "num_train_timesteps"): void {
  if (!Number.isInteger(steps) || steps < 1 || steps > T)
    throw new UsageError("steps", `steps must be a whole number from 1 to ${T} (${most}), got ${steps}`);
}

/** The number of steps: asked for, said by the spacing, or 50 (all of them if there are fewer). */
export function resolveSteps(asked: number | undefined, said: number | undefined, available: number): number {
  if (asked !== undefined && said !== undefined && asked !== said)
    throw new UsageError("steps", `steps is ${asked}, but the spacing lists ${said}`);
  return asked ?? said ?? Math.min(50, available);
}

function checkWindow(T: number, start: number, stop: number): void {
  if (!Number.isInteger(start) || start < 0 || start >= T)
    throw new UsageError("start", `start must be a whole number from 0 to ${T - 1}, got ${start}`);
  if (!Number.isInteger(stop) || stop < -1 || stop >= start)
    throw new UsageError("stop", `stop must be a whole number from 0 to ${start - 1} (below start), got ${stop}`);
}

/**
 * The timesteps of a rule, noisiest first. With `start` or `stop` the rule is applied to the timesteps between them, and
 * its noisiest timestep is moved to `start` itself.
 *
 * @throws UsageError for an unknown rule, a number of steps it has no list for, or a window that is empty
 */
export function spacedTimesteps(spacing: TimestepSpacing, options: TimestepOptions): number[] {
  const { stepsOffset: offset, start, stop = -1 } = options;
  const { rule, steps } = parseSpacing(spacing);
  const window = windowOf(options);
  const T = window.length;
  const S = resolveSteps(options.steps, steps, T);
  const whole = T === options.alphasCumprod.length;
  checkSteps(S, T, whole ? undefined : `the timesteps from t = ${stop + T} down to ${stop + 1}`);
  const apply = (count: number) => fitting(rule, { T, S: count, offset, alphasCumprod: window });
  const list = apply(S);
  if (!list)
    throw new UsageError("steps", noList(spacing, S, T, offset, steps === undefined ? nearest(apply, S, T) : 0));
  const shifted = list.map((t) => t + stop + 1).reverse();
  if (start !== undefined) shifted[0] = start;
  return shifted;
}

/** ᾱ between `start` and `stop`. @throws UsageError when there is nothing between them */
function windowOf({ alphasCumprod, start = alphasCumprod.length - 1, stop = -1 }: TimestepOptions): Float64Array {
  checkWindow(alphasCumprod.length, start, stop);
  return alphasCumprod.subarray(stop + 1, start + 1);
}

/**
 * The largest number of steps, up to those asked for (or 50), that a rule has a list of between `start` and `stop`; those
 * asked for where that is none, where the rule says the number itself, or where no run of the model has as many.
 */
export function fittingSteps(spacing: TimestepSpacing, options: TimestepOptions): number {
  const { stepsOffset: offset, steps: asked = 50 } = options;
  const { rule, steps } = parseSpacing(spacing);
  const window = windowOf(options);
  if (steps !== undefined || !Number.isInteger(asked) || asked > options.alphasCumprod.length) return asked;
  for (let S = Math.min(asked, window.length); S >= 1; S--)
    if (fitting(rule, { T: window.length, S, offset, alphasCumprod: window })) return S;
  return asked;
}

/** The rule's list if there is one and it stays below T. */
function fitting(rule: TimestepRule, input: Parameters<TimestepRule>[0]): number[] | null {
  const list = rule(input);
  return list?.length && list.at(-1)! < input.T ? list : null;
}

function nearest(apply: (S: number) => number[] | null, S: number, T: number): number {
  const works = (count: number) => count >= 1 && count <= T && apply(count) !== null;
  for (let distance = 1; distance < T; distance++) {
    if (works(S - distance)) return S - distance;
    if (works(S + distance)) return S + distance;
  }
  return 0;
}

function noList(spacing: string, S: number, T: number, offset: number, alternative: number): string {
  const cause = spacing === "leading" ? ` (steps_offset ${offset} moves it past t = ${T - 1})` : "";
  const remedy = alternative ? `; the nearest number of steps that works is ${alternative}` : "";
  return `${spacing} spacing has no list of ${S} ${S === 1 ? "step" : "steps"} over ${T} timesteps${cause}${remedy}`;
}

/**
 * A caller's own timesteps, checked: whole numbers in 0..T-1, strictly decreasing or strictly increasing.
 *
 * @param base what the list counts from: 0, or 1 as papers do, whose noisiest timestep is T
 * @returns them noisiest first, counted from 0
 * @throws UsageError naming the first value that is wrong
 */
export function customTimesteps(timesteps: readonly number[], T: number, base: 0 | 1 = 0): number[] {
  if (timesteps.length === 0) throw new UsageError("timesteps", "timesteps must name at least one timestep");
  const outside = timesteps.find((t) => !Number.isInteger(t) || t < base || t >= T + base);
  if (outside !== undefined)
    throw new UsageError(
      "timesteps",
      `timesteps must be whole numbers from ${base} to ${T - 1 + base}, got ${outside}` +
        (outside === T ? `; a list that counts from 1 to ${T}, as papers do, needs timestep base 1` : ""),
    );
  const list = timesteps.map((t) => t - base);
  if (list[0]! < list.at(-1)!) list.reverse();
  const bad = list.findIndex((t, i) => i > 0 && t >= list[i - 1]!);
  if (bad > 0)
    throw new UsageError(
      "timesteps",
      `timesteps must be strictly decreasing, but ${list[bad]! + base} follows ${list[bad - 1]! + base}`,
    );
  return list;
}
