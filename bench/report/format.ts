/** How the report writes numbers. */
import type { Spread } from "../results.ts";

/** Three significant digits, never an exponent: 912, 62.4, 5.20, 0.0345. */
export function digits(value: number, count = 3): string {
  const rounded = Number(value.toPrecision(count));
  if (rounded === 0 || !Number.isFinite(rounded)) return String(rounded);
  const behind = count - 1 - Math.floor(Math.log10(Math.abs(rounded)));
  return value.toFixed(Math.min(Math.max(behind, 0), 6));
}

/** Half the interquartile range as a share of the median. */
export const relativeSpread = ({ median, p25, p75 }: Spread): number => (p75 - p25) / 2 / median;

export const percent = (share: number): string => `${digits(100 * share, share < 0.1 ? 1 : 2)} %`;

/** Median and spread: `5.20 ±3 %`; the median alone of a single measurement. */
export const spread = (s: Spread): string =>
  s.samples > 1 ? `${digits(s.median)} ±${percent(relativeSpread(s))}` : digits(s.median);

/** How many times as fast: `1.41×`. */
export const times = (factor: number): string => `${digits(factor)}×`;

/** Rates in units of 1e9 per second. */
export const giga = (perSecond: number): string => digits(perSecond / 1e9);
