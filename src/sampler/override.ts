/** A schedule with a few of its choices changed: for callers who have a schedule and know their network better. */
import { UsageError } from "../runtime/errors.ts";
import { type PredictionType, predictionTypes, stepCoefficients } from "./coefficients.ts";
import { stepNoise } from "./schedule.ts";
import type { Schedule, SigmaRule } from "./scheduleTypes.ts";
import { sigmaRules, systems } from "./systems.ts";

export interface ScheduleOverrides {
  /** What the network predicts. */
  prediction?: PredictionType;
  /** x0 is clamped to ± this; true: ±1; false: not at all. */
  clip?: number | boolean;
  /** Standard deviation of the steps' noise. `learned_range` needs a network with 2·C channels. */
  variance?: SigmaRule;
}

/** @throws UsageError for a value that cannot be right */
export function overrideSchedule(schedule: Schedule, { prediction, clip, variance }: ScheduleOverrides): Schedule {
  if (prediction === undefined && clip === undefined && variance === undefined) return schedule;
  if (prediction !== undefined && !predictionTypes.includes(prediction))
    throw new UsageError("prediction", `prediction must be one of ${predictionTypes.join(", ")}, got ${prediction}`);
  if (variance !== undefined && !sigmaRules.includes(variance))
    throw new UsageError("variance", `variance must be one of ${sigmaRules.join(", ")}, got ${variance}`);
  if (typeof clip === "number" && !(clip > 0)) throw new UsageError("clip", `clip must be above 0, got ${clip}`);
  const given = clip === true ? (schedule.clip ?? 1) : clip === false ? null : clip;
  const run: Schedule = {
    ...schedule,
    prediction: prediction ?? schedule.prediction,
    clip: given === undefined ? schedule.clip : given,
    threshold: given === undefined ? schedule.threshold : null,
    sigma: variance ?? schedule.sigma,
    eta: variance === undefined || variance === "posterior" ? schedule.eta : 1,
  };
  if (run.prediction === "epsilon" && schedule.steps[0]?.alphaCumprod === 0)
    throw new UsageError("prediction", "prediction epsilon cannot start at zero terminal SNR");
  const system = systems[schedule.compat];
  const steps = schedule.steps.map((step, i) => {
    const { alphaCumprod: a, alphaCumprodPrev: p } = step;
    const eta = typeof run.eta === "number" ? run.eta : (run.eta[i] as number);
    const silent = run.sampler === "ddpm" && !system.addsNoise(step.t, i === schedule.steps.length - 1);
    const noise = variance === undefined || silent ? {} : stepNoise(run, a, p, eta, system.varianceFloor);
    const coefficients = stepCoefficients({ ...run, alphaCumprod: a, alphaCumprodPrev: p, eta });
    return { ...step, ...noise, coefficients };
  });
  return { ...run, steps };
}
