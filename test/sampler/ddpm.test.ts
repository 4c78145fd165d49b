/** The ancestral sampler: diffusers' DDPMScheduler under compat, and the exact posterior on sub-sequences. */
import { describe, expect, it } from "vitest";
import { UsageError } from "../../src/runtime/errors.ts";
import { referenceStep } from "../../src/sampler/referenceStep.ts";
import { makeSchedule, type ScheduleOptions } from "../../src/sampler/schedule.ts";
import type { TimestepSpacing } from "../../src/sampler/timesteps.ts";
import { deviation, formulaNoise, golden, goldenNames, networks } from "./traces.ts";

interface Trace {
  config: ScheduleOptions;
  num_inference_steps: number;
  custom_timesteps: number[] | null;
  net: "a" | "b" | "b6";
  noise_source: "explicit" | "formula";
  shape: number[];
  timesteps: number[];
  prev_timesteps: number[];
  diffusers_bug: string | null;
  x_T: number[];
  steps: { i: number; noise: number[] | null; prev_sample: number[]; pred_original_sample: number[] }[];
  final: number[];
  final_f64_tables: number[] | null;
}

function run(trace: Trace, options: ScheduleOptions, check?: (i: number, x: Float64Array) => void): Float64Array {
  const { custom_timesteps } = trace;
  const list = custom_timesteps ? { timesteps: custom_timesteps } : { steps: trace.num_inference_steps };
  const { steps } = makeSchedule({ ...trace.config, ...list, sampler: "ddpm", ...options });
  expect(steps.map((s) => s.t)).toEqual(trace.timesteps);
  expect(steps.map((s) => s.tPrev ?? -1)).toEqual(trace.prev_timesteps);
  let x: Float64Array = Float64Array.from(trace.x_T);
  for (const [i, step] of steps.entries()) {
    const m = x.map((v) => networks[trace.net === "a" ? "a" : "b"]!(v, step.t));
    const variance = x.map((v) => Math.tanh(v + 0.2 * Math.cos(0.02 * step.t)));
    const listed = trace.steps.find((s) => s.i === i)?.noise;
    const noise = trace.noise_source === "explicit" && listed ? listed : formulaNoise(i, x.length);
    x = referenceStep(step, x, m, noise, { variance, images: trace.shape[0] }).x;
    check?.(i, x);
  }
  return x;
}

describe("compat diffusers reproduces DDPMScheduler", () => {
  const names = goldenNames("", "ddpm_");
  it("there are traces to compare with", () => expect(names.length).toBeGreaterThan(8));

  it.each(names)("%s", (name) => {
    const trace = golden<Trace>(name);
    const final = run(trace, { compat: "diffusers" }, (i, x) => {
      const recorded = trace.steps.find((s) => s.i === i);
      if (recorded) expect(deviation(x, recorded.prev_sample)).toBeLessThan(1e-4);
    });
    expect(deviation(final, trace.final)).toBeLessThan(1e-4);
  });

  // Where DDPMScheduler's noise gate "t > 0" is not "not the last step", its runs are its own.
  const right = names.filter((name) => {
    const { final_f64_tables, timesteps, diffusers_bug } = golden<Trace>(name);
    return final_f64_tables && timesteps.at(-1) === 0 && !diffusers_bug && !name.includes("large");
  });
  it("some are right", () => expect(right.length).toBeGreaterThan(4));
  it.each(right)("%s: our own arithmetic against its float64 tables", (name) => {
    const trace = golden<Trace>(name);
    expect(deviation(run(trace, {}), trace.final_f64_tables!)).toBeLessThan(1e-8);
  });

  it("fixed_large_log is NaN there, and refused", () => {
    const options: ScheduleOptions = { variance_type: "fixed_large_log", sampler: "ddpm" };
    expect(() => makeSchedule({ ...options, compat: "diffusers" })).toThrow(/NaN in diffusers/);
    expect(makeSchedule(options).sigma).toBe("hat");
  });
});

interface ExactTrace {
  kind: "ddim" | "ddpm";
  betas: ScheduleOptions;
  spacing: TimestepSpacing;
  num_inference_steps: number;
  net: "a" | "b";
  options: { sigma_hat?: boolean; large?: boolean; clip?: number };
  x_start: number[];
  final: number[];
  steps: { i: number; sigma: number; next_sample: number[] }[];
}

