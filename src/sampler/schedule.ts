/**
 * A sampling run as explicit pairs (t, t_prev) with everything a step needs, computed once on the host in float64.
 * Nothing later derives a previous timestep: diffusers' `t - T // S` is wrong for most lists.
 */
import { ConfigError, UsageError } from "../runtime/errors.ts";
import { hatSigma, maximalEta, posteriorSigma, stepCoefficients } from "./coefficients.ts";
import { type ResolvedRun, resolveRun } from "./scheduleRun.ts";
import type { Schedule, ScheduleOptions, ScheduleRun, ScheduleStep } from "./scheduleTypes.ts";
import { scheduleWarnings } from "./warnings.ts";

export type { Compat, Sampler, Schedule, ScheduleOptions, ScheduleStep, SigmaRule } from "./scheduleTypes.ts";

/**
 * The schedule of a sampling run. Pure: no GPU, no files.
 *
 * @throws ConfigError when the scheduler configuration is wrong, UsageError when the run's own options are
 * @see Song et al. 2021, "Denoising diffusion implicit models", eq. (12) and (16)
 */
export function makeSchedule(options: ScheduleOptions): Schedule {
  const resolved = resolveRun(options);
  const { config, run, system, list, end } = resolved;
  const strides = system.strides.includes(run.sampler);
  const stride = Math.floor(run.numTrainTimesteps / list.length);
  const steps = list.map((t, i) => {
    const next = list[i + 1] ?? end;
    const tPrev = strides ? (t < stride ? null : t - stride) : next;
    return makeStep(resolved, t, tPrev, i);
  });
  if (config.rescale_timesteps) for (const step of steps) step.tNetwork = (step.t * 1000) / run.numTrainTimesteps;
  return { ...run, steps, warnings: scheduleWarnings(options, config, run, steps) };
}

function makeStep({ run, system, list }: ResolvedRun, t: number, tPrev: number | null, i: number): ScheduleStep {
  const a = run.alphasCumprod[t]!;
  const p = tPrev === null ? run.finalAlphaCumprod : run.alphasCumprod[tPrev]!;
  if (!(a < 1 && p > 0))
    throw new ConfigError("scheduler config", run.betaSchedule, `alphas_cumprod is ${a} at t = ${t} and ${p} after it`);
  if (a === 0 && run.prediction === "epsilon")
    throw new UsageError(
      "prediction",
      `prediction epsilon cannot start at t = ${t}: its terminal SNR is zero, x0 would be divided by 0; use v_prediction or sample, or a first timestep below ${t}`,
    );
  const eta = typeof run.eta === "number" ? run.eta : run.eta[i]!;
  const most = Math.floor(1e6 * maximalEta(a, p)) / 1e6;
  if (eta > 1 && eta > most) throw new UsageError("eta", `eta must be at most ${most} at t = ${t}, got ${eta}`);
  const silent = run.sampler === "ddpm" && !system.addsNoise(t, i === list.length - 1);
  return {
    t,
    tNetwork: t,
    tPrev,
    alphaCumprod: a,
    alphaCumprodPrev: p,
    ...(silent ? { sigma: 0, logVariance: null } : stepNoise(run, a, p, eta, system.varianceFloor)),
    coefficients: stepCoefficients({ ...run, alphaCumprod: a, alphaCumprodPrev: p, eta }),
  };
}

/** The noise of a step from ᾱ = a to p, without the rules about when there is none. */
export function stepNoise(
  run: ScheduleRun,
  a: number,
  p: number,
  eta: number,
  floor: number,
): Pick<ScheduleStep, "sigma" | "logVariance"> {
  const { temperature } = run;
  if (run.sigma === "hat") return { sigma: temperature * hatSigma(a, p), logVariance: null };
  const posterior = posteriorSigma(a, p, eta);
  const small = run.sampler === "ddpm" ? Math.max(posterior, Math.sqrt(floor)) : posterior;
  if (run.sigma === "posterior" || small === 0 || temperature === 0)
    return { sigma: temperature * small, logVariance: null };
  const scale = 2 * Math.log(temperature);
  return {
    sigma: temperature * small,
    logVariance: { min: 2 * Math.log(small) + scale, max: 2 * Math.log(hatSigma(a, p)) + scale },
  };
}
