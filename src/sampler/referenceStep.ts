/** The step in float64 on the host: what the GPU's kernel is measured against. */
import { ShapeError } from "../runtime/errors.ts";
import type { Threshold } from "./coefficients.ts";
import type { ScheduleStep } from "./scheduleTypes.ts";

export interface ReferenceOptions {
  /** How many images the tensors hold, one after the other; only thresholding looks at images as a whole. */
  images?: number;
  /** The network's variance channels, where the step has a `logVariance`. */
  variance?: ArrayLike<number>;
}

/** The predicted x0 of one step, bounded if the schedule bounds it. */
export function referenceX0(step: ScheduleStep, x: ArrayLike<number>, m: ArrayLike<number>, images = 1): Float64Array {
  const { k0, k1, clip, threshold } = step.coefficients;
  const n = x.length;
  checkLength("m", m.length, n);
  const x0 = Float64Array.from({ length: n }, (_, i) => k0 * x[i]! + k1 * m[i]!);
  if (clip !== null) for (let i = 0; i < n; i++) x0[i] = Math.min(Math.max(x0[i]!, -clip), clip);
  const size = n / images;
  if (threshold) for (let i = 0; i < images; i++) thresholdImage(x0.subarray(i * size, (i + 1) * size), threshold);
  return x0;
}

/**
 * Applies one step of a schedule to flat tensors of equal length, in any layout.
 *
 * @param x the state
 * @param m the network's output for it (the first half of the channels where the network predicts its variance)
 * @param z standard normal noise, needed only where the step adds noise
 * @returns the next state and the predicted x0, bounded if the schedule bounds it
 */
export function referenceStep(
  step: ScheduleStep,
  x: ArrayLike<number>,
  m: ArrayLike<number>,
  z?: ArrayLike<number>,
  { images, variance }: ReferenceOptions = {},
): { x: Float64Array; x0: Float64Array } {
  const { k2, k3, k4 } = step.coefficients;
  if (step.sigma > 0) checkLength("z", z?.length, x.length);
  if (step.logVariance) checkLength("variance", variance?.length, x.length);
  const x0 = referenceX0(step, x, m, images);
  const next = x0.map((v, i) => {
    const noise = step.sigma > 0 ? standardDeviation(step, variance?.[i]) * z![i]! : 0;
    return k2 * v + k3 * x[i]! + k4 * m[i]! + noise;
  });
  return { x: next, x0 };
}

function checkLength(name: string, length: number | undefined, expected: number): void {
  if (length !== expected) throw new ShapeError("referenceStep", name, `[${expected}]`, [length ?? 0]);
}

function standardDeviation({ sigma, logVariance }: ScheduleStep, v: number | undefined): number {
  if (!logVariance) return sigma;
  const fraction = (v! + 1) / 2;
  return Math.exp((fraction * logVariance.max + (1 - fraction) * logVariance.min) / 2);
}

/** Dynamic thresholding of one image in place; the quantile interpolates linearly between order statistics. */
function thresholdImage(x0: Float64Array, { ratio, max }: Threshold): void {
  const sorted = x0.map(Math.abs).sort();
  const position = ratio * (sorted.length - 1);
  const below = Math.floor(position);
  const above = Math.min(below + 1, sorted.length - 1);
  const quantile = sorted[below]! + (position - below) * (sorted[above]! - sorted[below]!);
  // A maximum below 1 wins over the minimum of 1, as torch's clamp has it.
  const s = Math.min(Math.max(quantile, 1), max);
  for (let i = 0; i < x0.length; i++) x0[i] = Math.min(Math.max(x0[i]!, -s), s) / s;
}
