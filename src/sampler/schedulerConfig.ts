/**
 * diffusers' `scheduler_config.json`, checked. Every scheduler of diffusers that trains on a discrete β schedule shares
 * these keys, so a model's folder samples with DDIM whichever of them it names. Keys that only steer another solver are
 * known and ignored; a key that nobody knows may change the result and is an error.
 */
import { ConfigReader, MOST, type UnknownOptions } from "../network/configReader.ts";
import { isHarmless } from "../network/harmlessKeys.ts";
import { ConfigError } from "../runtime/errors.ts";
import type { OptionNames } from "../runtime/options.ts";
import { shown } from "../runtime/printable.ts";
import { type BetaConfig, betaSchedules, betas } from "./betas.ts";
import { type PredictionType, predictionTypes } from "./coefficients.ts";
import { type NamedSpacing, timestepSpacings } from "./timestepRules.ts";

/** DDIMScheduler's configuration with DDIMScheduler's defaults filled in. */
export interface SchedulerConfig extends BetaConfig {
  _class_name: string;
  /** null: the named scheduler never clips and its file does not say; then nothing is clipped. */
  clip_sample: boolean | null;
  clip_sample_range: number;
  /** Whether the last step ends at ᾱ = 1, or at ᾱ_0. */
  set_alpha_to_one: boolean;
  /** Added to every timestep of `leading`, nothing else. */
  steps_offset: number;
  prediction_type: PredictionType;
  /** Undefined where a file of {@link DPM_SOLVER} is silent: that means linspace to that solver, leading to every other. */
  timestep_spacing?: NamedSpacing;
  /** Dynamic thresholding (Saharia et al. 2022) of x0, instead of clip_sample. */
  thresholding: boolean;
  dynamic_thresholding_ratio: number;
  sample_max_value: number;
  /** The ddpm sampler's variance; with `learned` and `learned_range` the network has twice the channels. */
  variance_type: (typeof varianceTypes)[number] | null;
  /** OpenAI's flag: the network was trained on t · 1000/T. */
  rescale_timesteps: boolean;
  /** Of dpmpp2m, "midpoint" or "heun". Other solvers' names stand here too and mean nothing to ours. */
  solver_type: string;
  /** Of dpmpp2m; diffusers' DPMSolverMultistepScheduler has 2, true, false and "zero" where a file is silent. */
  solver_order?: number;
  lower_order_final?: boolean;
  euler_at_final?: boolean;
  /** Where its last step ends: "zero" at ᾱ = 1, "sigma_min" at ᾱ_0; undefined: "zero" in its own files, else as `set_alpha_to_one` says. */
  final_sigmas_type?: (typeof finalSigmas)[number];
  /** Choices of DPM-Solver that ours does not have; it says so where they differ from its own. */
  algorithm_type?: unknown;
  lambda_min_clipped?: unknown;
  use_karras_sigmas?: unknown;
  use_exponential_sigmas?: unknown;
  use_beta_sigmas?: unknown;
  use_lu_lambdas?: unknown;
}

const finalSigmas = ["zero", "sigma_min"] as const;

const varianceTypes = [
  "fixed_small",
  "fixed_small_log",
  "fixed_large",
  "fixed_large_log",
  "learned",
  "learned_range",
] as const;

type Check = (value: unknown) => boolean;
interface Field {
  /** Undefined: the key is there only where the file has it. */
  initial?: unknown;
  check: Check;
  expected: string;
  /** Limit of the number, or of how many a list has. */
  most?: number;
}

const isNumber = (v: unknown): v is number => typeof v === "number" && Number.isFinite(v);
const oneOf = (names: readonly string[]): Pick<Field, "check" | "expected"> => ({
  check: (v) => names.includes(v as string),
  expected: `one of ${names.join(", ")}`,
});
const flag: Pick<Field, "check" | "expected"> = { check: (v) => typeof v === "boolean", expected: "true or false" };
const beta: Pick<Field, "check" | "expected"> = {
  check: (v) => isNumber(v) && v > 0 && v <= 1,
  expected: "a number above 0 and at most 1",
};

/** Of no consequence but a warning. */
const whatever: Field = { check: () => true, expected: "anything" };

