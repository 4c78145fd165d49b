/** The noise of given images, and the forward process by itself. */
import { UsageError } from "../runtime/errors.ts";
import { addNoise } from "../sampler/forward.ts";
import { initialNoise } from "../sampler/philox.ts";
import { wholeSeed } from "../sampler/seed.ts";
import type { Model } from "./model.ts";
import { resolveSchedule } from "./run.ts";
import type { Tensor } from "./types.ts";

/** Noise of images first, first + 1, … as x_T would have it. */
export function noiseOf([n = 0, c = 0, h = 0, w = 0]: readonly number[], seed: bigint, first = 0): Float32Array {
  const size = c * h * w;
  const data = new Float32Array(n * size);
  for (let i = 0; i < n; i++) data.set(initialNoise(seed, first + i, c, h, w), i * size);
  return data;
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
