/** The forward process: how noisy an image is at a timestep. */

import { ShapeError, UsageError } from "../runtime/errors.ts";
import { checkKind } from "../runtime/options.ts";
import type { Schedule } from "./scheduleTypes.ts";

/**
 * @param x0 flat, in -1..1 for images
 * @param noise standard normal, of the same length
 * @throws UsageError when t is not a timestep of the schedule
 */
type Forward = (
  x0: ArrayLike<number>,
  noise: ArrayLike<number>,
  t: number,
  schedule: Pick<Schedule, "alphasCumprod">,
) => Float32Array;

/** @param weights of x0 and noise, by the square roots of ᾱ_t and 1 - ᾱ_t */
const mixture =
  (weights: (signal: number, deviation: number) => readonly [x0: number, noise: number]): Forward =>
  (x0, noise, t, schedule) => {
    const { alphasCumprod }: typeof schedule = Object(schedule);
    for (const [name, data] of Object.entries({ x0, noise, alphasCumprod }))
      checkKind("forward process", name, "numbers", data);
    const a = alphasCumprod[t];
    if (a === undefined)
      throw new UsageError("t", `t must be a whole number from 0 to ${alphasCumprod.length - 1}, got ${String(t)}`);
    if (x0.length !== noise.length) throw new ShapeError("forward process", "noise", `[${x0.length}]`, [noise.length]);
    const [own, others] = weights(Math.sqrt(a), Math.sqrt(1 - a));
    return Float32Array.from(x0, (value, i) => own * value + others * noise[i]!);
  };

/** A sample of q(x_t | x_0): √ᾱ_t x_0 + √(1 - ᾱ_t) · noise. */
export const addNoise = mixture((signal, deviation) => [signal, deviation]);

/** What a v_prediction network is trained to say about such a sample: √ᾱ_t · noise - √(1 - ᾱ_t) x_0. */
export const velocity = mixture((signal, deviation) => [-deviation, signal]);
