/** What goes into a picture's file, so that the picture can be made again: the parameters, and a command line. */
import { formatParameters, type GenerationParameters } from "../image/parameters.ts";
import type { ImageSize } from "../network/configReader.ts";
import { modelId } from "../pipeline/modelId.ts";
import type { ResolvedRun } from "../pipeline/run.ts";
import { pixelScale, scaled } from "../pipeline/size.ts";
import { tuningHash } from "../pipeline/tuningTable.ts";
import type { Schedule } from "../sampler/scheduleTypes.ts";
import type { DeviceFlags, ModelFlags } from "./flags.ts";
import type { Io, Terminal } from "./io.ts";
import { lower, variantsHash } from "./kernels.ts";
import { modelArgument, unknownOf, withoutSecrets } from "./modelFlag.ts";
import { packageVersion } from "./package.ts";
import { flagWords, inCurrentFolder } from "./plainCommand.ts";
import type { SampleFlags } from "./sampleFlags.ts";
import type { Session } from "./session.ts";
import { quoted } from "./shell.ts";

/** What flags and run do not say. */
export type RunFacts = Pick<
  GenerationParameters,
  "model" | "modelHash" | "dtype" | "precision" | "adapter" | "variants" | "tuning"
>;

/** Of a loaded model. @param state what the network works on: its size, and the tokens that it attends to */
export async function runFacts(
  { pipeline }: Pick<Session, "pipeline">,
  { precision }: Pick<DeviceFlags, "precision">,
  { contextLength, ...size }: ImageSize & { contextLength: number | undefined },
  signal: AbortSignal,
): Promise<RunFacts> {
  const { device, model } = pipeline;
  const { dtype, target, tuning } = pipeline.network;
  const inputs = { contextLength, concat: model.concat?.channels };
  return {
    model: model.name,
    modelHash: await modelId(model, signal),
    dtype,
    precision,
    tuning: tuning ? await tuningHash(tuning) : undefined,
    adapter: device.name,
    variants: variantsHash(lower(model.config, target, size, dtype, inputs)),
  };
}

/** What an operation on images made. */
export interface Made {
  readonly count: number;
  /** Of one image, in pixels. */
  readonly size: ImageSize;
  readonly seed: bigint;
  readonly steps: number;
  readonly classes: readonly number[] | null;
  readonly schedule: Schedule;
  readonly contextLength: number | undefined;
}

/** What every picture says whose command is the one that was typed. */
export const typedFacts = (io: Pick<Io, "args">, flags: ModelFlags) => ({
  unknown: unknownOf(flags),
  command: typedCommand(io),
  version: packageVersion(),
});

/** The parameters with a comment on their command, which makes the whole run: which part of it a file holds. */
export const marked = (parameters: GenerationParameters, part: string): GenerationParameters => ({
  ...parameters,
  command: `${parameters.command} # ${part}`,
});

/** The same parameters for the pictures of operations on images, whose command is the one that was typed. */
export async function madeParameters(
  { io }: Pick<Terminal, "io">,
  session: Pick<Session, "pipeline">,
  flags: ModelFlags &
    Pick<DeviceFlags, "precision"> & { guidance?: number | readonly number[]; timesteps?: readonly number[] },
  { count, size: { width, height }, seed, steps, classes, schedule, contextLength }: Made,
): Promise<GenerationParameters> {
  const state = { ...scaled({ width, height }, 1 / pixelScale(session.pipeline.model)), contextLength };
  return {
    ...(await runFacts(session, flags, state, io.signal)),
    seed: String(seed),
    count,
    steps,
    ...scheduleParameters(schedule, flags),
    classes: classes ? cycleOf(classes) : undefined,
    guidance: flags.guidance ?? 1,
    rng: "philox",
    size: { width, height },
    ...typedFacts(io, flags),
  };
}

const scheduleParameters = (schedule: Schedule, { timesteps }: { timesteps?: readonly number[] }) => ({
  eta: schedule.eta,
  sampler: schedule.sampler,
  spacing: schedule.spacing,
  timesteps: timesteps && schedule.steps.map((step) => step.t),
  compat: schedule.compat,
  clip: schedule.clip !== null,
});

/** The texts of a file that an operation on images has made. */
export const recordedTexts = (parameters: GenerationParameters): Record<string, string> => ({
  ...formatParameters(parameters),
  command: parameters.command,
});

export function parametersOf(flags: SampleFlags, run: ResolvedRun, facts: RunFacts): GenerationParameters {
  const { schedule } = run;
  const classes = run.classes ? cycleOf(run.classes) : undefined;
  return {
    ...facts,
    seed: String(run.seed),
    count: run.count,
    firstImage: run.firstImage || undefined,
    steps: schedule.steps.length,
    ...scheduleParameters(schedule, flags),
    classes,
    guidance: flags.guidance,
    rng: run.rng,
    unknown: unknownOf(flags),
    size: run.picture,
    command: commandLine(flags, run, { classes, dtype: facts.dtype }),
    version: packageVersion(),
  };
}

