/**
 * A mask and the masked picture as the input of networks that were trained to paint: as diffusers'
 * StableDiffusionInpaintPipeline makes it, or as latent-diffusion's scripts/inpaint.py does.
 */
import { fromSampler } from "../autoencoder/scaling.ts";
import { type AutoencoderSpec, latentScale } from "../autoencoder/spec.ts";
import { ShapeError, UsageError } from "../runtime/errors.ts";
import { joinChannels } from "./concat.ts";
import { encode } from "./firstStage.ts";
import type { LoadedModel } from "./loaded.ts";
import type { Model } from "./model.ts";
import { pixelScale } from "./size.ts";
import type { Tensor } from "./types.ts";

/**
 * Where images are painted: 1 where at least half of a pixel goes.
 * @param mask [1 or N, 1, H, W], 1 where pixels are kept
 * @returns [N, 1, H, W] of zeros and ones
 * @throws ShapeError, UsageError
 */
export function paintedMask({ shape: [n = 0, , height = 0, width = 0] }: Tensor, { shape, data }: Tensor): Tensor {
  const size = height * width;
  const [masks = 0] = shape;
  const fits = (masks === 1 || masks === n) && shape.slice(1).join() === [1, height, width].join();
  if (!fits || data.length !== masks * size)
    throw new ShapeError("edit", "mask", `[${n === 1 ? "" : "1 or "}${n}, 1, ${height}, ${width}]`, shape);
  if (!data.every((v) => v >= 0 && v <= 1)) throw new UsageError("mask", "mask must hold numbers from 0 to 1");
  const at = (i: number) => data[masks === 1 ? i % size : i] as number;
  return {
    shape: [n, 1, height, width],
    data: Float32Array.from({ length: n * size }, (_, i) => (at(i) <= 0.5 ? 1 : 0)),
  };
}

/** The upper left pixel of every square of `scale` × `scale`, which torch's nearest interpolation takes. */
function nearest({ shape: [n = 0, , height = 0, width = 0], data }: Tensor, scale: number): Tensor {
  const [h, w] = [height / scale, width / scale];
  const at = (i: number) => {
    const [image, y, x] = [Math.floor(i / (h * w)), Math.floor(i / w) % h, i % w];
    return (image * height + y * scale) * width + x * scale;
  };
  return { shape: [n, 1, h, w], data: Float32Array.from({ length: n * h * w }, (_, i) => data[at(i)] as number) };
}

/**
 * What the network reads beside its state.
 * @param images [N, C, H, W] in -1..1
 * @param painted of {@link paintedMask}
 */
export async function maskInput(
  loaded: LoadedModel,
  { shape, data }: Tensor,
  painted: Tensor,
  signal?: AbortSignal,
): Promise<Tensor> {
  const { model } = loaded;
  const [, channels = 0, height = 0, width = 0] = shape;
  const pixels = height * width;
  const original = model.concat?.kind === "masked-mask";
  const hole = original ? -1 : 0;
  const at = (i: number) => Math.floor(i / (channels * pixels)) * pixels + (i % pixels);
  const masked = data.map((v, i) => (painted.data[at(i)] === 1 ? hole : v));
  const latents = await encode(loaded, { shape, data: masked }, { signal });
  const mask = nearest(painted, pixelScale(model));
  if (!original) return joinChannels(mask, latents);
  const unscaled = fromSampler(model.firstStage?.spec as AutoencoderSpec, latents);
  return joinChannels(unscaled, { shape: mask.shape, data: mask.data.map((v) => 2 * v - 1) });
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
