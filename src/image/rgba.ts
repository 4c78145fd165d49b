/** Pictures as eight-bit RGBA, the one form that canvases, PNG files and this package's results share. */
import { ShapeError, UsageError } from "../runtime/errors.ts";
import { checkKind } from "../runtime/options.ts";
import { shown } from "../runtime/printable.ts";

/** Lines from the top, pixels from the left, R G B A of 0..255 each (not premultiplied); fits `new ImageData(data, width, height)`. */
export interface RgbaImage {
  width: number;
  height: number;
  /** 4 · width · height values. */
  data: Uint8ClampedArray<ArrayBuffer>;
}

/**
 * Refuses an image whose size is not whole and positive or whose data has another length.
 * @throws UsageError for what is no image at all, ShapeError naming `where` and `name`.
 */
export function checkImage(image: RgbaImage, where: string, name: string): void {
  checkKind(where, name, "an object", image);
  const { width, height, data } = image;
  if (!Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1)
    throw new ShapeError(where, name, "a width and a height of at least 1", [width, height]);
  if (!ArrayBuffer.isView(data))
    throw new UsageError(name, `${where}: ${name} must have its data in a Uint8ClampedArray`);
  if (data.length !== 4 * width * height)
    throw new ShapeError(where, name, `${width} x ${height} x 4 values`, [data.length]);
}

/** Most pixels of an image that is made: four bytes each are a gigabyte. */
export const MOST_PIXELS = 2 ** 28;

/** @throws UsageError for a size that is not whole and positive, or that no image can have */
export function checkMade(where: string, width: number, height: number): void {
  if (!Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1 || width * height > MOST_PIXELS)
    throw new UsageError("size", `${where}: an image cannot have ${shown(width)} x ${shown(height)} pixels`);
}

/**
 * Nearest-neighbour enlargement: every pixel becomes k × k pixels.
 * @param k A whole number from 1.
 * @throws UsageError for another k.
 */
export function enlarge(image: RgbaImage, k: number): RgbaImage {
  if (!Number.isInteger(k) || k < 1)
    throw new UsageError("scale", `scale must be a whole number from 1, not ${shown(k)}`);
  checkImage(image, "enlarge", "image");
  checkMade("enlarge", image.width * k, image.height * k);
  const width = image.width * k;
  const height = image.height * k;
  const source = new Uint32Array(image.data.slice().buffer);
  const target = new Uint32Array(width * height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      target[y * width + x] = source[Math.floor(y / k) * image.width + Math.floor(x / k)]!;
  return { width, height, data: new Uint8ClampedArray(target.buffer) };
}

/** The enlargement at which a picture of `width` pixels can be looked at: under 64 it becomes about 128 wide, else 1. */
export function defaultScale(width: number): number {
  checkKind("defaultScale", "width", "a number", width);
  return width < 64 ? Math.round(128 / width) : 1;
}
