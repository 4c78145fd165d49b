/**
 * Recorded runs of other solvers: DPM-Solver++ and Euler of diffusers, and the identities' runs in their own variables.
 * Order 1 and Euler are DDIM with eta 0 under other names, and so are they reproduced.
 */
import { describe, expect, it } from "vitest";
import { referenceMultistep } from "../../src/sampler/multistep.ts";
import { referenceStep } from "../../src/sampler/referenceStep.ts";
import { makeSchedule, type Schedule, type ScheduleOptions } from "../../src/sampler/schedule.ts";
import { denoiser, run } from "./gpuRuns.ts";
import { deviation, golden, goldenNames, networks } from "./traces.ts";

type Shape = [number, number, number, number];

/** States of a deterministic run in float64; `tOf` is what the network is told. */
function onHost(schedule: Schedule, xT: ArrayLike<number>, tOf = (t: number) => t): Float64Array[] {
  const network = (x: Float64Array, t: number) => x.map((v) => networks.b!(v, tOf(t)));
  if (schedule.sampler === "dpmpp2m") return referenceMultistep(schedule, "dpmpp2m", network, xT, 2);
  let x: Float64Array = Float64Array.from(xT);
  return schedule.steps.map((step) => {
    x = referenceStep(step, x, network(x, step.t)).x;
    return x;
  });
}

describe("DPMSolverMultistepScheduler of diffusers", () => {
  interface Trace {
    config: ScheduleOptions & { solver_order: number; thresholding: boolean };
    timesteps: number[];
    shape: Shape;
    x_T: number[];
    steps: { i: number; prev_sample: number[] }[];
    final: number[];
  }
  const names = goldenNames("", "dpmpp");
  it("has runs of both orders", () => expect(names).toHaveLength(7));

  it.each(names)("%s", async (name) => {
    const { config, timesteps, x_T, shape, steps, final } = golden<Trace>(name);
    const sampler = config.solver_order === 1 ? "ddim" : "dpmpp2m";
    const schedule = makeSchedule({ ...config, timesteps, clip: false, sampler });
    const host = onHost(schedule, x_T);
    const gpu = await run(schedule, { denoise: denoiser(networks.b!, shape), shape, xT: x_T });
    // The library's tables and states are float32.
    for (const states of [host, gpu.map(({ x }) => x)]) {
      for (const { i, prev_sample } of steps) expect(deviation(states[i]!, prev_sample)).toBeLessThan(2e-5);
      expect(deviation(states.at(-1)!, final)).toBeLessThan(2e-5);
    }
  });

  it("midpoint is not heun", () => {
    const { config, timesteps, x_T, final } = golden<Trace>("dpmpp2_heun_threshold_S10.json");
    const other = makeSchedule({ ...config, solver_type: "midpoint", timesteps, clip: false, sampler: "dpmpp2m" });
    expect(deviation(onHost(other, x_T).at(-1)!, final)).toBeGreaterThan(1e-3);
  });
});

describe("EulerDiscreteScheduler of diffusers", () => {
  interface Trace {
    config: ScheduleOptions;
    /** Between two of the table's for linspace. */
    timesteps: number[];
    shape: Shape;
    x_T: number[];
    init_noise_sigma: number;
    steps: { i: number; sigma: number; sigma_next: number; prev_sample: number[]; pred_original_sample: number[] }[];
    final: number[];
  }
  const names = goldenNames("", "euler_");
  it("has runs of three spacings and a list", () => expect(names).toHaveLength(4));

  it.each(names)("%s", async (name) => {
    const { config, timesteps, shape, x_T, init_noise_sigma, steps, final } = golden<Trace>(name);
    const { alphasCumprod } = makeSchedule({ ...config, spacing: "leading", steps: 1 });
    const table = Array.from(alphasCumprod, (a) => Math.sqrt((1 - a) / a));
    // σ between timesteps is interpolated, so the levels of the run are a table of their own, the noisiest last.
    const sigmas = timesteps.map((t) => {
      const [low, high] = [table[Math.floor(t)]!, table[Math.ceil(t)]!];
      return low + (t - Math.floor(t)) * (high - low);
    });
    const levels = sigmas.map((s) => 1 / (1 + s * s)).reverse();
    const schedule = makeSchedule({
      trained_betas: levels.map((a, i) => 1 - a / (levels[i - 1] ?? 1)),
      timesteps: levels.map((_, i) => i),
      prediction: config.prediction_type,
      clip: false,
    });
    const tOf = (i: number) => timesteps[timesteps.length - 1 - i]!;
    const scale = (sigma: number) => Math.sqrt(1 + sigma * sigma);
    // Its states are x/√ᾱ.
    const xT = x_T.map((v) => (v * init_noise_sigma) / scale(steps[0]!.sigma));
    const host = onHost(schedule, xT, tOf);
    const net = denoiser(networks.b!, shape);
    const gpu = await run(schedule, { denoise: (x, [i]) => net(x, [tOf(i!)]), shape, xT });
    for (const states of [host, gpu.map(({ x }) => x)]) {
      for (const { i, sigma_next, prev_sample } of steps) {
        const theirs = prev_sample.map((v) => v / scale(sigma_next));
        expect(deviation(states[i]!, theirs)).toBeLessThan(1e-5);
      }
      expect(deviation(states.at(-1)!, final)).toBeLessThan(1e-5);
    }
    for (const { i, pred_original_sample } of steps)
      expect(deviation(gpu[i]!.x0, pred_original_sample)).toBeLessThan(1e-5);
  });
});

describe("exact runs in the variables of Euler and DPM-Solver++", () => {
  interface Trace {
    betas: ScheduleOptions;
    spacing: Schedule["spacing"];
    num_inference_steps: number;
    shape: Shape;
    x_start: number[];
    steps: { i: number; next_sample: number[] }[];
    final: number[];
  }
  it.each(["euler_S10", "dpmpp1_S10"])("%s is DDIM: 1e-11 on the host, 2e-6 on the GPU", async (name) => {
    const trace = golden<Trace>(`exact/${name}.json`);
    const { betas, spacing, num_inference_steps: steps, shape, x_start } = trace;
    const schedule = makeSchedule({ ...betas, spacing: spacing as "leading", steps, clip: false });
    const host = onHost(schedule, x_start);
    const gpu = await run(schedule, { denoise: denoiser(networks.b!, shape), shape, xT: x_start });
    for (const { i, next_sample } of trace.steps) {
      expect(deviation(host[i]!, next_sample)).toBeLessThan(1e-11);
      expect(deviation(gpu[i]!.x, next_sample)).toBeLessThan(2e-6);
    }
    expect(deviation(host.at(-1)!, trace.final)).toBeLessThan(1e-11);
  });
});
