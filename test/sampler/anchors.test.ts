/** The sums that diffusers' own tests check: a ten-step run over a ramp with model(x, t) = x t/(t + 1). */
import { describe, expect, it } from "vitest";
import { referenceStep } from "../../src/sampler/referenceStep.ts";
import { makeSchedule, type ScheduleOptions } from "../../src/sampler/schedule.ts";

const count = 4 * 3 * 8 * 8;
const ramp = Float64Array.from({ length: count }, (_, i) => i / count);

function absoluteSum(options: ScheduleOptions, start: ArrayLike<number> = ramp, from = 0): number {
  const { steps } = makeSchedule({ steps: 10, compat: "diffusers", ...options });
  let x: Float64Array = Float64Array.from(start);
  for (const step of steps.slice(from)) {
    const m = x.map((v) => (v * step.t) / (step.t + 1));
    x = referenceStep(step, x, m).x;
  }
  return x.reduce((sum, v) => sum + Math.abs(v), 0);
}

describe("sums from diffusers' scheduler tests", () => {
  it.each<[string, ScheduleOptions, number]>([
    ["epsilon", {}, 172.0067],
    ["v_prediction", { prediction: "v_prediction" }, 52.5302],
    ["beta_start .01, final alpha 1", { beta_start: 0.01, set_alpha_to_one: true }, 149.8295],
    ["beta_start .01, final alpha abar_0", { beta_start: 0.01, set_alpha_to_one: false }, 149.0784],
  ])("%s", (_name, options, sum) => {
    expect(absoluteSum(options)).toBeCloseTo(sum, 2);
    expect(absoluteSum({ ...options, compat: "none", rederive: false })).toBeCloseTo(sum, 2);
  });

  it("from a noised sample at the ninth step", () => {
    const schedule = makeSchedule({ steps: 10, compat: "diffusers" });
    const a = schedule.steps[8]!.alphaCumprod;
    const noised = ramp.map((v, i) => Math.sqrt(a) * v + Math.sqrt(1 - a) * ((count - 1 - i) / count));
    expect(absoluteSum({}, noised, 8)).toBeCloseTo(354.5418, 2);
  });

  it.each([
    [420, 400, 0.14771],
    [980, 960, 0.3246],
    [487, 486, 0.00979],
    [999, 998, 0.02],
  ])("posterior variance from t = %d to %d", (t, tPrev, variance) => {
    const [step] = makeSchedule({ timesteps: [t, tPrev], eta: 1 }).steps;
    expect(step!.sigma ** 2).toBeCloseTo(variance, 4);
  });
});
