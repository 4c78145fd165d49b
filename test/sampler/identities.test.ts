/** DDIM is several samplers under other names; each is written here in its own variables and must agree. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { directionCoefficient, type PredictionType, posteriorSigma } from "../../src/sampler/coefficients.ts";
import { referenceStep } from "../../src/sampler/referenceStep.ts";
import { makeSchedule, type ScheduleStep } from "../../src/sampler/schedule.ts";

const predictions: PredictionType[] = ["epsilon", "v_prediction", "sample"];

/** A step of a random schedule over random betas, not from the very noise floor where x0 itself is 1e5. */
const anyPair = fc
  .record({
    betas: fc.array(fc.double({ min: 1e-5, max: 0.3, noNaN: true }), { minLength: 2, maxLength: 30 }),
    set_alpha_to_one: fc.boolean(),
    picks: fc.array(fc.boolean(), { minLength: 30, maxLength: 30 }),
    which: fc.nat(),
  })
  .map(({ betas, set_alpha_to_one, picks, which }) => {
    const timesteps = betas.map((_, t) => t).filter((t) => picks[t] || t === betas.length - 1);
    return { config: { trained_betas: betas, set_alpha_to_one, timesteps }, which: which % timesteps.length };
  });

const state = fc.record({
  x: fc.double({ min: -4, max: 4, noNaN: true }),
  m: fc.double({ min: -3, max: 3, noNaN: true }),
  z: fc.double({ min: -4, max: 4, noNaN: true }),
  prediction: fc.constantFrom(...predictions),
});

/** x0 and ε of a prediction, from the definitions. */
function split(step: ScheduleStep, prediction: PredictionType, x: number, m: number): { x0: number; eps: number } {
  const [s, n] = [Math.sqrt(step.alphaCumprod), Math.sqrt(1 - step.alphaCumprod)];
  if (prediction === "epsilon") return { x0: (x - n * m) / s, eps: m };
  if (prediction === "sample") return { x0: m, eps: (x - s * m) / n };
  return { x0: s * x - n * m, eps: s * m + n * x };
}

const close = (u: number, v: number, scale = 1) =>
  expect(Math.abs(u - v)).toBeLessThan(1e-9 * Math.max(1, Math.abs(v), scale));

