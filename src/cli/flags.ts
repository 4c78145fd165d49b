/** Flags that several commands share, and how their values are read. What a value may be, the library decides. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { Precision } from "../kernels/target.ts";
import { cacheFolder } from "../node/tuningFolder.ts";
import { FileError, UsageError } from "../runtime/errors.ts";
import { type NonFinite, nonFiniteChoices } from "../runtime/finite.ts";
import type { ScheduleOptions } from "../sampler/scheduleTypes.ts";
import { compatNames, samplers, sigmaRules } from "../sampler/systems.ts";
import { timestepSpacings } from "../sampler/timesteps.ts";
import type { WeightSet } from "../unet/layouts/types.ts";
import type { Io } from "./io.ts";
import { pathKind } from "./paths.ts";

/** Which model. */
export interface ModelFlags {
  model?: string;
  config?: string;
  weights?: WeightSet;
  variant?: string;
  randomWeights?: bigint;
  ignoreUnknown?: true;
}

/** What evaluates it, and how. */
export interface DeviceFlags {
  dtype: "auto" | "f32" | "f16";
  precision: Precision;
  cache?: string;
  device?: string;
}

/** What happens to numbers that are not finite. */
export interface NumberFlags {
  nonFinite: NonFinite;
}

/** What is printed. */
export interface OutputFlags {
  quiet?: true;
  verbose?: true;
  json?: true;
}

export interface LoadFlags extends ModelFlags, DeviceFlags, OutputFlags {}

export interface CommonFlags extends LoadFlags, NumberFlags {}

export interface TraceFlag {
  trace?: string;
}

export type SamplerFlags = Pick<
  ScheduleOptions,
  | ("eta" | "sampler" | "sigma" | "spacing" | "timesteps" | "compat" | "clip")
  | ("start" | "stop" | "timestepBase" | "temperature" | "threshold" | "rederive")
> & {
  /** A list only for `--sweep`. */
  steps?: number | readonly number[];
};

/** How flags are declared, by the names of their values. Some have two forms, as --clip and --no-clip. */
export type FlagTable<T> = { readonly [Name in keyof T]-?: () => Option | readonly Option[] };

/** Adds some of a table's flags to a command: those that it reads, no others. */
export function addFlags<T>(command: Command, table: FlagTable<T>, names: readonly (keyof T)[]): Command {
  for (const name of names) for (const option of [table[name]()].flat()) command.addOption(option);
  return command;
}

/** A number in decimal notation. */
export function number(text: string): number {
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) throw new InvalidArgumentError("expected a number");
  return Number(text);
}

/** A whole number from `least` on. */
export const whole = (least: number) => (text: string) => {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value) || value < least)
    throw new InvalidArgumentError(
      `expected a whole number from ${least}${value > least ? ` to ${Number.MAX_SAFE_INTEGER}` : ""}`,
    );
  return value;
};

/** Numbers between commas. */
export const numbers = (text: string) => text.split(",").map((part) => number(part.trim()));

/** Images at a time, or as many as fit. */
export type Batch = number | "auto";
export const batch = (text: string): Batch => (text === "auto" ? text : whole(1)(text));
/** undefined: as many as fit. */
export const batchSize = (given: Batch | undefined): number | undefined => (given === "auto" ? undefined : given);

/** A number, or several between commas. */
export const numberOrList = (text: string): number | number[] => {
  const list = numbers(text);
  return list.length === 1 ? (list[0] as number) : list;
};

/** RATIO or RATIO,MAX of dynamic thresholding. */
function threshold(text: string): { ratio: number; max: number } {
  const [ratio = Number.NaN, max = 1, ...more] = numbers(text);
  if (more.length) throw new InvalidArgumentError("expected a ratio, or a ratio and a maximum");
  return { ratio, max };
}

/** 0 to 2^64 - 1. */
export function seed(text: string): bigint {
  if (!/^\d+$/.test(text) || BigInt(text) >= 2n ** 64n)
    throw new InvalidArgumentError("expected a whole number from 0 to 18446744073709551615");
  return BigInt(text);
}

const commonFlags: FlagTable<CommonFlags> = {
  model: () =>
    new Option(
      "-m, --model <name>",
      "folder of a model, a name (the package's, or in weights/), or one .safetensors, .ckpt, .pt, .pth or .bin file; a URL of these; " +
        "or an id of the Hugging Face Hub, org/name or org/name@revision (default: pixel-avatars-16)",
    ),
  config: () =>
    new Option("--config <file>", "the model's configuration, JSON or YAML, in place of the one beside its weights"),
  weights: () =>
    new Option("--weights <set>", "ema takes the moving average, where a checkpoint has one").choices(["plain", "ema"]),
  variant: () => new Option("--variant <name>", "which files of weights, such as fp16 for *.fp16.safetensors"),
  randomWeights: () =>
    new Option("--random-weights <seed>", "make the weights up, for any model's config.json").argParser(seed),
  ignoreUnknown: () =>
    new Option("--ignore-unknown", "pass over keys and tensors of the model that nothing here knows, with a warning"),
  dtype: () =>
    new Option("--dtype <type>", "type of weights and activations").choices(["auto", "f32", "f16"]).default("auto"),
  precision: () =>
    new Option("--precision <level>", "high takes no method that rounds more than f32 has to")
      .choices(["high", "fast"])
      .default("fast"),
  cache: () =>
    new Option(
      "--cache <dir>",
      "keep packed weights and what `ddim tune` measures in this folder; see docs/loading.md",
    ),
  device: () => new Option("--device <name|index>", "which adapter, see `ddim doctor`"),
  nonFinite: () =>
    new Option("--non-finite <what>", "numbers that are not finite, or that f16 cannot hold, end the work, or warn")
      .choices(nonFiniteChoices)
      .default("error"),
  quiet: () => new Option("-q, --quiet", "no progress, notes or warnings"),
  verbose: () =>
    new Option("-v, --verbose", "more to read: stack traces, and the times of kernels where a command measures them"),
  json: () => new Option("--json", "one machine-readable object on stdout"),
};

