/** The shapes of a schedule and of what a caller says to get one. */
import type { PredictionType, StepCoefficients, Threshold } from "./coefficients.ts";
import type { SchedulerConfig } from "./schedulerConfig.ts";
import type { Compat, Sampler, SigmaRule } from "./systems.ts";
import type { TimestepSpacing } from "./timesteps.ts";

export type { Compat, Sampler, SigmaRule };

/** diffusers' `scheduler_config.json` keys as they are, and what a run chooses. */
export interface ScheduleOptions extends Partial<SchedulerConfig> {
  /** S, 1..num_train_timesteps; the length of the list where one is given, otherwise 50 or all if there are fewer. */
  steps?: number;
  /** Overrides `timestep_spacing`. */
  spacing?: TimestepSpacing;
  /** Explicit timesteps, 0..num_train_timesteps - 1, strictly monotonic in either direction. Overrides the spacing. */
  timesteps?: readonly number[];
  /** What `timesteps` counts from: 0 (default), or 1 as papers do. */
  timestepBase?: 0 | 1;
  /** The noisiest timestep visited, instead of num_train_timesteps - 1. */
  start?: number;
  /** The timestep at which the run ends, noisy as it is there, instead of running to an image. */
  stop?: number;
  sampler?: Sampler;
  /** 0 (deterministic, the default) to 1 (DDPM), or a list with one value per step. Above 1 while the variance allows. */
  eta?: number | readonly number[];
  /** posterior by default; the ddpm sampler goes by `variance_type`. */
  sigma?: SigmaRule;
  /** Factor of the steps' noise alone (latent-diffusion's temperature); 1 by default. */
  temperature?: number;
  compat?: Compat;
  /** Overrides `clip_sample`; the range stays `clip_sample_range`. */
  clip?: boolean;
  /** Overrides `thresholding` and its two numbers; null turns it off. */
  threshold?: Threshold | null;
  /** Overrides `prediction_type`. */
  prediction?: PredictionType;
  /**
   * Whether ε is computed again from the bounded x0 (diffusers' use_clipped_model_output). True by default, because only
   * then η = 1 is DDPM also with clipping; false by default for DDIM under compat diffusers.
   */
  rederive?: boolean;
}

export interface ScheduleStep {
  /** The timestep in the training schedule. */
  t: number;
  /** The timestep given to the network: t, unless the model was trained with rescale_timesteps. */
  tNetwork: number;
  /** The timestep that the step leads to; null where it leads to `finalAlphaCumprod`. */
  tPrev: number | null;
  alphaCumprod: number;
  alphaCumprodPrev: number;
  /** Standard deviation of the noise that the step adds. */
  sigma: number;
  /**
   * With sigma learned_range, instead of `sigma`: each element's noise has variance exp(f · max + (1 - f) · min) with
   * f = (v + 1)/2 and v from the second half of the network's channels. Null where the step's noise does not depend on v.
   */
  logVariance: { min: number; max: number } | null;
  coefficients: StepCoefficients;
}

export interface Schedule {
  numTrainTimesteps: number;
  betaSchedule: string;
  spacing: TimestepSpacing | "custom";
  sampler: Sampler;
  prediction: PredictionType;
  /** x0 is clamped to ±clip; null: not at all. */
  clip: number | null;
  /** x0 is thresholded image by image. */
  threshold: Threshold | null;
  rederive: boolean;
  eta: number | readonly number[];
  sigma: SigmaRule;
  temperature: number;
  /** Of dpmpp2m: the model's `solver_type`. */
  solverType: "midpoint" | "heun";
  /**
   * Of dpmpp2m alone, as the model says (`solver_order`, `lower_order_final`, `euler_at_final`): the order; whether the last
   * step of a run below 15 steps is of first order and the one before it at most of second; whether the last step is of
   * first order in any run.
   */
  solver?: { order: 1 | 2 | 3; lowerOrderFinal: boolean; eulerAtFinal: boolean };
  /** Whether the network has twice the channels, the second half for the variance. */
  learnedVariance: boolean;
  compat: Compat;
  /** ᾱ after the last step: 1, ᾱ_0, or that of `stop`. */
  finalAlphaCumprod: number;
  /** ᾱ_t for t = 0..T-1. */
  alphasCumprod: Float64Array;
  /** Noisiest first. */
  steps: ScheduleStep[];
  /** Sentences about choices that are legal but questionable. */
  warnings: string[];
}

/** A schedule without its steps: what holds for the whole run. */
export type ScheduleRun = Omit<Schedule, "steps" | "warnings">;