const fields: Record<Exclude<keyof SchedulerConfig, "_class_name">, Field> = {
  num_train_timesteps: {
    initial: 1000,
    check: (v) => Number.isInteger(v) && (v as number) >= 1,
    expected: "a whole number from 1",
    most: MOST.timesteps,
  },
  beta_start: { initial: 0.0001, ...beta },
  beta_end: { initial: 0.02, ...beta },
  beta_schedule: { initial: "linear", ...oneOf(betaSchedules) },
  trained_betas: {
    initial: null,
    check: (v) => v === null || (Array.isArray(v) && v.length > 0 && v.every(isNumber)),
    expected: "null or a list of numbers",
    most: MOST.timesteps,
  },
  rescale_betas_zero_snr: { initial: false, ...flag },
  clip_sample: { initial: true, check: (v) => v === null || typeof v === "boolean", expected: "true or false" },
  clip_sample_range: { initial: 1, check: (v) => isNumber(v) && v > 0, expected: "a number above 0" },
  set_alpha_to_one: { initial: true, ...flag },
  steps_offset: {
    initial: 0,
    check: (v) => Number.isInteger(v) && (v as number) >= 0,
    expected: "a whole number from 0",
    most: MOST.timesteps,
  },
  prediction_type: { initial: "epsilon", ...oneOf(predictionTypes) },
  timestep_spacing: { initial: "leading", ...oneOf(timestepSpacings) },
  thresholding: { initial: false, ...flag },
  dynamic_thresholding_ratio: {
    initial: 0.995,
    check: (v) => isNumber(v) && v > 0 && v <= 1,
    expected: "a number above 0 and at most 1",
  },
  sample_max_value: { initial: 1, check: (v) => isNumber(v) && v > 0, expected: "a number above 0" },
  variance_type: {
    initial: null,
    check: (v) => v === null || varianceTypes.includes(v as never),
    expected: `null or one of ${varianceTypes.join(", ")}`,
  },
  rescale_timesteps: { initial: false, ...flag },
  solver_type: { initial: "midpoint", check: (v) => typeof v === "string", expected: "a name" },
  solver_order: { check: (v) => Number.isInteger(v) && (v as number) >= 1, expected: "a whole number from 1" },
  lower_order_final: flag,
  euler_at_final: flag,
  final_sigmas_type: oneOf(finalSigmas),
  algorithm_type: whatever,
  lambda_min_clipped: whatever,
  use_karras_sigmas: whatever,
  use_exponential_sigmas: whatever,
  use_beta_sigmas: whatever,
  use_lu_lambdas: whatever,
};

/** Keys whose other values would change the result, with the values under which they do not. */
const inert: Record<string, readonly unknown[]> = {
  timestep_type: ["discrete"],
  use_flow_sigmas: [false],
  use_dynamic_shifting: [false],
};

/** Keys of old files that diffusers itself never read, or no longer reads; with what they were meant to be. */
const unread: Readonly<Record<string, string>> = {
  timesteps: "num_train_timesteps",
  timestep_values: "timesteps of a run",
  tensor_format: "nothing any more",
};

/** The keys that say something, by name. */
export const schedulerNames: OptionNames<SchedulerConfig> = {
  _class_name: true,
  ...(Object.fromEntries(Object.keys(fields).map((key) => [key, true])) as OptionNames<typeof fields>),
};

/** Whether a key may stand in a scheduler's file, with or without a meaning. */
export const isSchedulerKey = (key: string): boolean =>
  isHarmless("scheduler", key) || [fields, inert, unread].some((table) => Object.hasOwn(table, key));

/** diffusers' class of our dpmpp2m. */
export const DPM_SOLVER = "DPMSolverMultistepScheduler";

/** Accepted classes; true where the class clips x0 by itself unless told otherwise. */
const classes: Record<string, boolean> = {
  DDIMScheduler: true,
  DDIMParallelScheduler: true,
  DDIMInverseScheduler: true,
  DDPMScheduler: true,
  DDPMParallelScheduler: true,
  RePaintScheduler: true,
  PNDMScheduler: false,
  LMSDiscreteScheduler: false,
  EulerDiscreteScheduler: false,
  EulerAncestralDiscreteScheduler: false,
  HeunDiscreteScheduler: false,
  KDPM2DiscreteScheduler: false,
  KDPM2AncestralDiscreteScheduler: false,
  [DPM_SOLVER]: false,
  DPMSolverSinglestepScheduler: false,
  DPMSolverSDEScheduler: false,
  DEISMultistepScheduler: false,
  UniPCMultistepScheduler: false,
  SASolverScheduler: false,
};