export const MODEL_FLAGS = [
  "model",
  "config",
  "weights",
  "variant",
  "randomWeights",
  "ignoreUnknown",
] as const satisfies (keyof ModelFlags)[];
export const DEVICE_FLAGS = ["dtype", "precision", "cache", "device"] as const satisfies (keyof DeviceFlags)[];
export const OUTPUT_FLAGS = ["quiet", "verbose", "json"] as const satisfies (keyof OutputFlags)[];
/** Of whoever puts a model on a device. */
export const LOAD_FLAGS = [...MODEL_FLAGS, ...DEVICE_FLAGS, ...OUTPUT_FLAGS] as const;
/** Of whoever evaluates it. */
export const ALL_FLAGS = [...LOAD_FLAGS, "nonFinite"] as const satisfies (keyof CommonFlags)[];

export const addCommonFlags = (command: Command, names: readonly (keyof CommonFlags)[]): Command =>
  addFlags(command, commonFlags, names);

/**
 * For flags that mean something to a part of a command's work only.
 * @throws UsageError when one of them was typed
 */
export function refuseFlags(command: Command, names: readonly string[], why: string): void {
  const typed = names.find((name) => command.getOptionValueSource(name) === "cli");
  if (typed === undefined) return;
  const flag = command.options.find((option) => option.attributeName() === typed)?.long;
  throw new UsageError(typed, `${flag} means nothing here: ${why}`);
}

/**
 * The folder of --cache, or the user's; undefined where there is none.
 * @throws FileError where --cache names something else
 */
export function cacheOf({ cache }: Pick<CommonFlags, "cache">, env: Io["env"]): string | undefined {
  if (cache !== undefined && pathKind(cache) === "file") throw new FileError(cache, "is not a folder");
  return cache ?? cacheFolder(env);
}

export function addTraceFlag(command: Command): Command {
  return command.option("--trace <file>", "write GPU times as a Chrome trace (chrome://tracing, Perfetto)");
}

/** The flags that make a schedule. Left out, each is the model's or the library's default. */
const samplerFlags: FlagTable<SamplerFlags> = {
  steps: () => new Option("-S, --steps <n>", "number of steps (default: 50)").argParser(numberOrList),
  eta: () =>
    new Option("--eta <x>", "0 is DDIM, deterministic; 1 is DDPM; or one per step (default: 0)").argParser(
      numberOrList,
    ),
  sampler: () => new Option("--sampler <name>", "update rule (default: ddim)").choices(samplers),
  sigma: () => new Option("--sigma <rule>", "noise level of a step (default: posterior)").choices(sigmaRules),
  spacing: () =>
    new Option("--spacing <rule>", `which timesteps: ${timestepSpacings.join(", ")}, … (default: the model's)`),
  timesteps: () =>
    new Option("--timesteps <list>", "the timesteps themselves, for example 999,800,600").argParser(numbers),
  timestepBase: () =>
    new Option("--timestep-base <n>", "what --timesteps counts from: 0, or 1 as papers do (default: 0)").argParser(
      number,
    ),
  start: () => new Option("--start <t>", "begin at this timestep (default: the rule's own)").argParser(number),
  stop: () => new Option("--stop <t>", "end at this timestep, noisy as it is there").argParser(number),
  temperature: () => new Option("--temperature <x>", "factor of the steps' noise (default: 1)").argParser(number),
  threshold: () =>
    new Option("--threshold <ratio[,max]>", "dynamic thresholding of x0 instead of clipping").argParser(threshold),
  rederive: () => new Option("--no-rederive", "keep the network's epsilon after clipping x0, as diffusers does"),
  compat: () => new Option("--compat <system>", "reproduce a system's quirks (default: none)").choices(compatNames),
  clip: () => [
    new Option("--clip", "clip x0 to the model's range in every step (default: as the model says)"),
    new Option("--no-clip", "never clip x0"),
  ],
};

export const SAMPLER_FLAGS = Object.keys(samplerFlags) as (keyof SamplerFlags)[];

export const addSamplerFlags = (command: Command, names: readonly (keyof SamplerFlags)[] = SAMPLER_FLAGS): Command =>
  addFlags(command, samplerFlags, names);

/** The sampling choices among a command's flags. */
export function samplerOptions(flags: SamplerFlags): Omit<SamplerFlags, "steps"> & { steps?: number } {
  const { steps } = flags;
  if (steps !== undefined && typeof steps !== "number")
    throw new UsageError("steps", `-S ${steps.join(",")}: several numbers of steps need --sweep`);
  const own = Object.fromEntries(SAMPLER_FLAGS.map((name) => [name, flags[name]])) as SamplerFlags;
  // commander sets --no-… to true where it is not given; then the choice is the library's.
  return { ...own, steps, rederive: flags.rederive === false ? false : undefined };
}
