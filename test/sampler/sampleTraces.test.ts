/** Recorded runs of the original systems, through `sample({ denoise })`: the kernels' float32 against their numbers. */
import { describe, expect, it } from "vitest";
import { makeSchedule, type Schedule, type ScheduleOptions } from "../../src/sampler/schedule.ts";
import { denoiser, run } from "./gpuRuns.ts";
import { type OriginTrace, optionsOfOrigin } from "./originOptions.ts";
import { deviation, formulaNoise, golden, goldenNames, networks, tensors } from "./traces.ts";

describe("exact runs, 2e-6 in every step", () => {
  interface Trace {
    kind: "ddim" | "ddpm";
    betas: ScheduleOptions;
    spacing: Schedule["spacing"];
    num_inference_steps: number;
    steps_offset: number;
    final_alpha: "one" | "abar0";
    shape: [number, number, number, number];
    net: string;
    options: {
      eta?: number;
      pred?: ScheduleOptions["prediction"];
      clip?: number;
      rederive?: boolean;
      sigma_hat?: boolean;
      large?: boolean;
    };
    pairs: [number, number][];
    x_start: number[];
    steps: { i: number; pred_original_sample: number[]; next_sample: number[] }[];
  }
  const names = ["ddim_", "ddpm_", "sigma_hat_"].flatMap((prefix) => goldenNames("exact/", prefix));
  it("there are some", () => expect(names.length).toBeGreaterThan(20));

  it.each(names)("%s", async (name) => {
    const trace = golden<Trace>(name);
    const { options, spacing } = trace;
    const schedule = makeSchedule({
      ...trace.betas,
      ...(spacing === "custom"
        ? { timesteps: trace.pairs.map(([t]) => t) }
        : { spacing, steps: trace.num_inference_steps }),
      steps_offset: trace.steps_offset,
      set_alpha_to_one: trace.final_alpha !== "abar0",
      sampler: trace.kind,
      eta: trace.kind === "ddpm" || options.sigma_hat ? undefined : options.eta,
      sigma: options.sigma_hat || options.large ? "hat" : "posterior",
      prediction: options.pred,
      clip: options.clip !== undefined,
      clip_sample_range: options.clip,
      rederive: trace.kind === "ddpm" || options.sigma_hat ? undefined : (options.rederive ?? false),
    });
    const shape = trace.shape ?? [2, 3, 4, 4];
    const states = await run(schedule, {
      denoise: denoiser(networks[trace.net]!, shape),
      shape,
      xT: trace.x_start,
      noise: (i) => formulaNoise(i, trace.x_start.length),
    });
    for (const { i, next_sample, pred_original_sample } of trace.steps) {
      expect(deviation(states[i]!.x, next_sample)).toBeLessThan(2e-6);
      // Rounding x and m to float32 alone moves x0 by 1.7e-5 where k0 is 157, in exact arithmetic (docs/sampler.md).
      const { k0 } = schedule.steps[i]!.coefficients;
      expect(deviation(states[i]!.x0, pred_original_sample)).toBeLessThan(2e-6 * Math.max(1, k0 / 4));
    }
  });
});

