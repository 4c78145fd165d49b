/** A small picture enlarged, by a network that reads it beside its state. */
import { ConfigError, ShapeError, UsageError } from "../runtime/errors.ts";
import { checkOptions, type OptionNames, without } from "../runtime/options.ts";
import { addNoise } from "../sampler/forward.ts";
import { lowResolutionStep, stepNoise } from "../sampler/philox.ts";
import { makeSchedule } from "../sampler/schedule.ts";
import type { SchedulerConfig } from "../sampler/schedulerConfig.ts";
import type { LoadedModel } from "./loaded.ts";
import type { Model } from "./model.ts";
import { type OnImages, onImagesNames, runAll } from "./onImages.ts";
import { type ResolvedRun, resolveRun } from "./run.ts";
import type { GenerateOptions, Generation, Tensor } from "./types.ts";

const made = ["classes", "negativeClass", "concat"] as const;

export interface UpscaleOptions extends Omit<OnImages, (typeof made)[number]>, Pick<GenerateOptions, "noise"> {
  /** Timestep whose noise the small picture gets, where the pipeline has a `low_res_scheduler` (20); else there is none. */
  noiseLevel?: number;
}

const upscaleNames: OptionNames<UpscaleOptions> = {
  ...without(onImagesNames, ...made),
  noise: true,
  noiseLevel: true,
};

/** diffusers' StableDiffusionUpscalePipeline has it. */
const NOISE_LEVEL = 20;

/** Channels of the small picture. @throws UsageError for networks that read none */
export function smallChannels({ name, concat, firstStage }: Model): number {
  if (concat?.kind === "picture" && firstStage) return concat.channels;
  const why = concat ? `it reads ${concat.channels} channels of another kind` : "it reads nothing beside its state";
  throw new UsageError("model", `${name} enlarges no pictures: ${why}`);
}

/** Of the small picture; null where it stays as it is. @throws UsageError, ConfigError */
function levelOf({ name, config, checkpoint, lowResolution }: Model, given: number | undefined): number | null {
  if (!lowResolution) {
    if (given !== undefined)
      throw new UsageError("noiseLevel", `noiseLevel means nothing here: ${name} has no low_res_scheduler`);
    if (config.classes.kind !== "none")
      throw new ConfigError(checkpoint.file, "low_res_scheduler", "is missing, but the network is told a noise level");
    return null;
  }
  const level = given ?? Math.min(NOISE_LEVEL, lowResolution.maxNoiseLevel);
  if (!Number.isInteger(level) || level < 0 || level > lowResolution.maxNoiseLevel)
    throw new UsageError(
      "noiseLevel",
      `noiseLevel must be a whole number from 0 to ${lowResolution.maxNoiseLevel}, got ${level}`,
    );
  return level;
}

/** The small pictures with the noise of a timestep. */
function noisy({ shape, data }: Tensor, scheduler: SchedulerConfig, level: number, run: ResolvedRun): Tensor {
  const [n = 0, channels = 0, height = 0, width = 0] = shape;
  const noise = new Float32Array(data.length);
  for (let i = 0; i < n; i++)
    noise.set(
      stepNoise(run.seed, run.firstImage + i, lowResolutionStep, [channels, height, width]),
      (i * data.length) / n,
    );
  return { shape, data: addNoise(data, noise, level, makeSchedule({ ...scheduler, steps: 1 })) };
}

/** @param images [N, C, H, W] in -1..1, the small pictures: as large as the state */
export async function upscale(loaded: LoadedModel, images: Tensor, options: UpscaleOptions): Promise<Generation> {
  checkOptions("upscale", options, upscaleNames);
  const { noiseLevel, ...rest } = options;
  const { model } = loaded;
  const channels = smallChannels(model);
  const [count = 0, planes] = images.shape;
  if (images.shape.length !== 4 || count < 1 || planes !== channels)
    throw new ShapeError("upscale", "images", `[N, ${channels}, H, W]`, images.shape);
  const level = levelOf(model, noiseLevel);
  const scheduler = model.lowResolution?.scheduler;
  const classes = level === null ? undefined : [level];
  const run = resolveRun(model, { ...rest, classes, concat: images, ...(rest.noise ? {} : { count }) });
  const concat = level === null || !scheduler ? images : noisy(images, scheduler, level, run);
  return runAll(loaded, { ...run, concat }, options);
}
