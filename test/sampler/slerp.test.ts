import { describe, expect, it } from "vitest";
import { ShapeError } from "../../src/runtime/errors.ts";
import { slerp } from "../../src/sampler/slerp.ts";
import { deviation, golden } from "./traces.ts";

interface Recorded {
  steps: { case: string; a: number[]; b: number[]; rows: { t: number; with_lerp_fallback: number[] }[] }[];
}

describe("slerp", () => {
  it.each(golden<Recorded>("slerp.json").steps)("$case", ({ a, b, rows }) => {
    for (const { t, with_lerp_fallback } of rows)
      expect(deviation(slerp(a, b, t), with_lerp_fallback)).toBeLessThan(1e-13);
  });

  it("keeps the norm between points of equal norm", () => {
    const middle = slerp([3, 4, 0], [0, 0, 5], 0.3);
    expect(Math.hypot(...middle)).toBeCloseTo(5, 14);
  });

  it("is linear from the origin", () => {
    expect([...slerp([0, 0], [2, 4], 0.25)]).toEqual([0.5, 1]);
  });

  it("refuses different lengths", () => {
    expect(() => slerp([1, 2], [1], 0.5)).toThrow(ShapeError);
  });
});
