/** Numbers about numbers: medians with their spread, and ratios of measurements that were taken in turns. */
import { nmse as sameLengthNmse } from "../test/reference/tensor.ts";
import type { Spread } from "./results.ts";

/** Quantile of sorted numbers, interpolated linearly between neighbours. */
function quantile(sorted: readonly number[], q: number): number {
  const at = (sorted.length - 1) * q;
  const below = sorted[Math.floor(at)] as number;
  return below + (at - Math.floor(at)) * ((sorted[Math.ceil(at)] as number) - below);
}

/** @throws RangeError without measurements, or where one is no number */
export function spread(measurements: readonly number[]): Spread {
  if (measurements.length === 0) throw new RangeError("internal: no measurements");
  if (!measurements.every(Number.isFinite)) throw new RangeError(`internal: measured ${measurements.join(", ")}`);
  const sorted = [...measurements].sort((a, b) => a - b);
  return {
    median: quantile(sorted, 0.5),
    min: quantile(sorted, 0),
    p25: quantile(sorted, 0.25),
    p75: quantile(sorted, 0.75),
    max: quantile(sorted, 1),
    samples: sorted.length,
  };
}

/** Spread of reference over own, pair by pair: what slowed both at once drops out. */
export function pairRatios(reference: readonly number[], own: readonly number[]): Spread {
  const pairs = Math.min(reference.length, own.length);
  return spread(Array.from({ length: pairs }, (_, i) => (reference[i] as number) / (own[i] as number)));
}

/** The oracles' measure; NaN where the lengths differ, so that an engine which gives too little is simply wrong. */
export const nmse = (actual: ArrayLike<number>, expected: ArrayLike<number>): number =>
  actual.length === expected.length ? sameLengthNmse(actual, expected) : Number.NaN;
