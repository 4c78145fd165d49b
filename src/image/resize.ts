/** Pictures made to fit another size. */
import { UsageError } from "../runtime/errors.ts";
import { checkKind } from "../runtime/options.ts";
import { shown } from "../runtime/printable.ts";
import { checkImage, checkMade, type RgbaImage } from "./rgba.ts";

export const fits = ["crop", "pad", "stretch"] as const;
export type Fit = (typeof fits)[number];

interface Window {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Weights of source pixels for each target pixel along one axis: a triangle as wide as a target pixel, at least one wide. */
function triangle(from: number, length: number, target: number, limit: number): [first: number, weights: number[]][] {
  const scale = length / target;
  const reach = Math.max(1, scale);
  return Array.from({ length: target }, (_, i) => {
    const centre = from + (i + 0.5) * scale;
    const first = Math.max(0, Math.ceil(centre - reach - 0.5));
    const last = Math.min(limit - 1, Math.floor(centre + reach - 0.5));
    const weights = Array.from({ length: last - first + 1 }, (_, k) =>
      Math.max(0, 1 - Math.abs(first + k + 0.5 - centre) / reach),
    );
    const sum = weights.reduce((a, b) => a + b, 0);
    return [first, weights.map((w) => w / sum)];
  });
}

/** A window of a picture, antialiased bilinear, over white. */
function resample(image: RgbaImage, window: Window, width: number, height: number): RgbaImage {
  const columns = triangle(window.x, window.width, width, image.width);
  const lines = triangle(window.y, window.height, height, image.height);
  const data = new Uint8ClampedArray(4 * width * height).fill(255);
  lines.forEach(([top, vertical], y) => {
    columns.forEach(([left, horizontal], x) => {
      const sum = [0, 0, 0];
      vertical.forEach((v, j) => {
        horizontal.forEach((h, i) => {
          const at = 4 * ((top + j) * image.width + left + i);
          const alpha = (image.data[at + 3] as number) / 255;
          for (let c = 0; c < 3; c++)
            sum[c] = (sum[c] as number) + v * h * (255 + ((image.data[at + c] as number) - 255) * alpha);
        });
      });
      data.set(sum, 4 * (y * width + x));
    });
  });
  return { width, height, data };
}

/**
 * A picture at another size: `crop` cuts the longer side, `pad` adds white to the shorter, `stretch` changes proportions.
 * Transparency becomes white. A picture that has the size already keeps its bytes but for that.
 *
 * @returns the picture, and what was done in a few words; empty when nothing was
 * @throws UsageError for another way to fit or a size that no image can have; ShapeError for an image that is none
 */
export function fitImage(
  image: RgbaImage,
  size: { width: number; height: number },
  fit: Fit = "crop",
): { image: RgbaImage; done: string } {
  if (!fits.includes(fit)) throw new UsageError("fit", `fit must be one of ${fits.join(", ")}, got ${shown(fit)}`);
  checkImage(image, "fitImage", "image");
  checkKind("fitImage", "size", "an object", size);
  const { width, height } = size;
  checkMade("fitImage", width, height);
  const whole = { x: 0, y: 0, width: image.width, height: image.height };
  if (image.width === width && image.height === height)
    return { image: resample(image, whole, width, height), done: "" };
  const from = `${image.width} x ${image.height}`;
  const to = `${width} x ${height}`;
  const ratio = width / height;
  const wide = image.width / image.height > ratio;
  if (fit === "stretch" || image.width * height === image.height * width)
    return { image: resample(image, whole, width, height), done: `resized from ${from} to ${to}` };
  if (fit === "crop") {
    const part = wide
      ? { width: image.height * ratio, height: image.height }
      : { width: image.width, height: image.width / ratio };
    const window = { x: (image.width - part.width) / 2, y: (image.height - part.height) / 2, ...part };
    return { image: resample(image, window, width, height), done: `cropped and resized from ${from} to ${to}` };
  }
  const inner = {
    width: wide ? width : Math.max(1, Math.round((image.width * height) / image.height)),
    height: wide ? Math.max(1, Math.round((image.height * width) / image.width)) : height,
  };
  const small = resample(image, whole, inner.width, inner.height);
  const data = new Uint8ClampedArray(4 * width * height).fill(255);
  const [left, top] = [Math.floor((width - inner.width) / 2), Math.floor((height - inner.height) / 2)];
  for (let y = 0; y < inner.height; y++)
    data.set(small.data.subarray(4 * y * inner.width, 4 * (y + 1) * inner.width), 4 * ((top + y) * width + left));
  return { image: { width, height, data }, done: `resized and padded from ${from} to ${to}` };
}
