/** What holds for any schedule: random betas, rules, numbers of steps and networks, whole runs in float64. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { UsageError } from "../../src/runtime/errors.ts";
import { betaSchedules } from "../../src/sampler/betas.ts";
import { type PredictionType, predictionTypes } from "../../src/sampler/coefficients.ts";
import { referenceStep } from "../../src/sampler/referenceStep.ts";
import { makeSchedule, type ScheduleOptions, type ScheduleStep } from "../../src/sampler/schedule.ts";
import { type TimestepSpacing, timestepSpacings } from "../../src/sampler/timesteps.ts";
import { deviation } from "./traces.ts";

const between = (min: number, max: number) => fc.double({ min, max, noNaN: true });

const anySpacing: fc.Arbitrary<TimestepSpacing> = fc.oneof(
  fc.constantFrom<TimestepSpacing[]>(...timestepSpacings),
  between(0.1, 8).map((p): TimestepSpacing => `power:${Number(p.toFixed(3))}`),
  fc.integer({ min: 1, max: 60 }).map((n): TimestepSpacing => `ddim${n}`),
  fc.array(fc.nat({ max: 30 }), { minLength: 1, maxLength: 5 }).map((s) => s.join(",") as TimestepSpacing),
);

describe("any rule, any T, any S", () => {
  it("gives exactly S strictly decreasing timesteps, or an error that names the nearest S that works", () => {
    const input = fc.record({
      T: fc.integer({ min: 1, max: 400 }),
      steps: fc.nat(),
      spacing: anySpacing,
      offset: fc.constantFrom(0, 0, 1, 5),
      zero: fc.boolean(),
    });
    let [lists, refusals] = [0, 0];
    fc.assert(
      fc.property(input, ({ T, steps, spacing, offset, zero }) => {
        const asks = /^(ddim)?\d/.test(spacing) ? undefined : (steps % T) + 1;
        const make = (S: number | undefined) =>
          makeSchedule({
            num_train_timesteps: T,
            rescale_betas_zero_snr: zero && T > 1,
            prediction: "sample",
            steps_offset: offset,
            spacing,
            steps: S,
          }).steps.map(({ t }) => t);
        const works = (S: number) => {
          try {
            return S >= 1 && S <= T && make(S).length === S;
          } catch {
            return false;
          }
        };
        let list: number[];
        try {
          list = make(asks);
        } catch (error) {
          expect(error).toBeInstanceOf(UsageError);
          refusals++;
          const named = /nearest number of steps that works is (\d+)$/.exec((error as Error).message);
          if (asks === undefined) return;
          const distance = named ? Math.abs(Number(named[1]) - asks) : T;
          if (named) expect(works(Number(named[1]))).toBe(true);
          for (let d = 1; d < distance; d++) expect([works(asks - d), works(asks + d)]).toEqual([false, false]);
          return;
        }
        lists++;
        if (asks !== undefined) expect(list).toHaveLength(asks);
        expect(list.length).toBeGreaterThan(0);
        expect(list.every((t, i) => Number.isInteger(t) && t >= 0 && t < (list[i - 1] ?? T))).toBe(true);
      }),
      { numRuns: 400 },
    );
    expect(lists).toBeGreaterThan(100);
    expect(refusals).toBeGreaterThan(20);
  });
});

/** A schedule, whatever its betas; from any timestep whose x0 float64 can still say. */
const anySchedule: fc.Arbitrary<ScheduleOptions> = fc
  .record({
    num_train_timesteps: fc.integer({ min: 20, max: 1000 }),
    beta_schedule: fc.constantFrom(...betaSchedules),
    beta_start: between(1e-5, 1e-3),
    beta_end: between(5e-3, 0.03),
    set_alpha_to_one: fc.boolean(),
    spacing: fc.constantFrom<TimestepSpacing>("leading", "trailing", "linspace", "uniform", "quad", "logsnr", "karras"),
    steps: fc.integer({ min: 1, max: 20 }),
    prediction: fc.constantFrom(...predictionTypes),
  })
  .filter((options) => {
    const steps = attempt(options)?.steps;
    return steps?.every((s) => s.alphaCumprod > 1e-5) ?? false;
  });

