/** Resolves what a caller says into what holds for a whole run, and into its list of timesteps. */
import { ConfigError, UsageError } from "../runtime/errors.ts";
import { checkOptions, type OptionNames } from "../runtime/options.ts";
import { textOf } from "../runtime/printable.ts";
import { predictionTypes, type Threshold } from "./coefficients.ts";
import { isSchedulerKey, parseSchedulerConfig, type SchedulerConfig, schedulerNames } from "./schedulerConfig.ts";
import type { ScheduleOptions, ScheduleRun } from "./scheduleTypes.ts";
import { compatNames, type Sampler, type SigmaRule, type System, samplers, sigmaRules, systems } from "./systems.ts";
import { customTimesteps, resolveSteps, type TimestepSpacing } from "./timesteps.ts";

export interface ResolvedRun {
  config: SchedulerConfig;
  run: ScheduleRun;
  system: System;
  /** Timesteps, noisiest first. */
  list: number[];
  /** Where the last step leads to; null: to `run.finalAlphaCumprod`. */
  end: number | null;
}

function oneOf<T extends string>(option: string, value: T, names: readonly T[]): T {
  if (!names.includes(value))
    throw new UsageError(option, `${option} must be one of ${names.join(", ")}, got ${textOf(value)}`);
  return value;
}

function checkEta(eta: number | readonly number[], steps: number): number | readonly number[] {
  const list = typeof eta === "number" ? [eta] : eta;
  const bad = Array.isArray(list)
    ? list.find((e) => !(typeof e === "number" && e >= 0 && e < Number.POSITIVE_INFINITY))
    : eta;
  if (bad !== undefined) throw new UsageError("eta", `eta must be a number from 0 to 1, got ${bad}`);
  if (typeof eta !== "number" && eta.length !== steps)
    throw new UsageError("eta", `eta lists ${eta.length} values for ${steps} steps`);
  return eta;
}

const isZero = (eta: number | readonly number[]) => (typeof eta === "number" ? eta === 0 : eta.every((e) => e === 0));

function checkTemperature(temperature: number): number {
  if (!(typeof temperature === "number" && temperature >= 0 && temperature < Number.POSITIVE_INFINITY))
    throw new UsageError("temperature", `temperature must be a number from 0, got ${temperature}`);
  return temperature;
}

function resolveThreshold(asked: Threshold | null | undefined, config: SchedulerConfig): Threshold | null {
  if (asked === undefined)
    return config.thresholding ? { ratio: config.dynamic_thresholding_ratio, max: config.sample_max_value } : null;
  if (asked !== null && !(asked.ratio > 0 && asked.ratio <= 1 && asked.max > 0))
    throw new UsageError(
      "threshold",
      `threshold needs a ratio in 0..1 and a maximum above 0, got ${asked.ratio}, ${asked.max}`,
    );
  return asked;
}

function resolveSigma(
  asked: SigmaRule | undefined,
  sampler: Sampler,
  config: SchedulerConfig,
  system: System,
): SigmaRule {
  const sigma = asked ?? (sampler === "ddpm" ? system.ddpmSigma(config) : "posterior");
  oneOf("sigma", sigma, sigmaRules);
  if (sampler === "ddpm" && asked === undefined && config.variance_type === "learned")
    throw new UsageError("sigma", "variance_type learned is not supported by the ddpm sampler; choose a sigma");
  if (sigma === "learned_range" && config.variance_type !== "learned_range")
    throw new UsageError("sigma", "sigma learned_range needs a model whose variance_type is learned_range");
  return sigma;
}

/** @throws ConfigError for an order that does not exist */
function solverOf(config: SchedulerConfig): ScheduleRun["solver"] {
  const { solver_order: order = 2, lower_order_final = true, euler_at_final = false } = config;
  if (order !== 1 && order !== 2 && order !== 3)
    throw new ConfigError("scheduler config", "solver_order", `dpmpp2m has orders 1 to 3, got ${order}`);
  return { order, lowerOrderFinal: lower_order_final, eulerAtFinal: euler_at_final };
}

const thresholdNames: OptionNames<Threshold> = { ratio: "a number", max: "a number" };

/** What a run chooses. */
export const samplingNames: OptionNames<Omit<ScheduleOptions, keyof SchedulerConfig>> = {
  steps: "a number",
  spacing: "a text",
  timesteps: "a list of numbers",
  timestepBase: "a number",
  start: "a number",
  stop: "a number",
  sampler: "a text",
  eta: "a number or a list of numbers",
  sigma: "a text",
  temperature: "a number",
  compat: "a text",
  clip: "true or false",
  threshold: true,
  prediction: "a text",
  rederive: "true or false",
};

const scheduleNames: OptionNames<ScheduleOptions> = { ...samplingNames, ...schedulerNames };

/** Keys that scheduler files may have are no mistakes, whether they mean something or not. */
function checkNames(options: ScheduleOptions): void {
  const isObject = typeof options === "object" && options !== null && !Array.isArray(options);
  const chosen = isObject
    ? Object.entries(options).filter(([key]) => Object.hasOwn(scheduleNames, key) || !isSchedulerKey(key))
    : undefined;
  checkOptions("makeSchedule", chosen ? Object.fromEntries(chosen) : options, scheduleNames);
  if (options.threshold) checkOptions("threshold", options.threshold, thresholdNames);
}

