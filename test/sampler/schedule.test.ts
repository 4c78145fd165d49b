import { describe, expect, it } from "vitest";
import { ConfigError, UsageError } from "../../src/runtime/errors.ts";
import { planSchedule, updateTable } from "../../src/sampler/plan.ts";
import { referenceStep } from "../../src/sampler/referenceStep.ts";
import { makeSchedule, type ScheduleOptions } from "../../src/sampler/schedule.ts";

describe("pairs", () => {
  for (const spacing of [
    "leading",
    "trailing",
    "linspace",
    "uniform",
    "quad",
    "logsnr",
    "karras",
    "power:3",
  ] as const) {
    it(`${spacing}: for every S each step leads to the next timestep and the last one to ᾱ = 1`, () => {
      for (let steps = 1; steps <= 1000; steps += steps < 70 ? 1 : 31) {
        const s = makeSchedule({ spacing, steps, eta: 0.5 });
        expect(s.steps.map((p) => p.tPrev)).toEqual([...s.steps.slice(1).map((p) => p.t), null]);
        for (const [i, p] of s.steps.entries()) {
          expect(p.alphaCumprod).toBe(s.alphasCumprod[p.t]);
          expect(p.alphaCumprodPrev).toBe(s.steps[i + 1]?.alphaCumprod ?? 1);
        }
        expect(s.steps.at(-1)!.sigma).toBe(0);
        expect([...new Float32Array(updateTable(planSchedule(s)).buffer)].every(Number.isFinite)).toBe(true);
      }
    });
  }

  it("the last pair goes to ᾱ_0 when set_alpha_to_one is false", () => {
    const s = makeSchedule({ set_alpha_to_one: false, steps_offset: 1, steps: 5, eta: 1 });
    expect(s.steps.map((p) => p.t)).toEqual([801, 601, 401, 201, 1]);
    expect(s.finalAlphaCumprod).toBe(s.alphasCumprod[0]);
    expect(s.steps[4]!.alphaCumprodPrev).toBe(s.alphasCumprod[0]);
    expect(s.steps[4]!.sigma).toBeGreaterThan(0);
  });

  it("a step from t = 0 to ᾱ_0 changes nothing", () => {
    const s = makeSchedule({ set_alpha_to_one: false, timesteps: [0], eta: 1, clip: false });
    expect(referenceStep(s.steps[0]!, [0.25], [3]).x[0]).toBe(0.25);
  });

  it("compat diffusers subtracts the stride from t", () => {
    const s = makeSchedule({ compat: "diffusers", spacing: "trailing", steps: 7 });
    expect(s.steps.map((p) => p.tPrev)).toEqual([857, 714, 571, 428, 286, 143, 0]);
    expect(s.warnings.join("\n")).toMatch(/not the next timestep at 5 of 7 steps/);
    expect(s.warnings.join("\n")).toMatch(/last step ends at t = 0/);
  });
});

describe("options", () => {
  it("default to 50 leading steps, eta 0, clipped to 1 and re-derived", () => {
    const { steps, alphasCumprod, ...run } = makeSchedule({});
    expect(steps).toHaveLength(50);
    expect(alphasCumprod).toHaveLength(1000);
    expect(run).toEqual({
      numTrainTimesteps: 1000,
      betaSchedule: "linear",
      spacing: "leading",
      sampler: "ddim",
      solverType: "midpoint",
      prediction: "epsilon",
      clip: 1,
      threshold: null,
      rederive: true,
      eta: 0,
      sigma: "posterior",
      temperature: 1,
      learnedVariance: false,
      compat: "none",
      finalAlphaCumprod: 1,
      warnings: [],
    });
    expect(makeSchedule({ num_train_timesteps: 20 }).steps).toHaveLength(20);
    expect(makeSchedule({ compat: "diffusers" }).rederive).toBe(false);
  });

  it("override the configuration", () => {
    const s = makeSchedule({
      clip_sample_range: 2,
      clip_sample: false,
      clip: true,
      prediction: "sample",
      spacing: "quad",
    });
    expect([s.clip, s.prediction, s.spacing]).toEqual([2, "sample", "quad"]);
    expect(makeSchedule({ clip: false }).clip).toBeNull();
  });

  it.each([
    [{ eta: -0.1 }, "eta"],
    [{ eta: 1.1 }, "eta"],
    [{ eta: Number.NaN }, "eta"],
    [{ eta: "0.5" }, "eta"],
    [{ spacing: "even" }, "spacing"],
    [{ prediction: "noise" }, "prediction"],
    [{ compat: "torch" }, "compat"],
  ])("%j is refused", (options, option) => {
    const make = () => makeSchedule(options as ScheduleOptions);
    expect(make).toThrow(UsageError);
    expect(make).toThrow(`${option} must be`);
  });

  it("an unknown option is refused with what it may have been meant for", () => {
    expect(() => makeSchedule({ stepz: 10 } as ScheduleOptions)).toThrow(/no option "stepz"; did you mean steps\?/);
  });
});

