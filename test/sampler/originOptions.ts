/** The runs recorded from ermongroup/ddim, latent-diffusion and OpenAI's code, and the schedules that reproduce them. */
import type { ScheduleOptions } from "../../src/sampler/schedule.ts";
import type { TimestepSpacing } from "../../src/sampler/timesteps.ts";

/** What a run of the origin folders says about itself. */
export interface OriginTrace {
  net: "a" | "b";
  function: string;
  dtype: "float32" | "float64";
  steps: number;
  eta: number;
  timesteps_as_passed: number[];
  // ermongroup
  skip_type: TimestepSpacing;
  S: number;
  // latent-diffusion
  schedule: { linear_start: number; linear_end: number };
  discretize: TimestepSpacing;
  temperature: number;
  unconditional_guidance_scale?: number | null;
  c?: number[] | null;
  uc?: number[] | null;
  // OpenAI
  diffusion_steps: number;
  noise_schedule: "linear" | "cosine";
  timestep_respacing: TimestepSpacing;
  rescale_timesteps: boolean;
  clip_denoised: boolean;
  variance: "fixed_small" | "fixed_large" | "learned_range" | null;
}

export const originSystems: Record<string, (trace: OriginTrace) => ScheduleOptions> = {
  ddim: (trace) => ({
    compat: "ermongroup",
    sampler: trace.function === "ddpm_steps" ? "ddpm" : "ddim",
    steps: trace.S,
    spacing: trace.skip_type,
    eta: trace.function === "ddpm_steps" ? undefined : trace.eta,
  }),
  ldm: (trace) => ({
    compat: "ldm",
    beta_schedule: "scaled_linear",
    beta_start: trace.schedule.linear_start,
    beta_end: trace.schedule.linear_end,
    steps: trace.steps,
    spacing: trace.discretize,
    eta: trace.eta,
    temperature: trace.temperature,
  }),
  openai: (trace) => ({
    compat: "openai",
    num_train_timesteps: trace.diffusion_steps,
    beta_schedule: trace.noise_schedule === "cosine" ? "squaredcos_cap_v2" : "openai_linear",
    rescale_timesteps: trace.rescale_timesteps,
    variance_type: trace.variance ?? "fixed_small",
    sampler: trace.variance ? "ddpm" : "ddim",
    spacing: trace.timestep_respacing,
    clip: trace.clip_denoised,
    eta: trace.variance ? undefined : trace.eta,
  }),
};

export const optionsOfOrigin = (system: string, trace: OriginTrace): ScheduleOptions => originSystems[system]!(trace);
