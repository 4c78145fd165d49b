/** Update rules from outside: those of examples/own-sampler against k-diffusion, and what is refused. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as rules from "../../examples/own-sampler/rules.js";
import { UsageError } from "../../src/runtime/errors.ts";
import { stepNoise } from "../../src/sampler/philox.ts";
import { planSchedule } from "../../src/sampler/plan.ts";
import { planRule, type RuleRow, type UpdateRule } from "../../src/sampler/rule.ts";
import { makeSchedule, type Schedule, type ScheduleOptions } from "../../src/sampler/schedule.ts";
import * as kDiffusion from "../reference/kDiffusion.ts";
import { replay } from "../reference/updateRows.ts";
import { denoiser, run } from "./gpuRuns.ts";
import { deviation } from "./traces.ts";

const SHAPE = [2, 3, 4, 4] as const;
const SIZE = SHAPE.reduce((a, b) => a * b, 1);
const start = Float64Array.from({ length: SIZE }, (_, i) => 1.3 * Math.sin(2.1 * i + 1));
/** A smooth network, whatever it predicts. */
const net = (x: number, t: number) => 0.8 * Math.sin(x) + (0.3 * x * t) / 1000;
const SEED = 5n;
/** The noise that the GPU draws in a row, [N, C, H, W]. */
const noise = (row: number) =>
  Float64Array.from([0, 1].flatMap((image) => [...stepNoise(SEED, image, row, [3, 4, 4])]));

const sigmaOf = (a: number) => Math.sqrt((1 - a) / a);

/** k-diffusion's wrapper of a network (external.py): its output at a σ of the schedule, denoised and bounded. */
function wrapped(schedule: Schedule): kDiffusion.Denoiser {
  return (y, sigma) => {
    const step = schedule.steps.find((s) => Math.abs(sigmaOf(s.alphaCumprod) / sigma - 1) < 1e-12)!;
    const scale = 1 / Math.sqrt(sigma ** 2 + 1);
    const bound = schedule.clip ?? Number.POSITIVE_INFINITY;
    return y.map((v) => {
      const m = net(v * scale, step.tNetwork);
      const forms = { epsilon: v - sigma * m, v_prediction: v * scale ** 2 - m * sigma * scale, sample: m };
      return Math.min(bound, Math.max(-bound, forms[schedule.prediction]));
    });
  };
}

/** Both in x: k-diffusion's states after every step, and the rows' after the last row of every step. */
function compare(options: ScheduleOptions, name: "heun" | "eulerAncestral", eta = 1) {
  const schedule = makeSchedule({ spacing: "trailing", ...options });
  const { steps } = schedule;
  const rule: UpdateRule = name === "heun" ? rules.heun : rules.eulerAncestral({ eta });
  const plan = planRule(rule, schedule);
  const first = Math.sqrt(steps[0]!.alphaCumprod);
  const sigmas = [...steps.map((s) => s.alphaCumprod), steps.at(-1)!.alphaCumprodPrev].map(sigmaOf);
  const y = start.map((v) => v / first);
  const theirs =
    name === "heun"
      ? kDiffusion.heun(wrapped(schedule), y, sigmas)
      : kDiffusion.eulerAncestral(wrapped(schedule), y, sigmas, noise, eta);
  const expected = theirs.map((state, i) => state.map((v) => v * Math.sqrt(steps[i]!.alphaCumprodPrev)));
  const states = replay(plan, (x, t) => x.map((v) => net(v, t)), start, noise);
  const ends = plan.rows.flatMap(({ step }, r) => (plan.rows[r + 1]?.step === step ? [] : [r]));
  return { schedule, rule, plan, expected, ours: ends.map((r) => states[r]!), ends };
}

describe.each(["heun", "eulerAncestral"] as const)("%s of examples/own-sampler", (name) => {
  it("is k-diffusion's in float64, whatever the schedule", () =>
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.constantFrom("trailing", "leading", "linspace", "karras"),
        fc.constantFrom("epsilon", "v_prediction", "sample"),
        fc.boolean(),
        fc.boolean(),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (steps, spacing, prediction, clip, set_alpha_to_one, eta) => {
          // Heun's rule takes the last step as one to σ = 0.
          const end = { set_alpha_to_one: set_alpha_to_one || name === "heun" };
          const options = { steps, spacing, prediction, clip, ...end } as ScheduleOptions;
          const { expected, ours } = compare(options, name, eta);
          for (const [i, state] of ours.entries()) expect(deviation(state, expected[i]!)).toBeLessThan(1e-9);
        },
      ),
      { numRuns: 60, seed: 3 },
    ));

  it.each<ScheduleOptions>([
    { steps: 6, clip: false },
    { steps: 5, prediction: "v_prediction" },
    { steps: 4, prediction: "sample" },
  ])("and on the GPU: %o", async (options) => {
    const { schedule, rule, expected, ends } = compare(options, name);
    const xT = Float32Array.from(start);
    const states = await run(schedule, { denoise: denoiser(net, SHAPE), shape: SHAPE, xT, rule, seed: SEED });
    for (const [i, row] of ends.entries()) expect(deviation(states[row]!.x, expected[i]!)).toBeLessThan(2e-5);
  });
});

it("counts evaluations: two for every step of Heun's but the last", () => {
  const { plan } = compare({ steps: 7 }, "heun");
  expect(plan.rows.map((row) => row.step)).toEqual([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6]);
  expect(plan.rows.map((row) => row.within)).toEqual([...[0, 1, 2, 3, 4, 5].flatMap(() => [false, true]), false]);
  expect(plan).toMatchObject({ history: { ring: 1, base: true }, noise: false, learned: false });
});

