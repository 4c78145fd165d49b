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

describe("keys of DPMSolverMultistepScheduler", () => {
  interface Run {
    config: ScheduleOptions;
    timesteps: number[];
    x_T: number[];
    final: number[];
  }
  const { runs } = golden<{ runs: Record<string, Run> }>("solver_keys.json");
  const schedule = ({ config, timesteps }: Run, more: ScheduleOptions = {}) =>
    makeSchedule({ ...config, timesteps, clip: false, sampler: "dpmpp2m", ...more });

  it.each(Object.entries(runs))("%s", async (_, recorded) => {
    const { x_T, final } = recorded;
    const shape: Shape = [1, 2, 3, 4];
    const gpu = await run(schedule(recorded), { denoise: denoiser(networks.b!, shape), shape, xT: x_T });
    for (const x of [onHost(schedule(recorded), x_T).at(-1)!, gpu.at(-1)!.x])
      expect(deviation(x, final)).toBeLessThan(2e-5);
  });

  it("decide: each of the four moves the last state", () => {
    const moves = (name: string, more: ScheduleOptions) => {
      const { x_T, final } = runs[name]!;
      return deviation(onHost(schedule(runs[name]!, more), x_T).at(-1)!, final);
    };
    expect(moves("sigma_min", { final_sigmas_type: "zero" })).toBeGreaterThan(4e-5);
    expect(moves("sigma_min", { lower_order_final: false })).toBeGreaterThan(1e-4);
    expect(moves("sigma_min in 20 steps, euler at the end", { euler_at_final: false })).toBeGreaterThan(1e-4);
    expect(moves("order 3", { solver_order: 2 })).toBeGreaterThan(1e-4);
  });

  it("are followed under another class's name, and leave DDIM alone", () => {
    const keys = { final_sigmas_type: "sigma_min", solver_order: 3 } as const;
    const unipc = makeSchedule({ ...keys, _class_name: "UniPCMultistepScheduler", sampler: "dpmpp2m" });
    expect([unipc.solver?.order, unipc.finalAlphaCumprod]).toEqual([3, unipc.alphasCumprod[0]]);
    expect(makeSchedule(keys).finalAlphaCumprod).toBe(1);
    expect(() => makeSchedule({ solver_order: 4, sampler: "dpmpp2m" })).toThrow(
      /solver_order: dpmpp2m has orders 1 to 3/,
    );
    expect(makeSchedule({ solver_order: 4 }).steps).toHaveLength(50);
  });

  it("in a file of its own class, diffusers' defaults hold where it is silent", () => {
    const own = { _class_name: "DPMSolverMultistepScheduler", set_alpha_to_one: false, steps: 4 } as const;
    const dpm = makeSchedule({ ...own, sampler: "dpmpp2m" });
    // DPMSolverMultistepScheduler(): timestep_spacing "linspace", final_sigmas_type "zero", and no set_alpha_to_one.
    expect([dpm.spacing, dpm.steps.map(({ t }) => t), dpm.finalAlphaCumprod]).toEqual([
      "linspace",
      [999, 666, 333, 0],
      1,
    ]);
    // DDIMScheduler.from_config of the same file, and what a file says itself.
    const ddim = makeSchedule(own);
    expect([ddim.spacing, ddim.finalAlphaCumprod]).toEqual(["leading", ddim.alphasCumprod[0]]);
    const said = { timestep_spacing: "trailing", final_sigmas_type: "sigma_min" } as const;
    const told = makeSchedule({ ...own, ...said, sampler: "dpmpp2m" });
    expect([told.spacing, told.finalAlphaCumprod]).toEqual(["trailing", told.alphasCumprod[0]]);
    // Another class's file goes on the pairs of DDIM.
    const pndm = makeSchedule({ ...own, _class_name: "PNDMScheduler", sampler: "dpmpp2m" });
    expect([pndm.spacing, pndm.finalAlphaCumprod]).toEqual(["leading", pndm.alphasCumprod[0]]);
  });

  it.each<[ScheduleOptions, RegExp | null]>([
    [{ algorithm_type: "sde-dpmsolver++" }, /algorithm_type "sde-dpmsolver\+\+" is not followed/],
    [{ use_karras_sigmas: true }, /use_karras_sigmas true is not followed/],
    [{ lambda_min_clipped: -5.1 }, /lambda_min_clipped -5.1 is not followed/],
    [{ solver_type: "rk4" }, /solver_type "rk4" is not followed/],
    [{ algorithm_type: "dpmsolver++", use_karras_sigmas: false, lambda_min_clipped: Number.NEGATIVE_INFINITY }, null],
    [{ algorithm_type: "deis", use_beta_sigmas: null, solver_type: "bh2" }, null],
  ])("%j warns, under dpmpp2m alone", (keys, warning) => {
    const said = (options: ScheduleOptions) =>
      makeSchedule({ spacing: "trailing", ...keys, ...options }).warnings.join();
    if (warning) expect(said({ sampler: "dpmpp2m" })).toMatch(warning);
    else expect(said({ sampler: "dpmpp2m" })).toBe("");
    expect(said({})).toBe("");
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