describe("exact runs to 1e-11", () => {
  it.each([...goldenNames("exact/", "ddpm_"), ...goldenNames("exact/", "sigma_hat_")])("%s", (name) => {
    const trace = golden<ExactTrace>(name);
    const { sigma_hat, large, clip } = trace.options;
    const { steps } = makeSchedule({
      ...trace.betas,
      steps: trace.num_inference_steps,
      spacing: trace.spacing,
      sampler: trace.kind,
      sigma: sigma_hat || large ? "hat" : "posterior",
      clip: clip !== undefined,
    });
    let x: Float64Array = Float64Array.from(trace.x_start);
    for (const [i, step] of steps.entries()) {
      const m = x.map((v) => networks[trace.net]!(v, step.t));
      x = referenceStep(step, x, m, formulaNoise(i, x.length)).x;
      const recorded = trace.steps.find((s) => s.i === i);
      if (!recorded) continue;
      expect(Math.abs(step.sigma - recorded.sigma)).toBeLessThan(1e-13);
      expect(deviation(x, recorded.next_sample)).toBeLessThan(1e-11);
    }
    expect(deviation(x, trace.final)).toBeLessThan(1e-11);
  });
});

describe("sampler ddpm", () => {
  it("is eta 1, and σ̂ is its fixed_large", () => {
    for (const clip of [true, false]) {
      const base: ScheduleOptions = { steps: 1000, clip };
      const [ddpm, ddim] = [makeSchedule({ ...base, sampler: "ddpm" }), makeSchedule({ ...base, eta: 1 })];
      expect(ddpm.steps).toEqual(ddim.steps);
      const large = makeSchedule({ ...base, sampler: "ddpm", variance_type: "fixed_large" });
      expect(large.steps).toEqual(makeSchedule({ ...base, sigma: "hat" }).steps);
      expect(large.steps[0]!.sigma).toBeGreaterThan(ddpm.steps[0]!.sigma);
    }
  });

  it("differs from eta 1 under compat diffusers with clipping", () => {
    const options: ScheduleOptions = { steps: 10, compat: "diffusers", spacing: "trailing" };
    const step = (more: ScheduleOptions) => makeSchedule({ ...options, ...more }).steps[0]!;
    const at = (more: ScheduleOptions) => referenceStep(step(more), [3], [0.1], [0.5]).x[0]!;
    expect(Math.abs(at({ sampler: "ddpm" }) - at({ eta: 1 }))).toBeGreaterThan(0.1);
  });

  it("learned_range interpolates the logarithms between the posterior and σ̂", () => {
    const { steps, learnedVariance } = makeSchedule({ variance_type: "learned_range", sampler: "ddpm", steps: 5 });
    expect(learnedVariance).toBe(true);
    expect(steps.map((s) => s.logVariance === null)).toEqual([false, false, false, false, true]);
    const [step] = steps;
    const noiseAt = (v: number) =>
      referenceStep(step!, [0], [0], [1], { variance: [v] }).x[0]! -
      referenceStep(step!, [0], [0], [0], { variance: [v] }).x[0]!;
    const { alphaCumprod: a, alphaCumprodPrev: p } = step!;
    expect(noiseAt(1)).toBeCloseTo(Math.sqrt(1 - a / p), 14);
    expect(noiseAt(-1)).toBeCloseTo(Math.sqrt(((1 - p) / (1 - a)) * (1 - a / p)), 14);
    expect(noiseAt(0)).toBeCloseTo(Math.sqrt(noiseAt(1) * noiseAt(-1)), 14);
  });

  it("DDIM ignores the variance that a network predicts", () => {
    const schedule = makeSchedule({ variance_type: "learned_range", steps: 5 });
    expect(schedule.steps).toEqual(makeSchedule({ steps: 5 }).steps);
  });

  it.each<[ScheduleOptions, RegExp]>([
    [{ sampler: "ddpm", eta: 0.5 }, /eta must be 1 with sampler ddpm/],
    [{ sigma: "hat", eta: 0 }, /eta must be 1 with sigma hat/],
    [{ sampler: "ddpm", rederive: false }, /rederive cannot be false/],
    [{ sampler: "ddpm", compat: "ldm" }, /ddpm does not exist under compat ldm/],
    [{ sampler: "ddpm", variance_type: "learned" }, /learned is not supported/],
    [{ sigma: "learned_range" }, /needs a model/],
    [{ sigma: "small" as never }, /sigma must be one of/],
    [{ sampler: "heun" as never }, /sampler must be one of/],
    [{ sampler: "plms", eta: 0.5 }, /sampler plms is deterministic: eta must be 0/],
    [{ sampler: "dpmpp2m", sigma: "hat" }, /sampler dpmpp2m is deterministic/],
    [{ sampler: "dpmpp2m", compat: "openai" }, /dpmpp2m does not exist under compat openai/],
  ])("%j is refused", (options, message) => {
    expect(() => makeSchedule(options)).toThrow(UsageError);
    expect(() => makeSchedule(options)).toThrow(message);
  });
});
