/** Pictures as latents, and what belongs to pictures as large as latents. */
import type { Autoencoder } from "../autoencoder/autoencoder.ts";
import { toSampler } from "../autoencoder/scaling.ts";
import { latentScale } from "../autoencoder/spec.ts";
import { ShapeError } from "../runtime/errors.ts";
import type { Model } from "./model.ts";
import { stateSize } from "./run.ts";
import type { Tensor } from "./types.ts";

/** Latents [N, C, H, W] in the sampler's scale. @throws ShapeError, UsageError, DeviceError */
export async function encodeImages(
  model: Model,
  firstStage: Autoencoder,
  images: Tensor,
  signal?: AbortSignal,
): Promise<Tensor> {
  const [, , height = 0, width = 0] = images.shape;
  stateSize(model, { height, width });
  const encoded = await firstStage.encode(images, { signal });
  return toSampler(firstStage.spec, encoded.kind === "kl" ? encoded.mean : encoded.latents);
}

/**
 * A mask of pictures as a mask of latents: one is kept as far as the least kept of its pixels.
 * @param mask [N, C, H, W], 1 where pixels are kept
 * @returns [N, 1, h, w]
 */
export function latentMask({ firstStage }: Model, { shape, data }: Tensor): Tensor {
  if (!firstStage) return { shape, data };
  const scale = latentScale(firstStage.spec);
  const [n = 0, channels = 0, height = 0, width = 0] = shape;
  const [h, w] = [height / scale, width / scale];
  if (shape.length !== 4 || !Number.isInteger(h) || !Number.isInteger(w))
    throw new ShapeError("edit", "mask", `[1 or N, 1 or C, H, W], H and W multiples of ${scale}`, shape);
  const kept = new Float32Array(n * h * w).fill(1);
  data.forEach((v, i) => {
    const [image, y, x] = [Math.floor(i / (channels * height * width)), Math.floor(i / width) % height, i % width];
    const at = (image * h + Math.floor(y / scale)) * w + Math.floor(x / scale);
    kept[at] = Math.min(kept[at] as number, v);
  });
  return { shape: [n, 1, h, w], data: kept };
}
