/**
 * A sampling run as explicit pairs (t, t_prev) with everything a step needs, computed once on the host in float64.
 * Nothing later derives a previous timestep: diffusers' `t - T // S` is wrong for most lists.
 */
import { ConfigError, UsageError } from "../runtime/errors.ts";
import { alphasCumprod } from "./betas.ts";
import { posteriorSigma, predictionTypes, stepCoefficients } from "./coefficients.ts";
import { diffusersTimesteps } from "./compatTimesteps.ts";
import { diffusersAlphasCumprod } from "./floatTables.ts";
import { parseSchedulerConfig, type SchedulerConfig } from "./schedulerConfig.ts";
import type { Compat, Schedule, ScheduleOptions, ScheduleRun, ScheduleStep } from "./scheduleTypes.ts";
import { customTimesteps, spacedTimesteps, type TimestepSpacing, timestepSpacings } from "./timesteps.ts";
import { scheduleWarnings } from "./warnings.ts";

export type { Compat, Schedule, ScheduleOptions, ScheduleStep } from "./scheduleTypes.ts";

/**
 * The schedule of a sampling run. Pure: no GPU, no files.
 *
 * @throws ConfigError when the scheduler configuration is wrong, UsageError when the run's own options are
 * @see Song et al. 2021, "Denoising diffusion implicit models", eq. (12) and (16)
 */
export function makeSchedule(options: ScheduleOptions): Schedule {
  const { steps: askedSteps, spacing: askedSpacing, timesteps, eta: askedEta, compat: askedCompat, ...rest } = options;
  const { clip: askedClip, prediction: askedPrediction, rederive: askedRederive, ...keys } = rest;
  const config = parseSchedulerConfig(keys, "scheduler config");
  const compat = askedCompat ?? "none";
  checkName("compat", compat, ["none", "diffusers"]);
  const spacing = timesteps ? ("custom" as const) : (askedSpacing ?? config.timestep_spacing);
  if (!timesteps) checkName("spacing", spacing, timestepSpacings);
  const prediction = askedPrediction ?? config.prediction_type;
  checkName("prediction", prediction, predictionTypes);
  const eta = askedEta ?? 0;
  if (!(typeof eta === "number" && eta >= 0 && eta <= 1))
    throw new UsageError("eta", `eta must be a number from 0 to 1, got ${eta}`);

  const T = config.num_train_timesteps;
  const table = compat === "diffusers" ? diffusersAlphasCumprod(config) : alphasCumprod(config);
  // from_config of diffusers fills a missing clip_sample with DDIMScheduler's default.
  const clips = askedClip ?? config.clip_sample ?? compat === "diffusers";
  const run: ScheduleRun = {
    numTrainTimesteps: T,
    betaSchedule: config.trained_betas ? "trained_betas" : config.beta_schedule,
    spacing,
    prediction,
    clip: clips ? config.clip_sample_range : null,
    rederive: askedRederive ?? compat !== "diffusers",
    eta,
    compat,
    finalAlphaCumprod: config.set_alpha_to_one ? 1 : table[0]!,
    alphasCumprod: table,
  };
  const list = listTimesteps(config, spacing, compat, askedSteps, timesteps);
  const stride = Math.floor(T / list.length);
  const steps = list.map((t, i) => {
    const strided = t - stride;
    const tPrev = compat === "diffusers" ? (strided < 0 ? null : strided) : (list[i + 1] ?? null);
    return makeStep(run, t, tPrev);
  });
  return { ...run, steps, warnings: scheduleWarnings(config, run, steps) };
}

function checkName(option: string, value: string, names: readonly string[]): void {
  if (!names.includes(value))
    throw new UsageError(option, `${option} must be one of ${names.join(", ")}, got ${value}`);
}

function listTimesteps(
  config: SchedulerConfig,
  spacing: TimestepSpacing | "custom",
  compat: Compat,
  asked: number | undefined,
  timesteps: readonly number[] | undefined,
): number[] {
  const T = config.num_train_timesteps;
  if (spacing === "custom") {
    if (compat === "diffusers")
      throw new UsageError(
        "timesteps",
        "timesteps cannot be chosen under compat diffusers: its DDIMScheduler takes none",
      );
    const list = customTimesteps(timesteps ?? [], T);
    if (asked !== undefined && asked !== list.length)
      throw new UsageError("steps", `steps is ${asked}, but timesteps lists ${list.length}`);
    return list;
  }
  const rule = compat === "diffusers" ? diffusersTimesteps : spacedTimesteps;
  return rule(spacing, {
    numTrainTimesteps: T,
    steps: asked ?? Math.min(50, T),
    stepsOffset: config.steps_offset,
  });
}

function makeStep(run: ScheduleRun, t: number, tPrev: number | null): ScheduleStep {
  const a = run.alphasCumprod[t]!;
  const p = tPrev === null ? run.finalAlphaCumprod : run.alphasCumprod[tPrev]!;
  if (!(a < 1 && p > 0))
    throw new ConfigError("scheduler config", run.betaSchedule, `alphas_cumprod is ${a} at t = ${t} and ${p} after it`);
  if (a === 0 && run.prediction === "epsilon")
    throw new UsageError(
      "prediction",
      `prediction epsilon cannot start at t = ${t}: its terminal SNR is zero, x0 would be divided by 0; use v_prediction or sample, or a first timestep below ${t}`,
    );
  return {
    t,
    tPrev,
    alphaCumprod: a,
    alphaCumprodPrev: p,
    sigma: posteriorSigma(a, p, run.eta),
    coefficients: stepCoefficients({ ...run, alphaCumprod: a, alphaCumprodPrev: p }),
  };
}

/** Columns of {@link coefficientTable}. */
export const coefficientColumns = ["k0", "k1", "k2", "k3", "k4", "sigma", "clip", "t"] as const;

/** The steps as S rows of eight floats for the GPU, in the order of {@link coefficientColumns}; clip 0 means none. */
export function coefficientTable(schedule: Schedule): Float32Array {
  return Float32Array.from(
    schedule.steps.flatMap(({ t, sigma, coefficients: c }) => [c.k0, c.k1, c.k2, c.k3, c.k4, sigma, c.clip ?? 0, t]),
  );
}
