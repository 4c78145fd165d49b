/** Many images as one picture. */
import { grid } from "../image/grid.ts";
import { enlarge, type RgbaImage } from "../image/rgba.ts";

/** Enlarged images on one sheet: in a line per class where `classes` says each one's class, otherwise nearly square. */
export function sheet(images: readonly RgbaImage[], scale: number, classes?: readonly number[]): RgbaImage {
  const large = images.map((image) => enlarge(image, scale));
  const [first] = large;
  if (large.length === 1 && first) return first;
  const lines = classes ? linesByClass(large, classes) : undefined;
  const columns = lines ? Math.max(...lines.map((line) => line.length)) : Math.ceil(Math.sqrt(large.length));
  const cells = lines ? lines.flatMap((line) => padded(line, columns)) : large;
  return grid(cells, columns, { gap: Math.max(2, Math.round((first?.width ?? 0) / 16)) });
}

/** Lines in the order in which their classes first occur. */
function linesByClass(images: readonly RgbaImage[], classes: readonly number[]): RgbaImage[][] {
  const lines = new Map<number, RgbaImage[]>();
  images.forEach((image, i) => {
    const id = classes[i % classes.length]!;
    lines.set(id, [...(lines.get(id) ?? []), image]);
  });
  return [...lines.values()];
}

/** A short line filled up with the background of the sheet, white. */
function padded(line: readonly RgbaImage[], columns: number): RgbaImage[] {
  const { width, height } = line[0]!;
  const blank = { width, height, data: new Uint8ClampedArray(4 * width * height).fill(255) };
  return [...line, ...Array.from({ length: columns - line.length }, () => blank)];
}
