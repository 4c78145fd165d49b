/** Many pictures on one sheet. */
import { ShapeError, UsageError } from "../runtime/errors.ts";
import { checkKind, checkOptions, type OptionNames } from "../runtime/options.ts";
import { shown } from "../runtime/printable.ts";
import { checkImage, checkMade, type RgbaImage } from "./rgba.ts";

export interface GridOptions {
  /** Pixels between neighbours (2). There is no border around the sheet. */
  gap?: number;
  /** What shows in the gaps and in the empty places of the last line, RGBA of 0..255 (opaque white). */
  background?: readonly [number, number, number, number];
}

const gridNames: OptionNames<GridOptions> = { gap: "a number", background: "a list of numbers" };

/**
 * Lays images of one size out in lines, in order; the last line may be short.
 * @param columns Images per line; with fewer images than that the sheet is narrower.
 * @throws UsageError without images, for columns below 1 or a negative gap; ShapeError when an image's size differs.
 */
export function grid(images: readonly RgbaImage[], columns: number, options: GridOptions = {}): RgbaImage {
  checkOptions("grid", options, gridNames);
  checkKind("grid", "images", "a list", images);
  const { gap = 2, background = [255, 255, 255, 255] } = options;
  const first = images[0];
  if (!first) throw new UsageError("images", "a grid needs at least one image");
  if (!Number.isInteger(columns) || columns < 1)
    throw new UsageError("columns", `columns must be a whole number from 1, not ${shown(columns)}`);
  if (!Number.isInteger(gap) || gap < 0)
    throw new UsageError("gap", `gap must be a whole number from 0, not ${shown(gap)}`);
  images.forEach((image, i) => {
    checkImage(image, "grid", `image ${i}`);
    if (image.width !== first.width || image.height !== first.height)
      throw new ShapeError("grid", `image ${i}`, `${first.width} x ${first.height} like image 0`, [
        image.width,
        image.height,
      ]);
  });

  const across = Math.min(columns, images.length);
  const down = Math.ceil(images.length / across);
  const width = across * (first.width + gap) - gap;
  const height = down * (first.height + gap) - gap;
  checkMade("grid", width, height);
  if (background.length !== 4)
    throw new UsageError("background", `background must be four numbers, R G B A, not ${background.length}`);
  const data = new Uint8ClampedArray(4 * width * height);
  for (let i = 0; i < data.length; i += 4) data.set(background, i);
  images.forEach((image, i) => {
    const left = (i % across) * (first.width + gap);
    const top = Math.floor(i / across) * (first.height + gap);
    for (let y = 0; y < image.height; y++) {
      const line = image.data.subarray(4 * y * image.width, 4 * (y + 1) * image.width);
      data.set(line, 4 * ((top + y) * width + left));
    }
  });
  return { width, height, data };
}
