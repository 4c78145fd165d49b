/** Flags that several commands share, and how their values are read. What a value may be, the library decides. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { ScheduleOptions } from "../sampler/scheduleTypes.ts";
import { compatNames, samplers, sigmaRules } from "../sampler/systems.ts";
import { timestepSpacings } from "../sampler/timesteps.ts";

export interface CommonFlags {
  model?: string;
  dtype: "auto" | "f32" | "f16";
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
  "steps" | "eta" | "sampler" | "sigma" | "spacing" | "timesteps" | "compat" | "clip"
>;

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

/** 0 to 2^64 - 1. */
export function seed(text: string): bigint {
  if (!/^\d+$/.test(text) || BigInt(text) >= 2n ** 64n)
    throw new InvalidArgumentError("expected a whole number from 0 to 18446744073709551615");
  return BigInt(text);
}

/** The flags of every command; those without effect there are accepted but not shown. */
export function addCommonFlags(command: Command, shown: readonly (keyof CommonFlags)[]): Command {
  const options: [keyof CommonFlags, Option][] = [
    [
      "model",
      new Option("-m, --model <dir>", "folder of a model, or its name in weights/ (default: pixel-avatars-16)"),
    ],
    [
      "dtype",
      new Option("--dtype <type>", "type of weights and activations").choices(["auto", "f32", "f16"]).default("auto"),
    ],
    ["device", new Option("--device <name|index>", "which adapter, see `ddim doctor`")],
    ["quiet", new Option("-q, --quiet", "no progress, notes or warnings")],
    ["verbose", new Option("-v, --verbose", "more to read: kernel timings, stack traces")],
    ["json", new Option("--json", "one machine-readable object on stdout")],
  ];
  for (const [name, option] of options) command.addOption(option.hideHelp(!shown.includes(name)));
  return command;
}

export function addTraceFlag(command: Command): Command {
  return command.option("--trace <file>", "write GPU times as a Chrome trace (chrome://tracing, Perfetto)");
}

/** The flags that make a schedule. Left out, each is the model's or the library's default. */
export function addSamplerFlags(command: Command): Command {
  return command
    .option("-S, --steps <n>", "number of steps (default: 50)", number)
    .option("--eta <x>", "0 is DDIM, deterministic; 1 is DDPM (default: 0)", number)
    .addOption(new Option("--sampler <name>", "update rule (default: ddim)").choices(samplers))
    .addOption(new Option("--sigma <rule>", "noise level of a step (default: posterior)").choices(sigmaRules))
    .option("--spacing <rule>", `which timesteps: ${timestepSpacings.join(", ")}, … (default: the model's)`)
    .option("--timesteps <list>", "the timesteps themselves, for example 999,800,600", numbers)
    .addOption(new Option("--compat <system>", "reproduce a system's quirks (default: none)").choices(compatNames))
    .option("--clip", "clip x0 to the model's range in every step (default: as the model says)")
    .option("--no-clip", "never clip x0");
}

/** The sampling choices among a command's flags. */
export function samplerOptions(flags: SamplerFlags): SamplerFlags {
  const { steps, eta, sampler, sigma, spacing, timesteps, compat, clip } = flags;
  return { steps, eta, sampler, sigma, spacing, timesteps, compat, clip };
}