/** @throws ConfigError when the scheduler configuration is wrong, UsageError when the run's own options are */
export function resolveRun(options: ScheduleOptions): ResolvedRun {
  checkNames(options);
  const { steps, spacing: askedSpacing, timesteps, timestepBase, start, stop, ...rest } = options;
  const { sampler: askedSampler, eta: askedEta, sigma: askedSigma, temperature, compat: askedCompat, ...rest2 } = rest;
  const { clip: askedClip, threshold: askedThreshold, prediction, rederive, ...keys } = rest2;
  const config = parseSchedulerConfig(keys, "scheduler config");
  const compat = oneOf("compat", askedCompat ?? "none", compatNames);
  const system: System = systems[compat];
  const sampler = oneOf("sampler", askedSampler ?? "ddim", samplers);
  if (!system.samplers.includes(sampler))
    throw new UsageError("sampler", `sampler ${sampler} does not exist under compat ${compat}`);
  const sigma = resolveSigma(askedSigma, sampler, config, system);
  const ancestral = sampler === "ddpm" || sigma !== "posterior";
  if (ancestral && askedEta !== undefined && askedEta !== 1)
    throw new UsageError("eta", `eta must be 1 with ${sampler === "ddpm" ? "sampler ddpm" : `sigma ${sigma}`}`);
  if (sampler === "ddpm" && rederive === false)
    throw new UsageError(
      "rederive",
      "rederive cannot be false with sampler ddpm, whose mean is a function of x and x0",
    );

  const solver = sampler === "dpmpp2m" || sampler === "plms";
  if (solver && (ancestral || !isZero(askedEta ?? 0)))
    throw new UsageError(ancestral ? "sigma" : "eta", `sampler ${sampler} is deterministic: eta must be 0`);

  const table = system.alphasCumprod(config);
  const threshold = resolveThreshold(askedThreshold, config);
  const chosen = { sampler, steps, timesteps, timestepBase, start, stop };
  const spacing = timesteps
    ? "custom"
    : (askedSpacing ?? system.spacing(config, sampler, resolveSteps(steps, undefined, table.length)));
  const list = listTimesteps(system, compat, spacing, chosen, config, table);
  const run: ScheduleRun = {
    numTrainTimesteps: config.num_train_timesteps,
    betaSchedule: config.trained_betas ? "trained_betas" : config.beta_schedule,
    spacing,
    sampler,
    prediction: oneOf("prediction", prediction ?? config.prediction_type, predictionTypes),
    clip: !threshold && (askedClip ?? system.clips(config, sampler)) ? config.clip_sample_range : null,
    threshold,
    rederive: sampler === "ddpm" || (rederive ?? system.rederives),
    eta: ancestral ? 1 : checkEta(askedEta ?? 0, list.length),
    sigma,
    temperature: checkTemperature(temperature ?? 1),
    solverType: config.solver_type === "heun" ? "heun" : "midpoint",
    ...(sampler === "dpmpp2m" ? { solver: solverOf(config) } : {}),
    learnedVariance: config.variance_type?.startsWith("learned") ?? false,
    compat,
    finalAlphaCumprod: stop !== undefined ? table[stop]! : system.endsAtOne(config, sampler) ? 1 : table[0]!,
    alphasCumprod: table,
  };
  return { config, run, system, list, end: stop ?? null };
}

function listTimesteps(
  system: System,
  compat: string,
  spacing: TimestepSpacing | "custom",
  chosen: Pick<ScheduleOptions, "sampler" | "steps" | "timesteps" | "timestepBase" | "start" | "stop">,
  config: SchedulerConfig,
  table: Float64Array,
): number[] {
  const { sampler, steps, timesteps, timestepBase, start, stop } = chosen;
  for (const [option, value] of Object.entries({ timesteps, start, stop }))
    if (value !== undefined && !system.customTimesteps.includes(sampler!))
      throw new UsageError(
        option,
        `${option} cannot be chosen under compat ${compat}: its ${sampler} sampler takes none`,
      );
  if (timestepBase !== undefined && timesteps === undefined)
    throw new UsageError("timestepBase", "timestep base says what timesteps count from, and none are listed");
  if (spacing !== "custom")
    return system.timesteps(spacing, { steps, stepsOffset: config.steps_offset, alphasCumprod: table, start, stop });
  if (start !== undefined) throw new UsageError("start", "start cannot be chosen together with timesteps");
  if (timestepBase !== undefined && timestepBase !== 0 && timestepBase !== 1)
    throw new UsageError("timestepBase", `timestep base must be 0 or 1, got ${timestepBase}`);
  const list = customTimesteps(timesteps!, table.length, timestepBase);
  if (steps !== undefined && steps !== list.length)
    throw new UsageError("steps", `steps is ${steps}, but timesteps lists ${list.length}`);
  if (stop !== undefined && !(Number.isInteger(stop) && stop >= 0 && stop < list.at(-1)!))
    throw new UsageError("stop", `stop must be a whole number below the last timestep ${list.at(-1)}, got ${stop}`);
  return list;
}
