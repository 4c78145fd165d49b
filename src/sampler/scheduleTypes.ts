/** The shapes of a schedule and of what a caller says to get one. */
import type { PredictionType, StepCoefficients } from "./coefficients.ts";
import type { SchedulerConfig } from "./schedulerConfig.ts";
import type { TimestepSpacing } from "./timesteps.ts";

/** Whose arithmetic and whose accidents a schedule reproduces; `none` is the mathematically right one. */
export type Compat = "none" | "diffusers";

/** diffusers' `scheduler_config.json` keys as they are, and what a run chooses. */
export interface ScheduleOptions extends Partial<SchedulerConfig> {
  /** S, 1..num_train_timesteps; the length of `timesteps` where those are given, otherwise 50 or all if there are fewer. */
  steps?: number;
  /** Overrides `timestep_spacing`. */
  spacing?: TimestepSpacing;
  /** Explicit timesteps, 0..num_train_timesteps - 1, strictly monotonic in either direction. Overrides the spacing. */
  timesteps?: readonly number[];
  /** 0 (deterministic, the default) to 1 (DDPM). */
  eta?: number;
  compat?: Compat;
  /** Overrides `clip_sample`; the range stays `clip_sample_range`. */
  clip?: boolean;
  /** Overrides `prediction_type`. */
  prediction?: PredictionType;
  /**
   * Whether ε is computed again from the clamped x0 (diffusers' use_clipped_model_output). True by default, because only
   * then η = 1 is DDPM also with clipping; false by default under compat diffusers.
   */
  rederive?: boolean;
}

export interface ScheduleStep {
  /** The timestep given to the network. */
  t: number;
  /** The timestep that the step leads to; null where it leads to `finalAlphaCumprod`. */
  tPrev: number | null;
  alphaCumprod: number;
  alphaCumprodPrev: number;
  /** Standard deviation of the noise that the step adds. */
  sigma: number;
  coefficients: StepCoefficients;
}

export interface Schedule {
  numTrainTimesteps: number;
  betaSchedule: string;
  spacing: TimestepSpacing | "custom";
  prediction: PredictionType;
  /** x0 is clamped to ±clip; null: not at all. */
  clip: number | null;
  rederive: boolean;
  eta: number;
  compat: Compat;
  /** ᾱ after the last step: 1, or ᾱ_0. */
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