describe("zero terminal SNR", () => {
  const zero: ScheduleOptions = { rescale_betas_zero_snr: true, spacing: "trailing", steps: 5, clip: false };

  it("epsilon is refused where t = T - 1 is visited, and warned about elsewhere", () => {
    expect(() => makeSchedule(zero)).toThrow(/epsilon cannot start at t = 999: its terminal SNR is zero/);
    const s = makeSchedule({ ...zero, spacing: "leading", steps: 50 });
    expect(s.warnings.join("\n")).toMatch(/zero terminal SNR/);
  });

  it.each(["v_prediction", "sample"] as const)("%s starts from pure noise with finite coefficients", (prediction) => {
    for (const compat of ["none", "diffusers"] as const) {
      for (const clip of [true, false]) {
        const s = makeSchedule({ ...zero, prediction, clip, eta: 1, compat });
        expect(s.steps[0]!.alphaCumprod).toBe(0);
        expect([...new Float32Array(updateTable(planSchedule(s)).buffer)].every(Number.isFinite)).toBe(true);
        // x0 is all that the network says; with η = 1 nothing of x is kept.
        const { k3, k4, k2 } = s.steps[0]!.coefficients;
        const sign = prediction === "sample" ? 1 : -1;
        expect(Math.abs(k3)).toBeLessThan(1e-15);
        expect(clip ? k2 : k4 * sign).toBeCloseTo(Math.sqrt(s.steps[0]!.alphaCumprodPrev), 14);
      }
    }
  });

  it("a β of 1 before the end leaves nothing to sample from", () => {
    const make = () => makeSchedule({ trained_betas: [0.1, 1, 1], steps: 3, prediction: "sample" });
    expect(make).toThrow(ConfigError);
    expect(make).toThrow(/alphas_cumprod is 0 at t = 2 and 0 after it/);
  });
});

describe("warnings", () => {
  const about = (options: ScheduleOptions) => makeSchedule(options).warnings.join("\n");

  it("first timestep far below T", () => {
    expect(about({ steps: 60 })).toMatch(/leading spacing with 60 steps starts at t = 944 of 999/);
    expect(about({ steps: 1 })).toMatch(/leading spacing with 1 step starts at t = 0 of 999/);
    expect(about({ steps: 20 })).toBe("");
    expect(about({ steps: 60, spacing: "trailing" })).toBe("");
    expect(about({ timesteps: [500, 3] })).toBe("");
  });

  it("steps_offset with more than half of the timesteps", () => {
    expect(about({ steps: 960, steps_offset: 1 })).toMatch(/steps_offset 1 with more than 500 steps/);
    expect(about({ steps: 50, steps_offset: 1 })).toBe("");
  });

  it("a configuration of another scheduler", () => {
    expect(about({ _class_name: "DDPMScheduler" })).toMatch(/names DDPMScheduler; it is sampled with DDIM/);
    expect(about({ _class_name: "EulerDiscreteScheduler", compat: "diffusers" })).toMatch(/never clamps/);
    expect(makeSchedule({ _class_name: "EulerDiscreteScheduler" }).clip).toBeNull();
    expect(about({ _class_name: "DDIMScheduler" })).toBe("");
  });
});