describe("diffusers", () => {
  interface Trace {
    config: ScheduleOptions;
    num_inference_steps: number;
    custom_timesteps: number[] | null;
    net: string;
    eta: number;
    use_clipped_model_output: boolean;
    noise_source: "explicit" | "formula" | null;
    shape: [number, number, number, number];
    x_T: number[];
    steps: { i: number; noise: number[] | null; prev_sample: number[]; pred_original_sample: number[] }[];
    final: number[];
  }
  const names = ["ddim_", "ddpm_"].flatMap((prefix) => goldenNames("", prefix));
  const runnable = names.filter((name) => name !== "ddim_trailing_S61.json");
  it("there are some", () => expect(runnable.length).toBeGreaterThan(50));

  it.each(runnable)("%s", async (name) => {
    const trace = golden<Trace>(name);
    const list = trace.custom_timesteps ? { timesteps: trace.custom_timesteps } : { steps: trace.num_inference_steps };
    const ddpm = name.startsWith("ddpm");
    const schedule = makeSchedule({
      ...trace.config,
      ...list,
      compat: "diffusers",
      ...(ddpm ? { sampler: "ddpm" } : { eta: trace.eta, rederive: trace.use_clipped_model_output }),
    });
    const learned = trace.net === "b6" ? (x: number, t: number) => Math.tanh(x + 0.2 * Math.cos(0.02 * t)) : undefined;
    const states = await run(schedule, {
      denoise: denoiser(networks[trace.net === "a" ? "a" : "b"]!, trace.shape, learned),
      shape: trace.shape,
      xT: trace.x_T,
      noise: (i) => {
        const listed = trace.steps.find((s) => s.i === i)?.noise;
        return trace.noise_source === "explicit" && listed ? listed : formulaNoise(i, trace.x_T.length);
      },
    });
    for (const { i, prev_sample, pred_original_sample } of trace.steps) {
      // Where ᾱ_t = 0 and η = 1, diffusers' float32 1 - ᾱ_prev - σ² is a rounding error instead of 0.
      const first = i === 0 && name === "ddim_zsnr_v_trailing_eta1_S20.json" ? 1e-3 : 1e-4;
      expect(deviation(states[i]!.x, prev_sample)).toBeLessThan(first);
      expect(deviation(states[i]!.x0, pred_original_sample)).toBeLessThan(1e-4);
    }
    expect(deviation(states.at(-1)!.x, trace.final)).toBeLessThan(1e-4);
  });
});

describe.each(["ddim", "ldm", "openai"])("traces-%s", (system) => {
  const names = goldenNames(`origin/${system}/`, "").filter((name) => /\/(dd|plms)/.test(name));
  it("there are some", () => expect(names.length).toBeGreaterThan(6));

  it.each(names)("%s", async (name) => {
    const trace = golden<OriginTrace>(name);
    const recorded = tensors(name.replace(/json$/, "safetensors"));
    const plms = trace.function === "PLMSSampler";
    const schedule = makeSchedule({ ...optionsOfOrigin(system, trace), ...(plms ? { sampler: "plms" } : {}) });
    const shape = [2, 3, 4, 4] as const;
    const size = 96;
    const row = (key: string, i: number) => recorded[key]?.subarray(i * size, (i + 1) * size);
    const { c, uc, unconditional_guidance_scale: w } = trace;
    const condition =
      (values: readonly number[] | null | undefined) =>
      (x: Float32Array, [t]: number[]) =>
        Float32Array.from(x, (v, j) => {
          const own = values?.[Math.floor(j / (size / 2))] ?? 0;
          return trace.net === "a" ? networks.a!(v, t!) : Math.tanh(0.7 * v + 0.3 * Math.sin(0.01 * t!) + 0.1 * own);
        });
    const guided = (x: Float32Array, t: number[]) => {
      const [u, e] = [condition(uc)(x, t), condition(c)(x, t)];
      return u.map((v, j) => v + w! * (e[j]! - v));
    };
    const learned = trace.variance === "learned_range" ? (x: number, t: number) => Math.sin(x + 0.002 * t) : undefined;
    const net = w && w !== 1 && uc ? guided : condition(c);
    const passed: number[] = [];
    const states = await run(schedule, {
      denoise: (x, t) => {
        passed.push(t[0]!);
        return learned ? denoiser(networks[trace.net]!, shape, learned)(x, t) : net(x, t);
      },
      shape,
      xT: row("x", 0)!,
      noise: (i, of) => row(of === "known" ? "noise_q" : "noise", i)!,
      mask: recorded.mask,
      known: recorded.known,
    });
    expect(passed).toEqual([...(recorded.net_timesteps ?? trace.timesteps_as_passed)]);
    // PLMS's first step is two evaluations; the state between them is its own.
    const after = plms ? states.slice(1) : states;
    const cancels = name.endsWith("ddim-b-cosine-10-eta1-clip.json");
    after.forEach(({ x }, i) => {
      expect(deviation(x, row("x", i + 1)!)).toBeLessThan(cancels ? 4e-4 : 3e-5);
    });
    if (!cancels)
      expect(deviation(after.at(-1)!.x, recorded.x_final_f64 ?? row("x", after.length)!)).toBeLessThan(1e-5);
  });
});
