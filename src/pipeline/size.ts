/** Sizes of pictures and of what a network works on, and what a network can take. */
import { latentScale } from "../autoencoder/spec.ts";
import type { ImageSize } from "../network/configReader.ts";
import { UsageError } from "../runtime/errors.ts";
import { shown } from "../runtime/printable.ts";
import { halvings } from "../unet/spec.ts";
import type { Model } from "./model.ts";
import type { GenerateOptions } from "./types.ts";

/** @throws UsageError naming the option */
export function wholeNumber(option: string, value: number, least: number): number {
  if (!Number.isInteger(value) || value < least)
    throw new UsageError(option, `${option} must be a whole number from ${least}, got ${shown(value)}`);
  return value;
}

/** Every level but the last halves the image; with an odd size a skip connection would not fit its partner. */
export const sizeMultiple = ({ config }: Model): number => (config.odd_sizes ? 1 : 2 ** halvings(config));

/** What the network works on where no size is asked for: the model's own, or one that stands for it. */
export const ownSize = ({ config }: Model): ImageSize => config.sample_size ?? { height: 64, width: 64 };

/** @throws UsageError where a side is no multiple, with the reason */
function checkSides(size: ImageSize, multiple: number, why: string): void {
  for (const side of ["height", "width"] as const)
    if (wholeNumber("size", size[side], 1) % multiple !== 0)
      throw new UsageError(
        "size",
        `size ${size.height}×${size.width}: ${side} must be a multiple of ${multiple}${why}`,
      );
}

/**
 * @param scale pixels that `size` counts along each side of what the network works on
 * @throws UsageError for a size of the state that is no multiple of {@link sizeMultiple}
 */
export function checkSize(model: Model, size: ImageSize, scale = 1): ImageSize {
  const halved = sizeMultiple(model);
  const whole = `a multiple of ${scale} for whole latents`;
  const times = Math.log2(halved);
  const why =
    scale === 1
      ? `, because ${model.name} halves it ${times} times`
      : `: ${whole}${halved === 1 ? "" : `, which ${model.name} halves ${times} times`}`;
  checkSides(size, halved * scale, why);
  return { height: size.height, width: size.width };
}

/** Pixels along each side of what the network works on: 1, or those of a latent. */
export const pixelScale = ({ firstStage }: Model): number => (firstStage ? latentScale(firstStage.spec) : 1);

export const scaled = ({ height, width }: ImageSize, factor: number): ImageSize => ({
  height: height * factor,
  width: width * factor,
});

/** Size of the state that a size of pictures means. @throws UsageError */
export function stateSize(model: Model, size: ImageSize): ImageSize {
  const scale = pixelScale(model);
  checkSides(size, scale, ", the pixels of one latent");
  return scaled(size, 1 / scale);
}

/** Size of the state of a run that is to make pictures of a size. @throws UsageError naming what the network can take */
export function askedSize(model: Model, size: ImageSize): ImageSize {
  const scale = pixelScale(model);
  return scaled(checkSize(model, size, scale), 1 / scale);
}

/** Size of a run's state: asked for, that of what is given, or the model's. @throws UsageError */
export function resolveSize(model: Model, { noise, concat, size }: GenerateOptions): ImageSize {
  if (size) return askedSize(model, size);
  const state = noise ?? (concat?.shape.length === 4 ? concat : undefined);
  const [, , height, width] = state?.shape ?? [];
  const given = state ? { height: height as number, width: width as number } : model.config.sample_size;
  if (!given) throw new UsageError("size", `${model.name} names no sample_size, so a size must be given`);
  return checkSize(model, given);
}

/** Numbers of a run's images, which are in memory at its end. */
const MOST_NUMBERS = 2 ** 31;

/** @throws UsageError for a run whose result no memory holds */
export function checkRoom(count: number, { height, width }: ImageSize, channels: number): void {
  if (count * channels * height * width > MOST_NUMBERS)
    throw new UsageError(
      count > 1 ? "count" : "size",
      `size ${height}×${width}: of ${count} such images no run can hold the numbers, ${MOST_NUMBERS} at most`,
    );
}