/** The shortest list that, taken in turn, gives these classes. */
function cycleOf(classes: readonly number[]): readonly number[] {
  const repeats = (k: number) => classes.every((id, i) => id === classes[i % k]);
  const length = classes.findIndex((_, i) => i > 0 && repeats(i));
  return length > 0 ? classes.slice(0, length) : classes;
}

/**
 * A command that makes the same pictures again, in the current folder. What decides them is spelled out, the batch is
 * left out because it does not matter.
 *
 * @param run of a sweep: any of its runs
 */
export function commandLine(
  flags: SampleFlags,
  run: ResolvedRun,
  { classes, dtype }: Pick<GenerationParameters, "classes" | "dtype">,
): string {
  const words = ["ddim", "sample"];
  const add = (flag: string, value: string | number | bigint | undefined) => {
    if (value !== undefined) words.push(...flagWords(flag, String(value)));
  };
  add("-m", modelArgument(flags.model));
  add("--config", flags.config && withoutSecrets(flags.config));
  add("--weights", flags.weights);
  add("--variant", flags.variant);
  add("--random-weights", flags.randomWeights);
  if (flags.ignoreUnknown) words.push("--ignore-unknown");
  if (flags.nonFinite !== "error") add("--non-finite", flags.nonFinite);
  if (flags.sweep) words.push("--sweep");
  else if (flags.noise === undefined) add("-n", run.count);
  add("--first-image", run.firstImage || undefined);
  add("--size", flags.size && `${flags.size.width}x${flags.size.height}`);
  add("--noise", flags.noise);
  add("--context", flags.context);
  add("--concat", flags.concat);
  if (flags.timesteps) add("--timesteps", flags.timesteps.join(","));
  else add("-S", flags.sweep && flags.steps ? String(flags.steps) : run.schedule.steps.length);
  add("--seed", run.seed);
  add("--eta", flags.eta === undefined ? undefined : String(flags.eta));
  for (const name of ["sampler", "sigma", "spacing", "compat", "start", "stop", "temperature"] as const)
    add(`--${name}`, flags[name]);
  add("--timestep-base", flags.timestepBase);
  add("--threshold", flags.threshold ? `${flags.threshold.ratio},${flags.threshold.max}` : undefined);
  if (flags.rederive === false) words.push("--no-rederive");
  if (flags.class !== undefined) add("-c", classes?.join(","));
  if (flags.guidance !== 1) add("--guidance", String(flags.guidance));
  add("--guidance-interval", flags.guidanceInterval?.join(","));
  add("--guidance-rescale", flags.guidanceRescale);
  if (flags.negativeClass !== undefined) add("--negative-class", run.guidance?.freeClass ?? undefined);
  if (flags.antithetic) words.push("--antithetic");
  if (flags.clip !== undefined) words.push(flags.clip ? "--clip" : "--no-clip");
  if (flags.rng !== "philox") add("--rng", flags.rng);
  if (dtype !== "f32") add("--dtype", dtype);
  if (flags.precision !== "fast") add("--precision", flags.precision);
  if (flags.grid) words.push("--grid");
  add("--scale", flags.scale);
  add("-o", inCurrentFolder(flags.output));
  return words.map(quoted).join(" ");
}

/** The command that recorded parameters amount to, where the one that was recorded with them is no command of ours. */
export function commandOf(parameters: GenerationParameters): string {
  const { model, count, firstImage, size, steps, timesteps, seed, eta, sampler, spacing, compat } = parameters;
  const { classes, guidance, clip, rng, unknown, dtype, precision } = parameters;
  const flags = {
    "--model": model,
    "--count": count,
    "--first-image": firstImage || undefined,
    "--size": `${size.width}x${size.height}`,
    ...(timesteps ? { "--timesteps": timesteps } : { "--steps": steps, "--spacing": spacing }),
    "--seed": seed,
    "--eta": eta,
    "--sampler": sampler,
    "--compat": compat,
    "--class": classes,
    "--guidance": guidance,
    "--rng": rng,
    "--dtype": dtype,
    "--precision": precision,
  };
  const words = Object.entries(flags).flatMap(([flag, value]) => (value === undefined ? [] : [flag, String(value)]));
  if (unknown === "warn") words.push("--ignore-unknown");
  return ["ddim", "sample", ...words, clip ? "--clip" : "--no-clip"].map(quoted).join(" ");
}

/** The command as it was typed, but for the folder that its output went to, and with a model that is found again. */
export function typedCommand({ args = [] }: Pick<Io, "args">): string {
  const shown = (flag: string | undefined, value: string) => {
    if (flag === "-o" || flag === "--output") return inCurrentFolder(value);
    return flag === "-m" || flag === "--model" ? modelArgument(value) : withoutSecrets(value);
  };
  const words = args.map((word, i) => {
    const [, flag, joint, value] = /^(--(?:output|model)|-[om])(=?)(.+)$/s.exec(word) ?? [];
    if (flag === undefined || value === undefined || (flag.startsWith("--") && joint === ""))
      return shown(args[i - 1], word);
    return flag.startsWith("--") ? `${flag}=${shown(flag, value)}` : flag + shown(flag, joint + value);
  });
  return ["ddim", ...words.map(quoted)].join(" ");
}
