import { describe, expect, it } from "vitest";
import { UsageError } from "../../src/runtime/errors.ts";
import { makeSchedule } from "../../src/sampler/schedule.ts";
import { customTimesteps, roundRatio, spacedTimesteps, timestepSpacings } from "../../src/sampler/timesteps.ts";
import { golden } from "./traces.ts";

const list = (spacing: (typeof timestepSpacings)[number], steps: number, T = 1000, stepsOffset = 0) =>
  spacedTimesteps(spacing, { numTrainTimesteps: T, steps, stepsOffset });

/** n/d to the nearest integer, halves to even, in big integers: the definition, written differently. */
function rounded(n: number, d: number): number {
  const [twice, step] = [2n * BigInt(n), 2n * BigInt(d)];
  const up = (twice + BigInt(d)) / step;
  return Number((twice + BigInt(d)) % step === 0n && up % 2n === 1n ? up - 1n : up);
}

describe("every S from 1 to T", () => {
  for (const T of [1, 2, 7, 100, 1000]) {
    for (const spacing of timestepSpacings) {
      it(`${spacing}, T = ${T}: exactly S strictly decreasing timesteps in 0..T-1`, () => {
        for (let S = 1; S <= T; S++) {
          const t = list(spacing, S, T);
          expect(t).toHaveLength(S);
          expect(t.every((v, i) => Number.isInteger(v) && v >= 0 && v < T && (i === 0 || v < t[i - 1]!))).toBe(true);
        }
      });
    }
  }

  it("follows the formulas", () => {
    for (let S = 1; S <= 1000; S++) {
      const i = Array.from({ length: S }, (_, k) => k);
      expect(list("leading", S)).toEqual(i.map((k) => (S - 1 - k) * Math.floor(1000 / S)));
      expect(list("trailing", S)).toEqual(i.map((k) => rounded(1000 * (S - k), S) - 1));
      if (S > 1) expect(list("linspace", S)).toEqual(i.map((k) => rounded((S - 1 - k) * 999, S - 1)));
      expect(list("uniform", S)).toEqual(i.map((k) => Number((BigInt(S - 1 - k) * 1000n) / BigInt(S))));
    }
    expect(list("linspace", 1)).toEqual([999]);
    expect(list("leading", 1)).toEqual([0]);
  });

  it("quad starts at 0.8 T and never repeats", () => {
    expect(list("quad", 10)).toEqual([800, 632, 483, 355, 246, 158, 88, 39, 9, 0]);
    // The square roots give 16, 11, 8, 5, 2, 1, 0, 0: each is raised to one above its predecessor.
    expect(list("quad", 50).slice(-8)).toEqual([16, 11, 8, 5, 3, 2, 1, 0]);
    expect(list("quad", 1000)).toEqual(list("uniform", 1000));
  });
});

describe("roundRatio", () => {
  it("rounds halves to even", () => {
    expect([1, 3, 5, 7].map((n) => roundRatio(n, 2))).toEqual([0, 2, 2, 4]);
    expect([1, 2, 3, 4, 5].map((n) => roundRatio(n, 3))).toEqual([0, 1, 1, 1, 2]);
  });
});

describe("steps and offsets that cannot be", () => {
  it.each([0, 1001, 2.5, Number.NaN, -3])("steps %d is refused", (steps) => {
    expect(() => makeSchedule({ steps })).toThrow(UsageError);
    expect(() => makeSchedule({ steps })).toThrow(/steps must be a whole number from 1 to 1000/);
  });

  it("an offset is added, or refused with the nearest S that works", () => {
    expect(list("leading", 5, 1000, 1)).toEqual([801, 601, 401, 201, 1]);
    expect(list("leading", 999, 1000, 1)[0]).toBe(999);
    expect(() => list("leading", 1000, 1000, 1)).toThrow(/t = 1000.*nearest number of steps that works is 999/);
    expect(() => list("leading", 1, 10, 10)).toThrow(/past the last timestep 9$/);
    expect(() => list("leading", 10, 10, 8)).toThrow(/works is 1$/);
    expect(list("trailing", 5, 1000, 1)).toEqual(list("trailing", 5));
  });
});

describe("custom timesteps", () => {
  it("may be given in either direction", () => {
    expect(customTimesteps([999, 700, 3], 1000)).toEqual([999, 700, 3]);
    expect(customTimesteps([3, 700, 999], 1000)).toEqual([999, 700, 3]);
    expect(customTimesteps([5], 1000)).toEqual([5]);
  });

  it.each([
    [[], /at least one/],
    [[1000, 500], /0 to 999, got 1000/],
    [[500, -1], /got -1/],
    [[500.5], /got 500.5/],
    [[900, 900, 1], /900 follows 900/],
    [[900, 100, 500], /500 follows 100/],
  ])("%j is refused", (timesteps, message) => {
    expect(() => makeSchedule({ timesteps })).toThrow(UsageError);
    expect(() => makeSchedule({ timesteps })).toThrow(message);
  });

  it("must agree with steps", () => {
    expect(makeSchedule({ timesteps: [9, 4], steps: 2 }).steps.map((s) => s.t)).toEqual([9, 4]);
    expect(() => makeSchedule({ timesteps: [9, 4], steps: 3 })).toThrow(/steps is 3, but timesteps lists 2/);
  });
});

describe("compat diffusers", () => {
  const lists = Object.entries(golden<Record<string, unknown>>("timesteps.json")).filter(([, v]) => Array.isArray(v));

  it.each(lists)("%s is diffusers' list, or refused where that ends at t = -1", (key, expected) => {
    const [spacing, S] = key.split("_") as ["leading", string];
    const steps = Number(S);
    const make = () => makeSchedule({ compat: "diffusers", spacing, steps, prediction: "sample" });
    if ((expected as number[]).at(-1)! < 0) {
      expect(make).toThrow(UsageError);
      expect(make).toThrow(`returns ${steps + 1} timesteps for ${steps} steps`);
    } else {
      expect(make().steps.map((s) => s.t)).toEqual(expected);
    }
  });

  it("62 trailing lists are refused, all others have S steps", () => {
    let refused = 0;
    for (let steps = 1; steps <= 1000; steps++) {
      try {
        expect(makeSchedule({ compat: "diffusers", spacing: "trailing", steps }).steps).toHaveLength(steps);
      } catch (error) {
        if (!(error instanceof UsageError)) throw error;
        refused++;
      }
    }
    expect(refused).toBe(62);
  });

  it("has no other rules and no custom lists", () => {
    expect(() => makeSchedule({ compat: "diffusers", spacing: "quad", steps: 5 })).toThrow(
      /does not exist in diffusers/,
    );
    expect(() => makeSchedule({ compat: "diffusers", timesteps: [5, 1] })).toThrow(/takes none/);
    expect(() => makeSchedule({ compat: "diffusers", steps_offset: 1, steps: 1000 })).toThrow(/t = 1000/);
  });
});