describe("identities over random schedules", () => {
  it("σ² + direction² = 1 - ᾱ_prev for every eta", () => {
    fc.assert(
      fc.property(anyPair, fc.double({ min: 0, max: 1, noNaN: true }), ({ config, which }, eta) => {
        const { alphaCumprod: a, alphaCumprodPrev: p } = makeSchedule(config).steps[which]!;
        const sum = posteriorSigma(a, p, eta) ** 2 + directionCoefficient(a, p, eta) ** 2;
        expect(Math.abs(sum - (1 - p))).toBeLessThan(1e-12);
      }),
    );
  });

  it("eta 0 is Euler's step in σ = √((1 - ᾱ)/ᾱ) over x/√ᾱ", () => {
    fc.assert(
      fc.property(anyPair, state, ({ config, which }, { x, m, prediction }) => {
        const step = makeSchedule({ ...config, prediction, clip: false }).steps[which]!;
        const [a, p] = [step.alphaCumprod, step.alphaCumprodPrev];
        const { x0, eps } = split(step, prediction, x, m);
        const [from, to] = [Math.sqrt((1 - a) / a), Math.sqrt((1 - p) / p)];
        const euler = Math.sqrt(p) * (x / Math.sqrt(a) + (to - from) * eps);
        close(referenceStep(step, [x], [m]).x[0]!, euler, Math.abs(x0));
      }),
    );
  });

  it("eta 0 is DPM-Solver++ of order 1", () => {
    fc.assert(
      fc.property(anyPair, state, ({ config, which }, { x, m, prediction }) => {
        const step = makeSchedule({ ...config, prediction, clip: false }).steps[which]!;
        const [a, p] = [step.alphaCumprod, step.alphaCumprodPrev];
        fc.pre(p < 1);
        const { x0 } = split(step, prediction, x, m);
        const h = 0.5 * (Math.log(p / (1 - p)) - Math.log(a / (1 - a)));
        const solver = Math.sqrt((1 - p) / (1 - a)) * x - Math.sqrt(p) * Math.expm1(-h) * x0;
        close(referenceStep(step, [x], [m]).x[0]!, solver, Math.abs(x0));
      }),
    );
  });

  it.each([true, false])("eta 1 is the DDPM posterior, clip %s", (clip) => {
    fc.assert(
      fc.property(anyPair, state, ({ config, which }, { x, m, z, prediction }) => {
        const step = makeSchedule({ ...config, prediction, clip, eta: 1 }).steps[which]!;
        const [a, p] = [step.alphaCumprod, step.alphaCumprodPrev];
        const raw = split(step, prediction, x, m).x0;
        const x0 = clip ? Math.max(-1, Math.min(1, raw)) : raw;
        const alpha = a / p;
        const mean = (Math.sqrt(p) * (1 - alpha) * x0 + Math.sqrt(alpha) * (1 - p) * x) / (1 - a);
        const ddpm = mean + Math.sqrt(((1 - p) / (1 - a)) * (1 - alpha)) * z;
        const ours = referenceStep(step, [x], [m], [z]);
        close(ours.x[0]!, ddpm, Math.abs(raw));
        close(ours.x0[0]!, x0, Math.abs(raw));
      }),
    );
  });

  it("with clipping and the network's own ε, eta 1 is not DDPM", () => {
    const options = { steps: 10, eta: 1, clip: true };
    const [right, own] = [true, false].map((rederive) => makeSchedule({ ...options, rederive }).steps[0]!);
    const u = referenceStep(right!, [3], [0.1], [0]).x[0]!;
    expect(Math.abs(u - referenceStep(own!, [3], [0.1], [0]).x[0]!)).toBeGreaterThan(0.1);
  });

  it("without a bound it does not matter whether ε is re-derived", () => {
    fc.assert(
      fc.property(anyPair, state, fc.double({ min: 0, max: 1, noNaN: true }), ({ config, which }, s, eta) => {
        const make = (options: object) => makeSchedule({ ...config, prediction: s.prediction, eta, ...options });
        const free = referenceStep(make({ clip: false }).steps[which]!, [s.x], [s.m], [s.z]);
        const wide = { clip: true, clip_sample_range: 1e9 };
        for (const rederive of [true, false]) {
          const bounded = referenceStep(make({ ...wide, rederive }).steps[which]!, [s.x], [s.m], [s.z]);
          close(bounded.x[0]!, free.x[0]!, Math.abs(free.x0[0]!));
        }
      }),
    );
  });

  it("the three predictions are one step when they say the same", () => {
    fc.assert(
      fc.property(anyPair, state, fc.boolean(), ({ config, which }, { x, m, z }, clip) => {
        const make = (prediction: PredictionType) =>
          makeSchedule({ ...config, prediction, clip, eta: 0.7 }).steps[which]!;
        const step = make("epsilon");
        const { x0 } = split(step, "epsilon", x, m);
        const v = Math.sqrt(step.alphaCumprod) * m - Math.sqrt(1 - step.alphaCumprod) * x0;
        const expected = referenceStep(step, [x], [m], [z]).x[0]!;
        close(referenceStep(make("v_prediction"), [x], [v], [z]).x[0]!, expected, Math.abs(x0));
        close(referenceStep(make("sample"), [x], [x0], [z]).x[0]!, expected, Math.abs(x0));
      }),
    );
  });

  it("Euler in t on the probability-flow ODE is another method with the same limit", () => {
    // The exact network of data that are N(0, 0.25).
    const gaussian = (a: number, x: number) => (Math.sqrt(1 - a) * x) / (0.25 * a + 1 - a);
    const distance = (steps: number) => {
      let [ddim, euler] = [1.3, 1.3];
      for (const step of makeSchedule({ steps, spacing: "trailing", clip: false }).steps) {
        const { alphaCumprod: a, alphaCumprodPrev: p } = step;
        ddim = referenceStep(step, [ddim], [gaussian(a, ddim)]).x[0]!;
        // DDIM paper, eq. (15): the increment is in σ², not in σ.
        const increment = 0.5 * ((1 - p) / p - (1 - a) / a) * Math.sqrt(a / (1 - a)) * gaussian(a, euler);
        euler = Math.sqrt(p) * (euler / Math.sqrt(a) + increment);
      }
      return Math.abs(ddim - euler);
    };
    const [coarse, middle, fine] = [10, 100, 1000].map(distance);
    expect(coarse).toBeGreaterThan(0.1);
    expect(middle).toBeLessThan(coarse! / 3);
    expect(fine).toBeLessThan(middle! / 3);
  });
});
