/** Recorded inversions: every row in float64 by the formulas of the kernels, and on the GPU by the kernels themselves. */
import { describe, expect, it } from "vitest";
import { planInversion } from "../../src/sampler/inversion.ts";
import type { Plan } from "../../src/sampler/plan.ts";
import { makeSchedule, type Schedule, type ScheduleOptions, type ScheduleStep } from "../../src/sampler/schedule.ts";
import { denoiser, run } from "./gpuRuns.ts";
import { type OriginTrace, optionsOfOrigin } from "./originOptions.ts";
import { deviation, golden, goldenNames, networks, tensors } from "./traces.ts";

interface Run {
  schedule: Schedule;
  plan: Plan;
  net: string;
  xT: ArrayLike<number>;
}
const SHAPE = [2, 3, 4, 4] as const;

/** A memoryless plan's rows as steps of a schedule: sample() makes the same rows of them again. */
function asSchedule({ schedule, plan }: Run): Schedule {
  const steps = plan.rows.map(({ t, tNetwork, alphaCumprod, update }): ScheduleStep => {
    const { k0 = 0, k1 = 0, clip = 0, k2 = 0, k3 = 0, k4 = 0, sigma = 0 } = update;
    const coefficients = { k0, k1, k2, k3, k4, clip: clip || null, threshold: null };
    return { t, tNetwork, tPrev: null, alphaCumprod, alphaCumprodPrev: 1, sigma, logVariance: null, coefficients };
  });
  return { ...schedule, threshold: null, steps };
}

interface States {
  x: ArrayLike<number>;
  x0: ArrayLike<number>;
}

function onHost({ plan, net, xT }: Run): States[] {
  let x = Float64Array.from(xT);
  return plan.rows.map(({ update: u, tNetwork }) => {
    const m = x.map((v) => networks[net]!(v, tNetwork));
    const bound = u.clip || Number.POSITIVE_INFINITY;
    const x0 = x.map((v, j) => Math.min(bound, Math.max(-bound, u.k0! * v + u.k1! * m[j]!)));
    x = x.map((v, j) => u.k2! * x0[j]! + u.k3! * v + u.k4! * m[j]!);
    return { x, x0 };
  });
}

const onGpu = (it: Run): Promise<States[]> =>
  run(asSchedule(it), { denoise: denoiser(networks[it.net]!, SHAPE), shape: SHAPE, xT: it.xT });

describe("exact inversions", () => {
  interface Trace {
    betas: ScheduleOptions;
    spacing: ScheduleOptions["spacing"];
    num_inference_steps: number;
    steps_offset: number;
    final_alpha: "one" | "abar0";
    net: string;
    eval_at: "next" | "current";
    x_start: number[];
    steps: { i: number; next_sample: number[] }[];
    final: number[];
  }
  const names = goldenNames("exact/", "invert_");
  it("there are some", () => expect(names).toHaveLength(6));

  it.each(names)("%s: 1e-11 on the host, 2e-6 on the GPU", async (name) => {
    const trace = golden<Trace>(name);
    const schedule = makeSchedule({
      ...trace.betas,
      spacing: trace.spacing,
      steps: trace.num_inference_steps,
      steps_offset: trace.steps_offset,
      set_alpha_to_one: trace.final_alpha === "one",
    });
    const all = { schedule, plan: planInversion(schedule, trace.eval_at, 1), net: trace.net, xT: trace.x_start };
    const [host, gpu] = [onHost(all), await onGpu(all)];
    for (const { i, next_sample } of trace.steps) {
      expect(deviation(host[i]!.x, next_sample)).toBeLessThan(1e-11);
      expect(deviation(gpu[i]!.x, next_sample)).toBeLessThan(2e-6);
    }
    expect(deviation(host.at(-1)!.x, trace.final)).toBeLessThan(1e-11);
  });
});

describe("DDIMInverseScheduler of diffusers", () => {
  interface Trace {
    config: ScheduleOptions;
    num_inference_steps: number;
    timesteps: number[];
    diffusers_bug: string | null;
    x_T: number[];
    steps: { i: number; prev_sample: number[]; pred_original_sample: number[] }[];
    final: number[];
    final_f64_tables: number[];
  }
  const names = goldenNames("", "inverse_");
  const runOf = ({ config, num_inference_steps: steps, x_T }: Trace, compat: "none" | "diffusers"): Run => {
    const schedule = makeSchedule({ ...config, steps, compat });
    return { schedule, plan: planInversion(schedule, "next", 1), net: "b", xT: x_T };
  };
  it("there are some, with and without clipping", () => expect(names).toHaveLength(5));

  it.each(names)("%s, by compat diffusers", async (name) => {
    const trace = golden<Trace>(name);
    const all = runOf(trace, "diffusers");
    expect(all.plan.rows.map((row) => row.tNetwork)).toEqual(trace.timesteps);
    for (const states of [onHost(all), await onGpu(all)]) {
      for (const { i, prev_sample, pred_original_sample } of trace.steps) {
        expect(deviation(states[i]!.x, prev_sample)).toBeLessThan(2e-6);
        expect(deviation(states[i]!.x0, pred_original_sample)).toBeLessThan(2e-6);
      }
      expect(deviation(states.at(-1)!.x, trace.final)).toBeLessThan(2e-6);
    }
  });

  it.each(names)("%s: ours is the same where that neither clips nor strides", (name) => {
    const trace = golden<Trace>(name);
    const off = deviation(onHost(runOf(trace, "none")).at(-1)!.x, trace.final_f64_tables);
    if (trace.config.clip_sample || trace.diffusers_bug) expect(off).toBeGreaterThan(1e-3);
    else expect(off).toBeLessThan(1e-8);
  });
});

describe("ddim_reverse_sample of OpenAI", () => {
  const names = goldenNames("origin/openai/", "reverse-");
  it("there are some, with and without clipping", () => expect(names).toHaveLength(4));

  it.each(names)("%s, by compat openai", async (name) => {
    const trace = golden<OriginTrace>(name);
    const recorded = tensors(name.replace(/json$/, "safetensors"));
    const row = (key: string, i: number) => recorded[key]!.subarray(i * 96, (i + 1) * 96);
    const schedule = makeSchedule(optionsOfOrigin("openai", trace));
    const all = { schedule, plan: planInversion(schedule, "current", 1), net: trace.net, xT: row("x", 0) };
    expect(all.plan.rows.map((r) => r.tNetwork)).toEqual(trace.timesteps_as_passed);
    const [host, gpu] = [onHost(all), await onGpu(all)];
    for (const [i, { x, x0 }] of host.entries()) {
      expect(deviation(x, row("x", i + 1))).toBeLessThan(3e-5);
      // Both float32 runs multiply their last digits by 157 for x0 at t = 999.
      expect(deviation(x0, row("x0", i))).toBeLessThan(3e-5);
      expect(deviation(gpu[i]!.x, row("x", i + 1))).toBeLessThan(3e-5);
    }
    expect(deviation(host.at(-1)!.x, recorded.x_final_f64!)).toBeLessThan(1e-6);
  });
});
