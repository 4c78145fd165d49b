/** Numbers about numbers: medians with their spread, and ratios of measurements that were taken in turns. */
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

/** Σ (actual − expected)² / Σ expected²; NaN where anything is, 0 where both are zero. */
export function nmse(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.NaN;
  let error = 0;
  let energy = 0;
  for (let i = 0; i < expected.length; i++) {
    error += ((actual[i] as number) - (expected[i] as number)) ** 2;
    energy += (expected[i] as number) ** 2;
  }
  return error === 0 ? 0 : error / energy;
}
