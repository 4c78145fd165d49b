import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { UsageError } from "../../src/runtime/errors.ts";
import { alphasCumprod } from "../../src/sampler/betas.ts";
import { makeSchedule } from "../../src/sampler/schedule.ts";
import { parseSchedulerConfig } from "../../src/sampler/schedulerConfig.ts";
import { roundRatio } from "../../src/sampler/timestepRules.ts";
import { customTimesteps, fittingSteps, spacedTimesteps, type TimestepSpacing } from "../../src/sampler/timesteps.ts";
import { golden } from "./traces.ts";

const tables = new Map<string, Float64Array>();
function table(T: number, rescale_betas_zero_snr = false): Float64Array {
  const key = `${T} ${rescale_betas_zero_snr}`;
  const made =
    tables.get(key) ?? alphasCumprod(parseSchedulerConfig({ num_train_timesteps: T, rescale_betas_zero_snr }, ""));
  tables.set(key, made);
  return made;
}

const list = (spacing: TimestepSpacing, steps: number | undefined, T = 1000, stepsOffset = 0) =>
  spacedTimesteps(spacing, { alphasCumprod: table(T), steps, stepsOffset });

/** n/d to the nearest integer, halves to even, in big integers: the definition, written differently. */
function rounded(n: number, d: number): number {
  const [twice, step] = [2n * BigInt(n), 2n * BigInt(d)];
  const up = (twice + BigInt(d)) / step;
  return Number((twice + BigInt(d)) % step === 0n && up % 2n === 1n ? up - 1n : up);
}

describe("a window smaller than the steps asked for", () => {
  const named = fc.constantFrom<TimestepSpacing>(
    "leading",
    "trailing",
    "linspace",
    "uniform",
    "quad",
    "ddim",
    "karras",
  );
  it("has a list of as many as fit, and of no more", () => {
    fc.assert(
      fc.property(
        named,
        fc.nat(120),
        fc.integer({ min: 1, max: 60 }),
        fc.nat(2),
        (spacing, start, steps, stepsOffset) => {
          const options = { alphasCumprod: table(1000), start, stepsOffset };
          const fit = fittingSteps(spacing, { ...options, steps });
          const has = (S: number) => {
            try {
              return spacedTimesteps(spacing, { ...options, steps: S }).length === S;
            } catch {
              return false;
            }
          };
          const counts = Array.from({ length: steps }, (_, i) => steps - i);
          expect(fit).toBe(counts.find(has) ?? steps);
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe("every S from 1 to T", () => {
  const spacings: TimestepSpacing[] = ["leading", "trailing", "linspace", "uniform", "quad"];
  spacings.push("logsnr", "karras", "power:2", "power:0.5", "power:7");
  for (const T of [1, 2, 7, 100, 1000]) {
    for (const spacing of spacings) {
      it(`${spacing}, T = ${T}: exactly S strictly decreasing timesteps in 0..T-1`, () => {
        for (let S = 1; S <= T; S += S > 200 ? 3 : 1) {
          for (const zeroSnr of T > 1 ? [false, true] : [false]) {
            const t = spacedTimesteps(spacing, { alphasCumprod: table(T, zeroSnr), steps: S, stepsOffset: 0 });
            expect(t).toHaveLength(S);
            expect(t.every((v, i) => Number.isInteger(v) && v >= 0 && v < T && (i === 0 || v < t[i - 1]!))).toBe(true);
          }
        }
      });
    }
  }

  it("follows the formulas", () => {
    for (let S = 1; S <= 1000; S++) {
      const i = Array.from({ length: S }, (_, k) => k);
      expect(list("leading", S)).toEqual(i.map((k) => (S - 1 - k) * Math.floor(1000 / S)));
      expect(list("trailing", S)).toEqual(i.map((k) => rounded(1000 * (S - k), S) - 1));
      // Exact but for ties, which numpy's float64 decides.
      if (S > 1)
        list("linspace", S).forEach((t, k) => {
          const exact = (S - 1 - k) * 999;
          expect(Math.abs(t * (S - 1) - exact) * 2).toBeLessThanOrEqual(S - 1);
        });
      expect(list("uniform", S)).toEqual(i.map((k) => Number((BigInt(S - 1 - k) * 1000n) / BigInt(S))));
    }
    expect(list("linspace", 1)).toEqual([999]);
    expect(list("linspace", 27)[13]).toBe(499);
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
    expect(() => list("leading", 1000, 1000, 1)).toThrow(
      /no list of 1000 steps over 1000 timesteps \(steps_offset 1 moves it past t = 999\); the nearest .* works is 999$/,
    );
    expect(() => list("leading", 1, 10, 10)).toThrow(/no list of 1 step over 10 timesteps \(.*past t = 9\)$/);
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
    [[1000, 500], /0 to 999, got 1000; a list that counts from 1 to 1000, as papers do, needs timestep base 1/],
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
      /quad does not exist in diffusers, which has leading/,
    );
    expect(() => makeSchedule({ compat: "diffusers", timesteps: [5, 1] })).toThrow(/takes none/);
    expect(() => makeSchedule({ compat: "diffusers", steps_offset: 1, steps: 1000 })).toThrow(/past t = 999/);
  });
});
