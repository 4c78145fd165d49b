/** What a call of `generate` means for a model: every option checked and resolved, without a GPU. */

import type { ImageSize } from "../network/configReader.ts";
import { ConfigError, ShapeError, UsageError } from "../runtime/errors.ts";
import { type Judge, nonFiniteIn } from "../runtime/finite.ts";
import { checkKind, checkOptions } from "../runtime/options.ts";
import { type Plan, type PlanOptions, planSchedule } from "../sampler/plan.ts";
import { planRule } from "../sampler/rule.ts";
import { makeSchedule } from "../sampler/schedule.ts";
import { samplingNames } from "../sampler/scheduleRun.ts";
import type { Schedule } from "../sampler/scheduleTypes.ts";
import type { Rng } from "../sampler/seed.ts";
import { checkConcat, concatCount, resolveConcat } from "./concat.ts";
import { type Guidance, guidanceEmbedding, resolveClasses, resolveGuidance } from "./conditions.ts";
import { type Contexts, contextCount, resolveContexts } from "./contexts.ts";
import type { Model } from "./model.ts";
import { generateNames, inpaintNames, repaintNames } from "./options.ts";
import { resolveFirstImage, resolveRng, resolveSeed, rngWarnings } from "./rng.ts";
import { askedSize, checkRoom, pixelScale, resolveSize, scaled, wholeNumber } from "./size.ts";
import type { GenerateOptions, Tensor } from "./types.ts";

/** Its height and width are the state's. */
export interface ResolvedRun extends ImageSize {
  /** Size of the pictures, where latents are decoded to them. */
  readonly picture: ImageSize;
  /** Whether the result is decoded, where the model has a first stage. */
  readonly decode: boolean;
  readonly count: number;
  /** Number of the first image among all that the seed makes. */
  readonly firstImage: number;
  /** Images per batch as asked for; undefined: what fits. */
  readonly batch: number | undefined;
  readonly seed: bigint;
  readonly rng: Rng;
  /** Class of every image; null for unconditional models. */
  readonly classes: readonly number[] | null;
  readonly guidance: Guidance | undefined;
  readonly contexts: Contexts | null;
  /** What the network is told of the guidance scale, [count, width]; undefined where it is not. */
  readonly guidanceEmbedding: Float32Array | undefined;
  /** What the network reads beside its state, [1 or count, C, H, W]. */
  readonly concat: Tensor | undefined;
  readonly antithetic: boolean;
  readonly schedule: Schedule;
  readonly plan: Plan;
  /** [N, C, H, W]: what to keep, how much of it, and whether it is pasted at the end. */
  readonly inpaint: { readonly known: Float32Array; readonly mask: Float32Array; readonly paste: boolean } | undefined;
  readonly statistics: boolean;
  /** What the update remembers before its first row, [slots·N, C, H, W]. */
  readonly history?: Float32Array;
  readonly noise: Tensor | undefined;
  readonly warnings: readonly string[];
}

function checkPixels({ size, usage }: GPUBuffer, bytes: number): void {
  if (size < bytes) throw new UsageError("pixels", `pixels holds ${size} bytes, the pictures need ${bytes}`);
  if ((usage & GPUBufferUsage.COPY_DST) === 0) throw new UsageError("pixels", "pixels lacks the usage COPY_DST");
}

/** @returns the number of images */
function checkNoise(model: Model, { shape, data }: Tensor, size: Partial<ImageSize> = {}): number {
  const [count = 0, , h = 0, w = 0] = shape;
  const { height = h, width = w } = size;
  const { stateChannels: channels } = model;
  if (shape.length !== 4 || count < 1 || shape.some((v, i) => v !== [count, channels, height, width][i]))
    throw new ShapeError(
      "generate",
      "noise x_T",
      `[N, ${channels}, ${size.height ?? "H"}, ${size.width ?? "W"}]`,
      shape,
    );
  const wanted = count * channels * height * width;
  if (data.length !== wanted) throw new ShapeError("generate", "noise x_T", `${wanted} values`, [data.length]);
  const bad = data.findIndex((v) => !Number.isFinite(v));
  if (bad >= 0)
    throw new UsageError("noise", `noise x_T holds ${data[bad]} in image ${Math.floor((bad * count) / wanted)}`);
  return count;
}

/** Pixels to keep, and how the rest is made. */
function resolveInpaint(model: Model, { inpaint }: GenerateOptions, count: number, size: ImageSize) {
  if (!inpaint) return undefined;
  const { known, mask, paste = true } = inpaint;
  if (!known || !mask) throw new UsageError("inpaint", `inpaint: ${known ? "mask" : "known"} is missing`);
  const { stateChannels: channels } = model;
  const pixels = size.height * size.width;
  const expected = [count, channels, size.height, size.width];
  if (known.shape.join() !== expected.join() || known.data.length !== count * channels * pixels)
    throw new ShapeError("generate", "known", `[${expected.join(", ")}]`, known.shape);
  const [masks = 0, planes = 0, height, width] = mask.shape;
  const fits = (masks === 1 || masks === count) && (planes === 1 || planes === channels);
  if (!fits || height !== size.height || width !== size.width || mask.data.length !== masks * planes * pixels)
    throw new ShapeError(
      "generate",
      "mask",
      `[1 or ${count}, 1 or ${channels}, ${size.height}, ${size.width}]`,
      mask.shape,
    );
  if (!mask.data.every((v) => v >= 0 && v <= 1)) throw new UsageError("mask", "mask must hold numbers from 0 to 1");
  const at = (i: number) => {
    const [n, c, p] = [Math.floor(i / (channels * pixels)), Math.floor(i / pixels) % channels, i % pixels];
    return ((masks === 1 ? 0 : n) * planes + (planes === 1 ? 0 : c)) * pixels + p;
  };
  const full = Float32Array.from({ length: known.data.length }, (_, i) => mask.data[at(i)] as number);
  return { known: known.data, mask: full, paste };
}