it("without new noise Euler's step is DDIM's, and with all of it DDPM's", () => {
  for (const [eta, own] of [[0, { eta: 0 }] as const, [1, { eta: 1 }] as const]) {
    const schedule = makeSchedule({ steps: 9, ...own });
    const network = (x: Float64Array, t: number) => x.map((v) => net(v, t));
    const theirs = replay(planSchedule(schedule), network, start, noise);
    const ours = replay(planRule(rules.eulerAncestral({ eta }), schedule), network, start, noise);
    for (const [i, state] of ours.entries()) expect(deviation(state, theirs[i]!)).toBeLessThan(1e-10);
  }
});

describe("rows", () => {
  const schedule = makeSchedule({ steps: 4 });
  const plan = (rows: readonly unknown[]) => planRule(() => rows as RuleRow[], schedule, { interval: [0, 600] });

  it("take from the schedule what they leave out", () => {
    const [row] = plan([{ step: 1, update: { k3: 1 } }]).rows;
    const { t, tNetwork, alphaCumprod, coefficients } = schedule.steps[1]!;
    expect(row).toMatchObject({ step: 1, t, tNetwork, alphaCumprod, within: false });
    expect(row!.update).toMatchObject({ k0: coefficients.k0, k1: coefficients.k1, clip: 1, guided: true, k3: 1 });
    const far = { t: 700.5, tNetwork: 700.5, alphaCumprod: 0.2 };
    expect(plan([{ step: 0, ...far, update: { k0: 1, k1: 0, k3: 1 } }]).rows[0]).toMatchObject({
      ...far,
      update: { guided: false },
    });
  });

  it("say where past values lie, around the ring, and may add noise to them", () => {
    const past = (weights: number[]) => ({ step: 1, update: { value: [0, 1, 0], weights, push: true, sigma: 0.5 } });
    const rows = [past([1]), past([1, 0.5]), past([1, 0.5, 0.25]), past([1, 0, 1]), past([1])];
    const made = plan(rows);
    expect(made).toMatchObject({ history: { ring: 2, base: false }, noise: true });
    expect(made.rows.map((row) => row.update.cursor)).toEqual([1, 0, 1, 0, 1]);
  });

  it("of a step without memory keep their meaning among others", () => {
    const [, row] = plan([
      { step: 0, update: { k3: 1, save: true } },
      { step: 1, update: { k2: 0.5, k3: 0.25, k4: 0.125 } },
    ]).rows;
    expect(row!.update).toMatchObject({ k3: 0.25, value: [0, 0.125, 0.5], weights: [1] });
  });

  it.each<[string, unknown, RegExp]>([
    ["no list", {}, /must return a list of rows/],
    ["none", [], /must return a list of rows/],
    ["another name", [{ step: 0, update: { k5: 1 } }], /row 0: update: there is no option "k5"/],
    ["a cursor", [{ step: 0, update: { cursor: 1 } }], /there is no option "cursor"/],
    ["another kind", [{ step: 0, update: { k3: "1" } }], /k3 must be a number/],
    ["no update", [{ step: 0 }], /row 0: update: options must be an object, got null/],
    ["a step too many", [{ step: 4, update: {} }], /row 0 is of step 4, but the schedule has steps 0 to 3/],
    ["NaN", [{ step: 0, update: { k3: Number.NaN } }], /row 0 has k3 NaN/],
    ["more than f32", [{ step: 0, update: { weights: [1e39] } }], /row 0 has weights 1e\+39/],
    ["two numbers", [{ step: 0, update: { value: [1, 2] } }], /has 2 numbers in value/],
    ["negative noise", [{ step: 0, update: { sigma: -1 } }], /sigma -1, which is below 0/],
    ["another timestep", [{ step: 0, t: 3.5, update: {} }], /row 0 is at t = 3.5, no timestep of the schedule/],
    ["no level", [{ step: 0, alphaCumprod: 2, update: {} }], /has alphaCumprod 2/],
    ["nothing kept", [{ step: 0, update: { weights: [1, 1] } }], /row 0 reads v_1, but 0 values are kept/],
    ["no base", [{ step: 0, update: { base: 1 } }], /row 0 reads the base/],
    ["both", [{ step: 0, update: { k2: 1, value: [1, 0, 0], weights: [1] } }], /k2 or k4 beside value and weights/],
  ])("are refused: %s", (_, rows, says) => {
    expect(() => planRule(() => rows as RuleRow[], schedule)).toThrow(UsageError);
    expect(() => planRule(() => rows as RuleRow[], schedule)).toThrow(says);
  });

  it("do not go with repaint", () => {
    const repaint = { jump: 1, resamples: 2 };
    expect(() => planRule(() => [{ step: 0, update: {} }], schedule, { repaint })).toThrow(/repaint is ddim's/);
  });
});

it("memory and noise together, on the GPU", async () => {
  const schedule = makeSchedule({ steps: 5, clip: false });
  const rule: UpdateRule = ({ steps }) =>
    steps.map((_, step) => ({
      step,
      update: {
        ...{ k3: 0.7, value: [0.1, 0.5, 0.2], weights: step > 1 ? [0.3, 0.2, -0.1] : [0.3] },
        ...{ push: true, save: step === 1, base: step > 1 ? 0.15 : 0, sigma: step < 4 ? 0.2 : 0 },
      },
    }));
  const expected = replay(planRule(rule, schedule), (x, t) => x.map((v) => net(v, t)), start, noise);
  const xT = Float32Array.from(start);
  const states = await run(schedule, { denoise: denoiser(net, SHAPE), shape: SHAPE, xT, rule, seed: SEED });
  for (const [i, { x }] of states.entries()) expect(deviation(x, expected[i]!)).toBeLessThan(2e-5);
});
