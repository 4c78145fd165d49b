/** Pictures as latents. */
import type { Autoencoder } from "../autoencoder/autoencoder.ts";
import { toSampler } from "../autoencoder/scaling.ts";
import type { Model } from "./model.ts";
import { stateSize } from "./size.ts";
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
