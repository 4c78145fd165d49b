/**
 * The timestep lists of the original systems, floating-point accidents included, where the original can run them.
 */
import { UsageError } from "../runtime/errors.ts";
import { checkSteps, spacedTimesteps, type TimestepOptions, type TimestepSpacing } from "./timesteps.ts";

/** numpy.round: halves to even. */
function roundEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

/** numpy.linspace(0, T - 1, S).round(); S = 1 gives t = 0. */
function diffusersLinspace(T: number, S: number): number[] {
  const step = S > 1 ? (T - 1) / (S - 1) : 0;
  return Array.from({ length: S }, (_, i) => roundEven(i > 0 && i === S - 1 ? T - 1 : i * step));
}

/** numpy.round(numpy.arange(T, 0, -T / S)) - 1, descending: arange fixes its step from its first two values. */
function diffusersTrailing(T: number, S: number): number[] {
  const ratio = T / S;
  const step = T - ratio - T;
  return Array.from({ length: Math.ceil(T / ratio) }, (_, i) => roundEven(T + i * step) - 1);
}

/**
 * The timesteps that diffusers' DDIMScheduler.set_timesteps returns, noisiest first.
 *
 * @throws UsageError where diffusers has no such rule, indexes past its table, or returns S + 1 steps ending at t = -1
 */
export function diffusersTimesteps(spacing: TimestepSpacing, options: TimestepOptions): number[] {
  const { numTrainTimesteps: T, steps: S } = options;
  checkSteps(S, T);
  if (spacing === "leading") return spacedTimesteps("leading", options);
  if (spacing === "linspace") return diffusersLinspace(T, S).reverse();
  if (spacing !== "trailing")
    throw new UsageError("spacing", `spacing ${spacing} does not exist in diffusers; use it without compat diffusers`);
  const list = diffusersTrailing(T, S);
  if (list.length === S) return list;
  throw new UsageError(
    "steps",
    `diffusers' trailing spacing returns ${list.length} timesteps for ${S} steps and ends at t = ${list.at(-1)}, which no network can take; use another number of steps or no compat`,
  );
}
