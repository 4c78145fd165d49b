/** Image to image, and in-painting. */
import { UsageError } from "../runtime/errors.ts";
import { checkOptions, type OptionNames } from "../runtime/options.ts";
import { addNoise } from "../sampler/forward.ts";
import { spacingOf } from "../sampler/systems.ts";
import { fittingSteps } from "../sampler/timesteps.ts";
import { checkConcat, missingConcat } from "./concat.ts";
import type { ConcatInput } from "./divideInput.ts";
import { encode } from "./firstStage.ts";
import type { LoadedModel } from "./loaded.ts";
import { latentMask, maskInput, paintedMask } from "./maskInput.ts";
import type { Model } from "./model.ts";
import { noiseOf } from "./noise.ts";
import { checkImages, defaultClasses, type OnImages, onImagesNames, runAll } from "./onImages.ts";
import { repaintNames } from "./options.ts";
import { type ResolvedRun, resolveRun, resolveSchedule } from "./run.ts";
import { stateSize } from "./size.ts";
import type { Generation, InpaintOptions, Tensor } from "./types.ts";

export interface EditOptions extends OnImages, Omit<Partial<InpaintOptions>, "known"> {
  /**
   * How much of the image goes, above 0 to 1: the run starts at t = round(strength · T) - 1 exactly. Without a mask 0.6; with
   * one, 1. `start` says the timestep itself. All steps are taken whatever the strength, but for those that there are no
   * timesteps for: then fewer, which a warning says. Networks that read the mask themselves start from noise alone at 1, and
   * at the timesteps of any run.
   */
  strength?: number;
}

const editNames: OptionNames<EditOptions> = {
  ...onImagesNames,
  strength: true,
  mask: true,
  repaint: true,
  paste: true,
};

/** Where the run begins, and how many steps it has from there. */
interface Beginning {
  readonly start?: number;
  readonly steps?: number;
  readonly warnings: readonly string[];
}

/** @throws UsageError for a strength that is none, or that leaves too few timesteps for the spacing */
function beginningOf(model: Model, options: EditOptions): Beginning {
  const { strength: asked, start, mask, timesteps, steps, stop, spacing } = options;
  if (timesteps && (asked !== undefined || start !== undefined))
    throw new UsageError(
      "timesteps",
      "the first of the timesteps is where the run starts: strength and start say it again",
    );
  if (timesteps) return { steps, warnings: [] };
  if (start !== undefined) {
    if (asked !== undefined) throw new UsageError("strength", "strength and start say the same; give one of them");
    return { start, steps, warnings: [] };
  }
  const strength = asked ?? (mask ? 1 : 0.6);
  if (!(strength > 0 && strength <= 1))
    throw new UsageError("strength", `strength must be above 0 and at most 1, got ${strength}`);
  const { alphasCumprod, numTrainTimesteps: T } = resolveSchedule(model, { steps: 1 });
  const begin = Math.max(0, Math.round(strength * T) - 1);
  const { scheduler } = model;
  const rule =
    spacing ??
    (scheduler ? spacingOf(scheduler, typeof options.sampler === "string" ? options.sampler : undefined) : "leading");
  const stepsOffset = scheduler?.steps_offset ?? 0;
  const fitting = fittingSteps(rule, { steps, stepsOffset, alphasCumprod, start: begin, stop });
  const said = `strength ${strength} begins at t = ${begin}, where ${fitting} of ${steps} steps fit: those are taken`;
  return {
    start: begin,
    steps: fitting === (steps ?? 50) ? steps : fitting,
    warnings: steps !== undefined && fitting < steps ? [said] : [],
  };
}

/**
 * By a network that reads a mask and the masked picture beside its state: it keeps what is not masked by itself. What is
 * wrong with the options is known before anything is encoded.
 */
async function paint(loaded: LoadedModel, image: Tensor, options: EditOptions): Promise<Generation> {
  const { strength = 1, mask, repaint, paste, ...rest } = options;
  const { model } = loaded;
  if (!mask) throw missingConcat(model);
  for (const [option, given] of [["repaint", repaint] as const, ["paste", paste] as const])
    if (given !== undefined)
      throw new UsageError(
        option,
        `${option} means nothing here: ${model.name} reads the mask, and keeps the rest itself`,
      );
  const [count = 0, , height = 0, width = 0] = image.shape;
  const size = stateSize(model, { height, width });
  const painted = paintedMask(image, mask);
  const whole = rest.start === undefined && strength === 1;
  const { warnings, ...beginning } = beginningOf(model, options);
  const chosen = { ...rest, ...(whole ? {} : beginning), classes: options.classes ?? defaultClasses(model) };
  const channels = (model.concat as ConcatInput).channels;
  const shape = [count, channels, size.height, size.width];
  const made = (concat: Tensor, noise?: Tensor) =>
    resolveRun(model, noise ? { ...chosen, noise, concat } : { ...chosen, count, concat });
  made({ shape, data: new Float32Array(shape.reduce((a, b) => a * b)) });
  const concat = await maskInput(loaded, image, painted, options.signal);
  if (whole) return runAll(loaded, made(concat), options);
  const known = await encode(loaded, image, { signal: options.signal });
  return runAll(loaded, noisyRun(made(concat, known), known, warnings), options);
}

/** A run that starts from a picture, made as noisy as it is at the run's first timestep. */
function noisyRun(run: ResolvedRun, { shape, data }: Tensor, warnings: readonly string[]): ResolvedRun {
  const first = run.schedule.steps[0]?.t as number;
  const noisy = addNoise(data, noiseOf(shape, run.seed, run.firstImage), first, run.schedule);
  return { ...run, noise: { shape, data: noisy }, warnings: [...run.warnings, ...warnings] };
}

export async function edit(loaded: LoadedModel, image: Tensor, options: EditOptions): Promise<Generation> {
  checkOptions("edit", options, editNames);
  const { strength: _, mask, repaint, paste, ...rest } = options;
  if (repaint) checkOptions("repaint", repaint, repaintNames);
  const { model } = loaded;
  checkImages(loaded, image, "edit");
  const paints = model.concat?.kind === "mask-masked" || model.concat?.kind === "masked-mask";
  if (paints && !options.concat) return paint(loaded, image, options);
  checkConcat(model, options);
  if (repaint && !mask) throw new UsageError("repaint", "repaint resamples the pixels of a mask, but there is none");
  const { warnings, ...beginning } = beginningOf(model, options);
  const chosen = { ...rest, ...beginning, classes: options.classes ?? defaultClasses(model) };
  // Whatever is wrong with the options is known before anything is encoded.
  const kept = mask && latentMask(model, mask);
  resolveSchedule(model, chosen);
  const known = await encode(loaded, image, { signal: options.signal });
  const run = resolveRun(model, { ...chosen, noise: known, inpaint: kept && { known, mask: kept, repaint, paste } });
  return runAll(loaded, noisyRun(run, known, warnings), options);
}