/** The schedule of a model with a run's choices. @throws ConfigError, UsageError */
export function resolveSchedule(model: Model, options: GenerateOptions): Schedule {
  if (!model.scheduler)
    throw new ConfigError(
      model.checkpoint.file,
      "scheduler_config.json",
      "the model has none, so it can be evaluated but not sampled; of a part of a model give the folder of the whole",
    );
  const given = Object.fromEntries(
    Object.entries(options).filter(
      ([key, value]) => Object.hasOwn(samplingNames, key) && value !== undefined && typeof value !== "function",
    ),
  );
  // Latents have no bounds to keep to.
  const unbounded = model.firstStage && (options.compat ?? "none") === "none" ? { clip: false, threshold: null } : {};
  return makeSchedule({ ...model.scheduler, ...unbounded, ...given });
}

/**
 * @param planner the rows of the run; default: those of the caller's rule, or the schedule's own way down
 * @throws UsageError, ConfigError, ShapeError naming the option; nothing is allocated before
 */
export function resolveRun(
  model: Model,
  options: GenerateOptions = {},
  planner?: (schedule: Schedule, options: PlanOptions) => Plan,
): ResolvedRun {
  checkKind("resolveRun", "model", "a model", model);
  checkOptions("generate", options, generateNames);
  const { inpaint } = options;
  if (inpaint) checkOptions("inpaint", inpaint, inpaintNames);
  if (inpaint?.repaint) checkOptions("repaint", inpaint.repaint, repaintNames);
  const schedule = resolveSchedule(model, options);
  checkConcat(model, options);
  const { noise } = options;
  const asked = options.size && askedSize(model, options.size);
  const named = options.count ?? contextCount(options) ?? concatCount(options) ?? 1;
  const count = noise ? checkNoise(model, noise, asked) : wholeNumber("count", named, 1);
  const size = resolveSize(model, options);
  const picture = scaled(size, pixelScale(model));
  if (noise && options.count !== undefined && options.count !== count)
    throw new UsageError("count", `count ${options.count} differs from the ${count} images of the given noise`);
  const rng = resolveRng(options);
  if (options.pixels) checkPixels(options.pixels, count * picture.height * picture.width * 4);
  if (noise && options.antithetic)
    throw new UsageError("antithetic", "antithetic pairs mirror noise made from the seed, but noise is given");
  const { sampler } = options;
  const rule = (s: Schedule, o: PlanOptions) =>
    typeof sampler === "function" ? planRule(sampler, s, o) : planSchedule(s, o);
  const plan = (planner ?? rule)(schedule, { interval: options.guidanceInterval, repaint: options.inpaint?.repaint });
  const { in_channels: inputs, out_channels: outputs } = model.config;
  const { stateChannels: channels, firstStage } = model;
  if (outputs < channels)
    throw new ConfigError(
      model.checkpoint.file,
      "out_channels",
      `${outputs} channels are no prediction for ${channels}`,
    );
  if (firstStage && firstStage.spec.latent_channels !== channels)
    throw new ConfigError(
      model.checkpoint.file,
      "in_channels",
      `${inputs} channels, but the autoencoder has latents of ${firstStage.spec.latent_channels}`,
    );
  if (plan.learned && outputs < 2 * channels)
    throw new ConfigError(model.checkpoint.file, "out_channels", "a learned variance needs a second half of channels");
  const firstImage = resolveFirstImage(options, count);
  checkRoom(count, picture, firstStage ? firstStage.spec.out_channels : channels);
  const embedding = guidanceEmbedding(model, options, count);
  const guidance = resolveGuidance(model, options, count);
  return {
    ...size,
    picture,
    decode: model.firstStage !== null,
    count,
    firstImage,
    batch: options.batch === undefined ? undefined : wholeNumber("batch", options.batch, 1),
    seed: resolveSeed(options.seed === undefined ? options.resume?.seed : options.seed),
    rng,
    antithetic: options.antithetic ?? false,
    classes: resolveClasses(model, options, count),
    guidance,
    contexts: resolveContexts(model, options, count, guidance !== undefined),
    guidanceEmbedding: embedding,
    concat: resolveConcat(model, options, count, size),
    schedule,
    plan,
    noise,
    inpaint: resolveInpaint(model, options, count, size),
    statistics: options.statistics ?? false,
    warnings: [...model.warnings, ...schedule.warnings, ...rngWarnings(rng, channels * size.height * size.width)],
  };
}

/** What a run is given beside its start, which {@link resolveRun} checks, is finite. */
export function judgeInputs({ inpaint, contexts, concat, count }: ResolvedRun, judge: Judge): void {
  const named = {
    known: inpaint?.known,
    context: contexts?.context,
    negativeContext: contexts?.freeContext,
    "textEmbeds or timeIds": contexts?.added,
    "negativeTextEmbeds or negativeTimeIds": contexts?.freeAdded,
  };
  for (const [name, data] of Object.entries(named)) if (data) judge(nonFiniteIn(name, data, count));
  if (concat) judge(nonFiniteIn("concat", concat.data, concat.shape[0] as number));
}
