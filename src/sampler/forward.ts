/** The forward process: how noisy an image is at a timestep. */
import { ShapeError, UsageError } from "../runtime/errors.ts";
import type { Schedule } from "./scheduleTypes.ts";

function levels(t: number, schedule: Pick<Schedule, "alphasCumprod">): [signal: number, noise: number] {
  const a = schedule.alphasCumprod[t];
  if (a === undefined)
    throw new UsageError("t", `t must be a whole number from 0 to ${schedule.alphasCumprod.length - 1}, got ${t}`);
  return [Math.sqrt(a), Math.sqrt(1 - a)];
}

function combine(u: ArrayLike<number>, cu: number, v: ArrayLike<number>, cv: number): Float32Array {
  if (u.length !== v.length) throw new ShapeError("forward process", "noise", `[${u.length}]`, [v.length]);
  return Float32Array.from(u, (value, i) => cu * value + cv * v[i]!);
}

/**
 * A sample of q(x_t | x_0): √ᾱ_t x_0 + √(1 - ᾱ_t) · noise.
 *
 * @param x0 flat, in -1..1 for images
 * @param noise standard normal, of the same length
 * @throws UsageError when t is not a timestep of the schedule
 */
export function addNoise(
  x0: ArrayLike<number>,
  noise: ArrayLike<number>,
  t: number,
  schedule: Pick<Schedule, "alphasCumprod">,
): Float32Array {
  const [signal, deviation] = levels(t, schedule);
  return combine(x0, signal, noise, deviation);
}

/** What a v_prediction network is trained to say about such a sample: √ᾱ_t · noise - √(1 - ᾱ_t) x_0. */
export function velocity(
  x0: ArrayLike<number>,
  noise: ArrayLike<number>,
  t: number,
  schedule: Pick<Schedule, "alphasCumprod">,
): Float32Array {
  const [signal, deviation] = levels(t, schedule);
  return combine(x0, -deviation, noise, signal);
}
