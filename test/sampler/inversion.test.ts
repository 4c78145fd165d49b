/** Inversion's rows, replayed in float64: against the steps that they undo. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Update } from "../../src/kernels/sampling/records.ts";
import { UsageError } from "../../src/runtime/errors.ts";
import { directionCoefficient } from "../../src/sampler/coefficients.ts";
import { levelCoefficients, planExactReturn, planInversion } from "../../src/sampler/inversion.ts";
import type { Plan } from "../../src/sampler/plan.ts";
import { makeSchedule, type ScheduleOptions, type ScheduleStep } from "../../src/sampler/schedule.ts";
import { deviation, networks } from "./traces.ts";

const b = networks.b!;

const memory = ({ k3 = 0, weights = [], value = [] }: Update, x: number, m: number) =>
  k3 * x + weights[0]! * (value[0]! * x + value[1]! * m);

/** src/kernels/sampling's arithmetic on one number at a time; base is what is remembered. */
function replay(plan: Plan, start: ArrayLike<number>, base: ArrayLike<number> = start, net = b) {
  let x = Float64Array.from(start);
  let kept = Float64Array.from(base);
  for (const { update: u, tNetwork } of plan.rows) {
    const m = x.map((v) => net(v, tNetwork));
    const next = x.map((v, j) =>
      plan.history ? memory(u, v, m[j]!) + (u.base ?? 0) * kept[j]! : u.k3! * v + u.k4! * m[j]!,
    );
    if (plan.history && u.save) kept = x;
    x = next;
  }
  return { x, kept };
}

describe("the way up to hardly any signal", () => {
  it("keeps √(1 - p) of ε, from any level to any below", () => {
    const level = fc.double({ min: 1e-12, max: 1 - 1e-6, noNaN: true });
    fc.assert(
      fc.property(level, level, fc.constantFrom("epsilon", "v_prediction", "sample"), (u, v, prediction) => {
        const [from, to] = [Math.max(u, v), Math.min(u, v) / 2];
        expect(directionCoefficient(from, to, 0)).toBe(Math.sqrt(1 - to));
        const { k0, k1, k3, k4 } = levelCoefficients(from, to, prediction as "epsilon");
        // From x0 and ε and back, where nothing cancels: x = √a x0 + √(1 - a) ε.
        const [x0, epsilon] = [0.6, 0.7];
        const [signal, noise] = [Math.sqrt(from), Math.sqrt(1 - from)];
        const x = signal * x0 + noise * epsilon;
        const m = { epsilon, sample: x0, v_prediction: signal * epsilon - noise * x0 }[prediction as "epsilon"];
        const moved = Math.sqrt(to) * x0 + Math.sqrt(1 - to) * epsilon;
        expect(Math.abs((k3 * x + k4 * m) / moved - 1)).toBeLessThan(1e-9);
        expect(Number.isFinite(k0 + k1)).toBe(true);
      }),
    );
  });

  it.each([1, 2])("of the cosine schedule in %i steps", (steps) => {
    for (const set_alpha_to_one of [true, false]) {
      const schedule = makeSchedule({
        ...{ beta_schedule: "squaredcos_cap_v2", spacing: "trailing", clip: false },
        ...{ steps, set_alpha_to_one },
      } as ScheduleOptions);
      const { rows } = planInversion(schedule, "next", 1);
      const [{ alphaCumprod: top, alphaCumprodPrev: below }] = schedule.steps as [ScheduleStep];
      const { k3, k4 } = rows.at(-1)!.update;
      expect(top).toBeLessThan(1e-8);
      expect(k3! / Math.sqrt(top / below) - 1).toBeCloseTo(0, 12);
      expect(k4).toBeCloseTo(Math.sqrt(1 - top) - Math.sqrt((top * (1 - below)) / below), 12);
    }
  });
});

describe("the way back", () => {
  const image = Float64Array.from({ length: 50 }, (_, i) => Math.sin(i * 1.9));
  const down = (schedule: ReturnType<typeof makeSchedule>, latents: Float64Array) => {
    let x = latents;
    for (const { t, coefficients: c } of schedule.steps) x = x.map((v) => c.k3 * v + c.k4 * b(v, t));
    return x;
  };

  it.each<ScheduleOptions>([
    { steps: 10 },
    { steps: 20, spacing: "trailing" },
    { steps: 10, prediction: "v_prediction", set_alpha_to_one: false },
  ])("%j: fixed-point converges to DDIM's own inverse, exact returns but for rounding", (options) => {
    const schedule = makeSchedule({ ...options, clip: false });
    const error = (iterations: number) =>
      deviation(down(schedule, replay(planInversion(schedule, "fixed-point", iterations), image).x), image);
    const plain = deviation(down(schedule, replay(planInversion(schedule, "next", 1), image).x), image);
    expect(error(1)).toBeLessThan(plain);
    expect(error(40)).toBeLessThan(Math.max(1e-9, plain / 1000));
    const { x, kept } = replay(planInversion(schedule, "exact", 1), image);
    expect(deviation(replay(planExactReturn(schedule), kept, x).x, image)).toBeLessThan(1e-10);
  });

  it("counts evaluations: one a step, k more for fixed-point, none lost on the way back", () => {
    const schedule = makeSchedule({ steps: 7, clip: false });
    const rows = (...args: [Parameters<typeof planInversion>[1], number]) =>
      planInversion(schedule, ...args).rows.length;
    expect([rows("next", 3), rows("current", 3), rows("exact", 3), rows("fixed-point", 3)]).toEqual([7, 7, 7, 28]);
    expect(planExactReturn(schedule).rows).toHaveLength(6);
  });

  it("OpenAI's ladder starts below ᾱ = 1, so it inverts a network that predicts the sample", () => {
    const schedule = makeSchedule({ steps: 6, prediction: "sample", compat: "openai" });
    const { rows } = planInversion(schedule, "current", 1);
    // ddim_reverse_sample: x0 = clamp(m), ε = (x - √a x0)/√(1 - a), x = √next x0 + √(1 - next) ε, next = 0 at the end.
    const levels = [...schedule.steps.map((s) => s.alphaCumprod).reverse(), 0];
    for (const [i, { tNetwork, update: u }] of rows.entries()) {
      const [x, m, a, next] = [0.8, b(0.8, tNetwork) * 2, levels[i]!, levels[i + 1]!];
      const x0 = Math.min(1, Math.max(-1, m));
      const epsilon = (x - Math.sqrt(a) * x0) / Math.sqrt(1 - a);
      const bounded = Math.min(u.clip!, Math.max(-u.clip!, u.k0! * x + u.k1! * m));
      const ours = u.k2! * bounded + u.k3! * x + u.k4! * m;
      expect(ours).toBeCloseTo(Math.sqrt(next) * x0 + Math.sqrt(1 - next) * epsilon, 12);
    }
    expect(() => planInversion(schedule, "next", 1)).toThrow(/cannot invert/);
  });

  it.each<[ScheduleOptions, RegExp]>([
    [{ eta: 0.5 }, /eta must be 0/],
    [{ prediction: "sample" }, /cannot invert/],
  ])("%j is refused", (options, message) => {
    const make = () => planInversion(makeSchedule({ steps: 5, ...options }), "next", 1);
    expect(make).toThrow(UsageError);
    expect(make).toThrow(message);
  });
});
