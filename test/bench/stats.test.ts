/** The arithmetic behind the benchmarks' numbers. */
import { expect, test } from "vitest";
import { roofline } from "../../bench/limits.ts";
import { nmse, pairRatios, spread } from "../../bench/stats.ts";

test("a spread has the ends, the median and quartiles between neighbours", () => {
  expect(spread([4, 1, 3, 2])).toEqual({ min: 1, p25: 1.75, median: 2.5, p75: 3.25, max: 4, samples: 4 });
  expect(spread([7])).toEqual({ min: 7, p25: 7, median: 7, p75: 7, max: 7, samples: 1 });
});

test("no measurements, or one that is no number, are a mistake and not a result", () => {
  expect(() => spread([])).toThrow("no measurements");
  expect(() => spread([1, Number.NaN])).toThrow("NaN");
});

test("ratios are taken pair by pair: a pause that hit both engines drops out", () => {
  const { median, min, max } = pairRatios([10, 50, 10], [5, 25, 5]);
  expect([min, median, max]).toEqual([2, 2, 2]);
  expect(pairRatios([10, 20, 30], [5, 5]).samples).toBe(2);
});

test("NMSE is relative, 0 for equal arrays, NaN where anything is", () => {
  expect(nmse([1, 3], [1, 2])).toBeCloseTo(1 / 5, 15);
  expect(nmse([0, 0], [0, 0])).toBe(0);
  expect(nmse([1, Number.NaN], [1, 2])).toBeNaN();
  expect(nmse([1], [1, 2])).toBeNaN();
});

test("the roofline is the slower of moving the bytes and computing", () => {
  const limits = { copy: 1e9, fma: 1e12 };
  expect(roofline({ flops: 1e9, bytes: 1e3 }, 2, limits)).toBeCloseTo(0.5, 12);
  expect(roofline({ flops: 1e3, bytes: 1e6 }, 2, limits)).toBeCloseTo(0.5, 12);
});