/** Betas of some names are beyond 1 for some ends. */
function attempt(options: ScheduleOptions) {
  try {
    return makeSchedule({ ...options, clip: false });
  } catch {
    return undefined;
  }
}

const anyStart = fc.array(between(-2, 2), { minLength: 4, maxLength: 4 });
const noiseOf = (i: number, j: number) => Math.SQRT2 * Math.sin(3.1 * (i + 1) + 1.7 * (j + 1));
const network = (x: number, t: number) => Math.tanh(0.6 * x + Math.cos(0.01 * t));

/** x0 and ε of a prediction, from the definitions. */
function split({ alphaCumprod: a, t }: ScheduleStep, prediction: PredictionType, x: number) {
  const [s, n] = [Math.sqrt(a), Math.sqrt(1 - a)];
  const m = network(x, t);
  if (prediction === "epsilon") return { x0: (x - n * m) / s, eps: m };
  if (prediction === "sample") return { x0: m, eps: (x - s * m) / n };
  return { x0: s * x - n * m, eps: s * m + n * x };
}

/** A run by a rule of its own, element by element. */
type Rule = (step: ScheduleStep, x: number, x0: number, eps: number, z: number) => number;
function runBy(rule: Rule, options: ScheduleOptions, start: readonly number[], bound = Number.POSITIVE_INFINITY) {
  return makeSchedule({ ...options, clip: false }).steps.reduce(
    (x, step, i) =>
      x.map((v, j) => {
        const raw = split(step, options.prediction!, v);
        const x0 = Math.max(-bound, Math.min(bound, raw.x0));
        const { alphaCumprod: a } = step;
        const eps = x0 === raw.x0 ? raw.eps : (v - Math.sqrt(a) * x0) / Math.sqrt(1 - a);
        return rule(step, v, x0, eps, noiseOf(i, j));
      }),
    [...start],
  );
}

function ours(options: ScheduleOptions, start: readonly number[]): Float64Array {
  return makeSchedule(options).steps.reduce<Float64Array>((x, step, i) => {
    const m = x.map((v) => network(v, step.t));
    const z = x.map((_, j) => noiseOf(i, j));
    return referenceStep(step, x, m, z).x;
  }, Float64Array.from(start));
}

const sigmaOf = (a: number) => Math.sqrt((1 - a) / a);
const halfLogSnr = (a: number) => 0.5 * Math.log(a / (1 - a));

const rules: Record<string, Rule> = {
  euler: ({ alphaCumprod: a, alphaCumprodPrev: p }, x, _, eps) =>
    Math.sqrt(p) * (x / Math.sqrt(a) + (sigmaOf(p) - sigmaOf(a)) * eps),
  solver: ({ alphaCumprod: a, alphaCumprodPrev: p }, x, x0) =>
    p === 1 ? x0 : Math.sqrt((1 - p) / (1 - a)) * x - Math.sqrt(p) * Math.expm1(halfLogSnr(a) - halfLogSnr(p)) * x0,
  posterior: ({ alphaCumprod: a, alphaCumprodPrev: p }, x, x0, _, z) => {
    const [alpha, beta] = [a / p, 1 - a / p];
    const mean = (Math.sqrt(p) * beta * x0 + Math.sqrt(alpha) * (1 - p) * x) / (1 - a);
    return mean + Math.sqrt(((1 - p) / (1 - a)) * beta) * z;
  },
  ancestral: ({ alphaCumprod: a, alphaCumprodPrev: p }, x, x0, _, z) => {
    const [from, to] = [sigmaOf(a), sigmaOf(p)];
    const up = (to * Math.sqrt(from * from - to * to)) / from;
    const down = (to * to) / from;
    const state = x / Math.sqrt(a);
    return Math.sqrt(p) * (state + ((down - from) * (state - x0)) / from + up * z);
  },
};

