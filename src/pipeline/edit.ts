/** Image to image, in-painting, and the forward process by itself. */
import { UsageError } from "../runtime/errors.ts";
import { checkOptions, type OptionNames } from "../runtime/options.ts";
import { addNoise } from "../sampler/forward.ts";
import { initialNoise } from "../sampler/philox.ts";
import type { Schedule } from "../sampler/scheduleTypes.ts";
import { wholeSeed } from "../sampler/seed.ts";
import { latentMask } from "./encoding.ts";
import type { Model } from "./model.ts";
import { repaintNames } from "./options.ts";
import { resolveRun, resolveSchedule } from "./run.ts";
import type { Generation, InpaintOptions, Tensor } from "./types.ts";
import { checkImages, defaultClasses, type OnImages, onImagesNames, type Workshop } from "./workshop.ts";

export interface EditOptions extends OnImages, Omit<Partial<InpaintOptions>, "known"> {
  /**
   * How much of the image goes, above 0 to 1: the run starts at t = round(strength · T) - 1 exactly. Without a mask 0.6; with
   * one, 1. `start` says the timestep itself. All steps are taken whatever the strength.
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

/** Noise of images first, first + 1, … as x_T would have it. */
function noiseOf([n = 0, c = 0, h = 0, w = 0]: readonly number[], seed: bigint, first = 0): Float32Array {
  const size = c * h * w;
  const data = new Float32Array(n * size);
  for (let i = 0; i < n; i++) data.set(initialNoise(seed, first + i, c, h, w), i * size);
  return data;
}

function startOf(
  { strength, start, mask }: EditOptions,
  { numTrainTimesteps: T }: Pick<Schedule, "numTrainTimesteps">,
) {
  if (start !== undefined) {
    if (strength !== undefined) throw new UsageError("strength", "strength and start say the same; give one of them");
    return start;
  }
  const chosen = strength ?? (mask ? 1 : 0.6);
  if (!(chosen > 0 && chosen <= 1))
    throw new UsageError("strength", `strength must be above 0 and at most 1, got ${chosen}`);
  return Math.max(0, Math.round(chosen * T) - 1);
}

export async function edit(workshop: Workshop, image: Tensor, options: EditOptions): Promise<Generation> {
  checkOptions("edit", options, editNames);
  const { strength: _, mask, repaint, paste, ...rest } = options;
  if (repaint) checkOptions("repaint", repaint, repaintNames);
  const { model } = workshop;
  checkImages(workshop, image, "edit");
  if (options.timesteps && (options.strength !== undefined || options.start !== undefined))
    throw new UsageError(
      "timesteps",
      "the first of the timesteps is where the run starts: strength and start say it again",
    );
  if (repaint && !mask) throw new UsageError("repaint", "repaint resamples the pixels of a mask, but there is none");
  const start = options.timesteps ? {} : { start: startOf(options, resolveSchedule(model, { steps: 1 })) };
  const chosen = { ...rest, ...start, classes: options.classes ?? defaultClasses(model) };
  // Whatever is wrong with the options is known before anything is encoded.
  const kept = mask && latentMask(model, mask);
  resolveSchedule(model, chosen);
  const known = await workshop.encode(image, options.signal);
  const run = resolveRun(model, { ...chosen, noise: known, inpaint: kept && { known, mask: kept, repaint, paste } });
  const first = run.schedule.steps[0]?.t as number;
  const data = addNoise(known.data, noiseOf(known.shape, run.seed, run.firstImage), first, run.schedule);
  return workshop.run({ ...run, noise: { shape: known.shape, data } }, options);
}

/** @throws UsageError for a timestep that the model does not have */
export function forwardNoise(
  model: Model,
  images: Tensor,
  timesteps: readonly number[],
  seed: number | bigint = 0,
): Tensor {
  if (model.firstStage)
    throw new UsageError("model", `${model.name} adds its noise to latents: encode the images first, or edit them`);
  const schedule = resolveSchedule(model, { steps: 1 });
  const noise = noiseOf(images.shape, wholeSeed(seed));
  const [n = 0, ...shape] = images.shape;
  const data = new Float32Array(timesteps.length * images.data.length);
  for (const [i, t] of timesteps.entries()) data.set(addNoise(images.data, noise, t, schedule), i * images.data.length);
  return { shape: [timesteps.length * n, ...shape], data };
}