function refuseClass(name: string, file: string): never {
  const kind = /Flow/.test(name)
    ? "a flow-matching scheduler"
    : /CM|TCD/.test(name)
      ? "a scheduler for distilled models"
      : /EDM|ScoreSde/.test(name)
        ? "a scheduler on continuous noise levels"
        : "not a scheduler of the DDIM family";
  throw new ConfigError(file, "_class_name", `${name} is ${kind}: its model cannot be sampled with DDIM`);
}

/**
 * Checks a parsed `scheduler_config.json` and fills in DDIMScheduler's defaults. Keys that start with an underscore are
 * ignored but for `_class_name`; without it the class is DDIMScheduler. `num_train_timesteps` follows the length of
 * `trained_betas` when only the latter is given.
 *
 * @param file named in the errors
 * @param options what to do about keys that nobody knows
 * @throws ConfigError for a foreign scheduler class, an unknown key, a wrong value, or betas outside (0, 1]
 */
export function parseSchedulerConfig(json: unknown, file: string, options?: UnknownOptions): SchedulerConfig {
  if (typeof json !== "object" || json === null || Array.isArray(json))
    throw new ConfigError(file, "(root)", `expected an object, got ${shown(json)}`);
  const given = Object.fromEntries(Object.entries(json).filter(([, v]) => v !== undefined));
  const className = given._class_name ?? "DDIMScheduler";
  if (typeof className !== "string")
    throw new ConfigError(file, "_class_name", `expected a name, got ${shown(className)}`);
  if (!Object.hasOwn(classes, className)) refuseClass(className, file);

  const config: Record<string, unknown> = { _class_name: className };
  for (const [key, { initial }] of Object.entries<Field>(fields)) if (initial !== undefined) config[key] = initial;
  if (!classes[className]) config.clip_sample = null;
  if (className === DPM_SOLVER) delete config.timestep_spacing;
  const r = new ConfigReader(given, file, "scheduler", options);
  for (const key of Object.keys(unread)) r.get(key);
  for (const [key, values] of Object.entries(inert)) {
    const value = r.get(key);
    if (value !== undefined && !values.includes(value)) r.fail(key, `${shown(value)} is not supported`);
  }
  for (const [key, field] of Object.entries<Field>(fields)) {
    const value = r.get(key);
    // Files of other solvers hold null where they have no choice.
    if (value === undefined || (value === null && field.initial === undefined)) continue;
    if (!field.check(value)) r.fail(key, `expected ${field.expected}, got ${shown(value)}`);
    if (field.most !== undefined) r.within(key, Array.isArray(value) ? value.length : (value as number), field.most);
    config[key] = value;
  }
  r.refuseRest();

  const betaCount = (config.trained_betas as readonly number[] | null)?.length;
  if (betaCount !== undefined && given.num_train_timesteps === undefined) config.num_train_timesteps = betaCount;
  if (betaCount !== undefined && config.num_train_timesteps !== betaCount)
    throw new ConfigError(file, "trained_betas", `${betaCount} values for ${config.num_train_timesteps} timesteps`);
  if (config.rescale_betas_zero_snr && config.num_train_timesteps === 1)
    throw new ConfigError(file, "rescale_betas_zero_snr", "a single timestep cannot be rescaled");
  const complete = config as unknown as SchedulerConfig;
  betas(complete, file);
  return complete;
}

/** A sentence for every key of a file that looks as if it meant something, and has no effect. */
export function unreadKeys(json: Readonly<Record<string, unknown>>, file: string): string[] {
  return Object.entries(unread).flatMap(([key, meant]) =>
    (json[key] ?? null) === null
      ? []
      : [`${file}: ${key} ${shown(json[key])} has no effect, in diffusers neither; it once meant ${meant}`],
  );
}
