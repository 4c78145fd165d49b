/** Inversion's rows, replayed in float64: against the steps that they undo. */
import { describe, expect, it } from "vitest";
import { UsageError } from "../../src/runtime/errors.ts";
import { planExactReturn, planInversion } from "../../src/sampler/inversion.ts";
import type { Plan } from "../../src/sampler/plan.ts";
import { makeSchedule, type ScheduleOptions } from "../../src/sampler/schedule.ts";
import { deviation, networks } from "./traces.ts";

const b = networks.b!;

/** src/kernels/sampling's arithmetic on one number at a time; base is what is remembered. */
function replay(plan: Plan, start: ArrayLike<number>, base: ArrayLike<number> = start, net = b) {
  let x = Float64Array.from(start);
  let kept = Float64Array.from(base);
  for (const { update: u, tNetwork } of plan.rows) {
    const m = x.map((v) => net(v, tNetwork));
    const next = x.map((v, j) =>
      plan.history ? u[7]! * v + u[12]! * (u[4]! * v + u[5]! * m[j]!) + u[8]! * kept[j]! : u[5]! * v + u[6]! * m[j]!,
    );
    if (plan.history && u[11]! > 0) kept = x;
    x = next;
  }
  return { x, kept };
}

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

  it.each<[ScheduleOptions, RegExp]>([
    [{ eta: 0.5 }, /eta must be 0/],
    [{ prediction: "sample" }, /cannot invert/],
  ])("%j is refused", (options, message) => {
    const make = () => planInversion(makeSchedule({ steps: 5, ...options }), "next", 1);
    expect(make).toThrow(UsageError);
    expect(make).toThrow(message);
  });
});
