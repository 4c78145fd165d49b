/** Images to latents and back. */
import { UsageError } from "../runtime/errors.ts";
import { checkOptions, type OptionNames, without } from "../runtime/options.ts";
import {
  type Inversion as Convention,
  inversions,
  isOwnInversion,
  planExactReturn,
  planInversion,
} from "../sampler/inversion.ts";
import type { Plan } from "../sampler/plan.ts";
import type { Schedule } from "../sampler/scheduleTypes.ts";
import { checkConcat } from "./concat.ts";
import { encode } from "./firstStage.ts";
import type { LoadedModel } from "./loaded.ts";
import { checkImages, defaultClasses, type OnImages, onImagesNames, runAll } from "./onImages.ts";
import { resolveRun } from "./run.ts";
import type { Generation, Tensor } from "./types.ts";

/** What a deterministic run without guidance, whose noise is not made from a seed, has no use for. */
const needless = [
  ...([
    "eta",
    "sampler",
    "sigma",
    "temperature",
    "seed",
    "firstImage",
    "statistics",
    "pixels",
    "profile",
    "onBatch",
  ] as const),
  ...(["guidance", "guidanceInterval", "guidanceRescale", "negativeClass", "negativeContext"] as const),
  ...(["negativeTextEmbeds", "negativeTimeIds"] as const),
] as const;

export interface InvertOptions extends Omit<OnImages, (typeof needless)[number]> {
  /** How ε is taken on the way up; src/sampler/inversion.ts explains. Default: fixed-point. */
  convention?: Convention;
  /** Evaluations per step beyond the first guess, for fixed-point (3). */
  iterations?: number;
}

export const invertNames: OptionNames<InvertOptions> = {
  ...without(onImagesNames, ...needless),
  convention: true,
  iterations: true,
};

export interface Inversion {
  /** x_T, [N, C, H, W], as large as what the network works on. */
  readonly latents: Tensor;
  /** With `exact`, the state before x_T, without which the way back is DDIM's own. */
  readonly companion: Tensor | null;
  /** With `fixed-point`: root mean square of the last change, by image and then by step from the image up. */
  readonly residuals: readonly (readonly number[])[] | null;
  readonly schedule: Schedule;
  readonly classes: readonly number[] | null;
  readonly warnings: readonly string[];
}

export interface Reconstruction extends Inversion {
  readonly generation: Generation;
  /** Mean squared error per dimension and peak signal-to-noise ratio (of −1..1, in dB), by image. */
  readonly mse: readonly number[];
  readonly psnr: readonly number[];
}

/**
 * A run with the same options in either direction; default: the deterministic sampler. A bounded step has no inverse, so
 * nothing is bounded unless asked for, or where a system's own inversion is reproduced.
 */
export function resolveWay(
  loaded: LoadedModel,
  noise: Tensor,
  options: InvertOptions,
  planner?: (schedule: Schedule) => Plan,
) {
  const { convention = "fixed-point", iterations: _, onStep: __, signal: ___, ...chosen } = options;
  const clip = options.clip ?? (isOwnInversion(options.compat, convention) ? undefined : false);
  const classes = options.classes ?? defaultClasses(loaded.model);
  const threshold = options.threshold ?? null;
  return resolveRun(loaded.model, { ...chosen, clip, threshold, classes, noise, seed: 0 }, planner);
}

export async function invert(loaded: LoadedModel, images: Tensor, options: InvertOptions): Promise<Inversion> {
  checkOptions("invert", options, invertNames);
  const { convention = "fixed-point", iterations = 3 } = options;
  if (!inversions.includes(convention))
    throw new UsageError("convention", `convention must be one of ${inversions.join(", ")}, got ${convention}`);
  if (!Number.isInteger(iterations) || iterations < 1)
    throw new UsageError("iterations", `iterations must be a whole number from 1, got ${iterations}`);
  const count = checkImages(loaded, images, "invert");
  checkConcat(loaded.model, options);
  const states = await encode(loaded, images, { signal: options.signal });
  const run = resolveWay(loaded, states, options, (schedule) => planInversion(schedule, convention, iterations));
  const { samples, history, numbers, warnings } = await runAll(loaded, { ...run, decode: false }, options);
  const last = run.plan.rows.flatMap((row, i) => (row.residual ? [i] : []));
  return {
    latents: samples,
    companion: convention === "exact" ? { shape: samples.shape, data: history } : null,
    residuals: last.length
      ? Array.from({ length: count }, (_, i) => last.map((row) => numbers(row, i)[0] as number))
      : null,
    schedule: run.schedule,
    classes: run.classes,
    warnings,
  };
}

/** The images of an inversion's latents, by the way that undoes it best. */
export async function restore(
  loaded: LoadedModel,
  { latents, companion }: Pick<Inversion, "latents" | "companion">,
  options: InvertOptions,
): Promise<Generation> {
  if (!companion) {
    const run = resolveWay(loaded, latents, options);
    return runAll(loaded, run, options);
  }
  const run = resolveWay(loaded, companion, options, planExactReturn);
  return runAll(loaded, { ...run, history: latents.data }, options);
}

export async function reconstruct(
  loaded: LoadedModel,
  images: Tensor,
  options: InvertOptions,
): Promise<Reconstruction> {
  const inversion = await invert(loaded, images, options);
  const generation = await restore(loaded, inversion, options);
  const count = images.shape[0] as number;
  const size = images.data.length / count;
  const mse = Array.from({ length: count }, (_, i) => {
    let sum = 0;
    for (let j = i * size; j < (i + 1) * size; j++)
      sum += ((images.data[j] as number) - (generation.samples.data[j] as number)) ** 2;
    return sum / size;
  });
  return { ...inversion, generation, mse, psnr: mse.map((e) => 10 * Math.log10(4 / e)) };
}
