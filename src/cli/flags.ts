/** Flags that several commands share, and how their values are read. What a value may be, the library decides. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { Precision } from "../kernels/target.ts";
import { cacheFolder } from "../node/tuningFolder.ts";
import { UsageError } from "../runtime/errors.ts";
import type { ScheduleOptions } from "../sampler/scheduleTypes.ts";
import { compatNames, samplers, sigmaRules } from "../sampler/systems.ts";
import { timestepSpacings } from "../sampler/timesteps.ts";
import type { WeightSet } from "../unet/layouts/types.ts";
import type { Io } from "./io.ts";

export interface CommonFlags {
  model?: string;
  weights?: WeightSet;
  variant?: string;
  randomWeights?: bigint;
  dtype: "auto" | "f32" | "f16";
  precision: Precision;
  cache?: string;
  device?: string;
  quiet?: true;
  verbose?: true;
  json?: true;
}

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

/** A number in decimal notation. */
export function number(text: string): number {
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) throw new InvalidArgumentError("expected a number");
  return Number(text);
}

/** A whole number from `least` on. */
export const whole = (least: number) => (text: string) => {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value) || value < least)
    throw new InvalidArgumentError(`expected a whole number from ${least}`);
  return value;
};

/** Numbers between commas. */
export const numbers = (text: string) => text.split(",").map((part) => number(part.trim()));

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

/** The common flags that mean something to whoever works with a whole model. */
export const MODEL_FLAGS: readonly (keyof CommonFlags)[] = [
  "model",
  "weights",
  "variant",
  "randomWeights",
  "dtype",
  "precision",
  "cache",
  "device",
  "quiet",
  "verbose",
  "json",
];

/** The flags of every command; those without effect there are accepted but not shown. */
export function addCommonFlags(command: Command, shown: readonly (keyof CommonFlags)[]): Command {
  const options: [keyof CommonFlags, Option][] = [
    [
      "model",
      new Option("-m, --model <dir>", "folder of a model, or its name in weights/ (default: pixel-avatars-16)"),
    ],
    [
      "weights",
      new Option("--weights <set>", "ema takes the moving average, where a checkpoint has one").choices([
        "plain",
        "ema",
      ]),
    ],
    ["variant", new Option("--variant <name>", "which files of weights, such as fp16 for *.fp16.safetensors")],
    [
      "randomWeights",
      new Option("--random-weights <seed>", "make the weights up, for any model's config.json").argParser(seed),
    ],
    [
      "dtype",
      new Option("--dtype <type>", "type of weights and activations").choices(["auto", "f32", "f16"]).default("auto"),
    ],
    [
      "precision",
      new Option("--precision <level>", "high takes no method that rounds more than f32 has to")
        .choices(["high", "fast"])
        .default("fast"),
    ],
    [
      "cache",
      new Option("--cache <dir>", "keep packed weights and what `ddim tune` measures in this folder; see the README"),
    ],
    ["device", new Option("--device <name|index>", "which adapter, see `ddim doctor`")],
    ["quiet", new Option("-q, --quiet", "no progress, notes or warnings")],
    ["verbose", new Option("-v, --verbose", "more to read: kernel timings, stack traces")],
    ["json", new Option("--json", "one machine-readable object on stdout")],
  ];
  // A command's own flag of the same name, as the laboratory's --variant, goes before.
  for (const [name, option] of options)
    if (!command.options.some(({ long }) => long === option.long))
      command.addOption(option.hideHelp(!shown.includes(name)));
  return command;
}

/** The folder of --cache, or the user's; undefined where there is none. */
export const cacheOf = ({ cache }: Pick<CommonFlags, "cache">, env: Io["env"]): string | undefined =>
  cache ?? cacheFolder(env);

export function addTraceFlag(command: Command): Command {
  return command.option("--trace <file>", "write GPU times as a Chrome trace (chrome://tracing, Perfetto)");
}

/** The flags that make a schedule. Left out, each is the model's or the library's default. */
export function addSamplerFlags(command: Command): Command {
  return command
    .option("-S, --steps <n>", "number of steps (default: 50)", numberOrList)
    .option("--eta <x>", "0 is DDIM, deterministic; 1 is DDPM; or one per step (default: 0)", numberOrList)
    .addOption(new Option("--sampler <name>", "update rule (default: ddim)").choices(samplers))
    .addOption(new Option("--sigma <rule>", "noise level of a step (default: posterior)").choices(sigmaRules))
    .option("--spacing <rule>", `which timesteps: ${timestepSpacings.join(", ")}, … (default: the model's)`)
    .option("--timesteps <list>", "the timesteps themselves, for example 999,800,600", numbers)
    .option("--timestep-base <n>", "what --timesteps counts from: 0, or 1 as papers do (default: 0)", number)
    .option("--start <t>", "begin at this timestep (default: the rule's own)", number)
    .option("--stop <t>", "end at this timestep, noisy as it is there", number)
    .option("--temperature <x>", "factor of the steps' noise (default: 1)", number)
    .option("--threshold <ratio[,max]>", "dynamic thresholding of x0 instead of clipping", threshold)
    .option("--no-rederive", "keep the network's epsilon after clipping x0, as diffusers does")
    .addOption(new Option("--compat <system>", "reproduce a system's quirks (default: none)").choices(compatNames))
    .option("--clip", "clip x0 to the model's range in every step (default: as the model says)")
    .option("--no-clip", "never clip x0");
}

/** The sampling choices among a command's flags. */
export function samplerOptions(flags: SamplerFlags): Omit<SamplerFlags, "steps"> & { steps?: number } {
  const { steps } = flags;
  if (steps !== undefined && typeof steps !== "number")
    throw new UsageError("steps", `-S ${steps.join(",")}: several numbers of steps need --sweep`);
  const { eta, sampler, sigma, spacing, timesteps, compat, clip } = flags;
  const { start, stop, timestepBase, temperature, threshold } = flags;
  // commander sets --no-… to true where it is not given; then the choice is the library's.
  const rederive = flags.rederive === false ? false : undefined;
  const rest = { start, stop, timestepBase, temperature, threshold, rederive };
  return { steps, eta, sampler, sigma, spacing, timesteps, compat, clip, ...rest };
}