describe("whole runs on any schedule", () => {
  it.each(["euler", "solver"])("eta 0 is %s", (name) => {
    fc.assert(
      fc.property(anySchedule, anyStart, (options, start) => {
        const expected = runBy(rules[name]!, options, start);
        expect(deviation(ours({ ...options, clip: false }, start), expected)).toBeLessThan(1e-9);
      }),
      { numRuns: 60 },
    );
  });

  it.each([
    ["posterior", false],
    ["posterior", true],
    ["ancestral", false],
    ["ancestral", true],
  ] as const)("eta 1, and the ddpm sampler, are %s, clip %s", (name, clip) => {
    fc.assert(
      fc.property(anySchedule, anyStart, (options, start) => {
        const expected = runBy(rules[name]!, options, start, clip ? 1 : undefined);
        for (const sampler of [{ eta: 1 }, { sampler: "ddpm" }] as const)
          expect(deviation(ours({ ...options, ...sampler, clip }, start), expected)).toBeLessThan(1e-9);
      }),
      { numRuns: 60 },
    );
  });

  it("the coefficients say ᾱ_prev: √ᾱ_prev of x0, and with σ² the rest of the variance", () => {
    fc.assert(
      fc.property(anySchedule, between(0, 1), fc.boolean(), fc.boolean(), (options, eta, clip, rederive) => {
        for (const step of makeSchedule({ ...options, eta, clip, clip_sample_range: 1e9, rederive }).steps) {
          const { alphaCumprod: a, alphaCumprodPrev: p, sigma } = step;
          const [s, n] = [Math.sqrt(a), Math.sqrt(1 - a)];
          /** The step of x = √ᾱ x0 + √(1 - ᾱ) ε by a network that knows both. */
          const mean = (x0: number, eps: number) => {
            const m = { epsilon: eps, sample: x0, v_prediction: s * eps - n * x0 }[options.prediction!];
            return referenceStep(step, [s * x0 + n * eps], [m], [0]).x[0]!;
          };
          // What a wrong digit of ε is worth in x0.
          const worth = 1e-12 * Math.max(1, 1 / s);
          expect(Math.abs(mean(1, 0) - Math.sqrt(p))).toBeLessThan(worth);
          expect(Math.abs(mean(0, 1) ** 2 + sigma ** 2 - (1 - p))).toBeLessThan(worth);
        }
      }),
      { numRuns: 60 },
    );
  });

  it("Euler in t on the probability-flow ODE is not DDIM, and comes closer as S grows", () => {
    const setting = fc.record({
      variance: between(0.1, 0.8),
      start: between(0.5, 2),
      beta_schedule: fc.constantFrom("linear", "scaled_linear") as fc.Arbitrary<ScheduleOptions["beta_schedule"]>,
      spacing: fc.constantFrom<TimestepSpacing>("trailing", "linspace", "uniform"),
    });
    fc.assert(
      fc.property(setting, ({ variance, start, ...options }) => {
        // The exact network of normal data.
        const exact = (a: number, x: number) => (Math.sqrt(1 - a) * x) / (variance * a + 1 - a);
        const distance = (steps: number) => {
          let [ddim, euler] = [start, start];
          for (const step of makeSchedule({ ...options, steps, clip: false }).steps) {
            const { alphaCumprod: a, alphaCumprodPrev: p } = step;
            ddim = referenceStep(step, [ddim], [exact(a, ddim)]).x[0]!;
            // DDIM paper, eq. (15): the increment is in σ², not in σ.
            const increment = 0.5 * ((1 - p) / p - (1 - a) / a) * Math.sqrt(a / (1 - a)) * exact(a, euler);
            euler = Math.sqrt(p) * (euler / Math.sqrt(a) + increment);
          }
          return Math.abs(ddim - euler);
        };
        const [coarse, middle, fine] = [10, 100, 1000].map(distance) as [number, number, number];
        expect(coarse).toBeGreaterThan(1e-3);
        expect(middle).toBeLessThan(coarse);
        expect(fine).toBeLessThan(middle);
        expect(fine).toBeLessThan(coarse / 3);
      }),
      { numRuns: 15 },
    );
  });
});
