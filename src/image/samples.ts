/** Between pictures and tensors, in the arithmetic of the GPU's kernel, so that both give the same bytes. */
import { ShapeError } from "../runtime/errors.ts";
import { checkKind } from "../runtime/options.ts";
import { shown } from "../runtime/printable.ts";
import { checkImage, checkMade, type RgbaImage } from "./rgba.ts";

/** Half to even, as numpy and WGSL round. */
function roundEven(v: number): number {
  const down = Math.floor(v);
  if (v - down !== 0.5) return Math.round(v);
  return down % 2 === 0 ? down : down + 1;
}

const byte = (v: number) => {
  const unit = Math.min(1, Math.max(0, Math.fround(Math.fround(v * 0.5) + 0.5)));
  return roundEven(Math.fround(unit * 255));
};

/**
 * Pictures of channels-first samples in −1..1. One channel is grey, missing channels are 0.
 *
 * @param data [n, channels, height, width]
 * @throws UsageError for a size that no image can have; ShapeError for data of another length
 */
export function toRgbaImages(
  data: Float32Array,
  n: number,
  channels: number,
  size: { height: number; width: number },
): RgbaImage[] {
  checkKind("toRgbaImages", "size", "an object", size);
  const { height, width } = size;
  checkKind("toRgbaImages", "data", "numbers", data);
  checkMade("toRgbaImages", width, height);
  const pixels = height * width;
  if (![n, channels].every((v) => Number.isInteger(v) && v >= 0) || data.length !== n * channels * pixels)
    throw new ShapeError("toRgbaImages", "data", `${shown(n)} x ${shown(channels)} x ${height} x ${width} values`, [
      data.length,
    ]);
  return Array.from({ length: n }, (_, i) => {
    const out = new Uint8ClampedArray(4 * pixels).fill(255);
    for (let p = 0; p < pixels; p++)
      for (let c = 0; c < 3; c++) {
        const from = channels === 1 ? 0 : c;
        out[4 * p + c] = from < channels ? byte(data[(i * channels + from) * pixels + p] as number) : 0;
      }
    return { width, height, data: out };
  });
}

/**
 * Channels-first samples in −1..1 of pictures of one size; transparency goes over white, one channel is their luma (Rec. 601).
 *
 * @returns [N, channels, height, width]
 * @throws ShapeError for pictures of different sizes, or channels other than 1 and 3
 */
export function fromRgbaImages(
  images: readonly RgbaImage[],
  channels: number,
): { shape: [number, number, number, number]; data: Float32Array<ArrayBuffer> } {
  checkKind("fromRgbaImages", "images", "a list", images);
  for (const [i, image] of images.entries()) checkImage(image, "fromRgbaImages", `image ${i}`);
  const { width = 0, height = 0 } = images[0] ?? {};
  if (channels !== 1 && channels !== 3) throw new ShapeError("images", "channels", "1 or 3", [channels]);
  const pixels = width * height;
  const data = new Float32Array(images.length * channels * pixels);
  images.forEach((image, i) => {
    if (image.width !== width || image.height !== height)
      throw new ShapeError("images", `image ${i}`, `${width} x ${height}`, [image.width, image.height]);
    for (let p = 0; p < pixels; p++) {
      const alpha = (image.data[4 * p + 3] as number) / 255;
      const rgb = [0, 1, 2].map((c) => 255 + ((image.data[4 * p + c] as number) - 255) * alpha);
      const values = channels === 3 ? rgb : [0.299 * rgb[0]! + 0.587 * rgb[1]! + 0.114 * rgb[2]!];
      values.forEach((v, c) => {
        data[(i * channels + c) * pixels + p] = v / 127.5 - 1;
      });
    }
  });
  return { shape: [images.length, channels, height, width], data };
}
