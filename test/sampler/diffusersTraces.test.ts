/** Whole runs recorded from diffusers: reproduced with its own tables, and with exact ones. */
import { describe, expect, it } from "vitest";
import { alphasCumprod } from "../../src/sampler/betas.ts";
import { posteriorSigma, stepCoefficients } from "../../src/sampler/coefficients.ts";
import { referenceStep } from "../../src/sampler/referenceStep.ts";
import { makeSchedule, type Schedule, type ScheduleStep } from "../../src/sampler/schedule.ts";
import { parseSchedulerConfig } from "../../src/sampler/schedulerConfig.ts";
import { deviation, formulaNoise, golden, goldenNames, networks } from "./traces.ts";

interface Trace {
  config: Record<string, unknown>;
  num_inference_steps: number;
  net: string;
  eta: number;
  use_clipped_model_output: boolean;
  noise_source: "explicit" | "formula" | null;
  timesteps: number[];
  prev_timesteps: number[];
  diffusers_bug: string | null;
  x_T: number[];
  steps: { i: number; noise: number[] | null; prev_sample: number[]; pred_original_sample: number[] }[];
  final: number[];
  final_f64_tables?: number[];
}

/** Runs the steps; `check` sees each step's number, the predicted x0 and the state after it. */
function run(
  trace: Trace,
  steps: readonly ScheduleStep[],
  check?: (i: number, x0: Float64Array, x: Float64Array) => void,
): Float64Array {
  let x: Float64Array = Float64Array.from(trace.x_T);
  const net = networks[trace.net]!;
  for (const [i, step] of steps.entries()) {
    const recorded = trace.steps.find((s) => s.i === i)?.noise;
    const noise = trace.noise_source === "explicit" ? recorded! : formulaNoise(i, x.length);
    const next = referenceStep(
      step,
      x,
      x.map((v) => net(v, step.t)),
      noise,
      { images: 2 },
    );
    check?.(i, next.x0, next.x);
    x = next.x;
  }
  return x;
}

function schedule(trace: Trace, compat: "none" | "diffusers"): Schedule {
  const { num_inference_steps: steps, eta, use_clipped_model_output: rederive } = trace;
  return makeSchedule({ ...trace.config, steps, eta, rederive, compat });
}

/** diffusers' own pairs with float64 tables: what `final_f64_tables` was made with. */
function pairsWithExactTables(trace: Trace): ScheduleStep[] {
  const config = parseSchedulerConfig(trace.config, "trace");
  const table = alphasCumprod(config);
  return trace.timesteps.map((t, i) => {
    const p = trace.prev_timesteps[i]!;
    const alphaCumprod = table[t]!;
    const alphaCumprodPrev = p >= 0 ? table[p]! : config.set_alpha_to_one ? 1 : table[0]!;
    const pair = { t, tPrev: p >= 0 ? p : null, alphaCumprod, alphaCumprodPrev };
    const coefficients = stepCoefficients({
      ...pair,
      eta: trace.eta,
      prediction: config.prediction_type,
      clip: config.clip_sample && !config.thresholding ? config.clip_sample_range : null,
      threshold: config.thresholding
        ? { ratio: config.dynamic_thresholding_ratio, max: config.sample_max_value }
        : null,
      rederive: trace.use_clipped_model_output,
    });
    const sigma = posteriorSigma(alphaCumprod, alphaCumprodPrev, trace.eta);
    return { ...pair, tNetwork: t, sigma, logVariance: null, coefficients };
  });
}

const runnable = goldenNames("", "ddim_").filter((name) => name !== "ddim_trailing_S61.json");

describe("compat diffusers reproduces DDIMScheduler", () => {
  it("there are traces to compare with", () => expect(runnable.length).toBeGreaterThan(40));

  it.each(runnable)("%s", (name) => {
    const trace = golden<Trace>(name);
    const ours = schedule(trace, "diffusers");
    // Where ᾱ_t = 0 and η = 1, diffusers' float32 1 - ᾱ_prev - σ² is a rounding error instead of 0.
    const firstStep = name === "ddim_zsnr_v_trailing_eta1_S20.json" ? 1e-3 : 1e-4;
    expect(ours.steps.map((s) => s.t)).toEqual(trace.timesteps);
    expect(ours.steps.map((s) => s.tPrev)).toEqual(trace.prev_timesteps.map((t) => (t < 0 ? null : t)));
    const final = run(trace, ours.steps, (i, x0, x) => {
      const recorded = trace.steps.find((s) => s.i === i);
      if (!recorded) return;
      expect(deviation(x, recorded.prev_sample)).toBeLessThan(i === 0 ? firstStep : 1e-4);
      expect(deviation(x0, recorded.pred_original_sample)).toBeLessThan(1e-4);
    });
    expect(deviation(final, trace.final)).toBeLessThan(1e-4);
  });

  it("the list that ends at t = -1 is refused", () => {
    expect(() => schedule(golden<Trace>("ddim_trailing_S61.json"), "diffusers")).toThrow(/ends at t = -1/);
  });
});

describe("with float64 tables", () => {
  it.each(runnable)("%s: diffusers' pairs", (name) => {
    const trace = golden<Trace>(name);
    expect(deviation(run(trace, pairsWithExactTables(trace)), trace.final_f64_tables!)).toBeLessThan(1e-8);
  });

  // linspace with S = 1 starts at t = 0 there and at T - 1 here.
  const right = runnable.filter((name) => !golden<Trace>(name).diffusers_bug && name !== "ddim_linspace_S1.json");
  it.each(right)("%s: our schedule, where diffusers' pairs are right", (name) => {
    const trace = golden<Trace>(name);
    expect(deviation(run(trace, schedule(trace, "none").steps), trace.final_f64_tables!)).toBeLessThan(1e-8);
  });
});
