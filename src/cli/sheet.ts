/** Many images as one picture. */
import { grid } from "../image/grid.ts";
import { enlarge, type RgbaImage } from "../image/rgba.ts";

/** Enlarged images on one sheet: in a row per class where `classes` says each one's class, otherwise nearly square. */
export function sheet(images: readonly RgbaImage[], scale: number, classes?: readonly number[]): RgbaImage {
  const large = images.map((image) => enlarge(image, scale));
  const [first] = large;
  if (large.length === 1 && first) return first;
  const rows = classes ? rowsByClass(large, classes) : undefined;
  const columns = rows ? Math.max(...rows.map((row) => row.length)) : Math.ceil(Math.sqrt(large.length));
  const cells = rows ? rows.flatMap((row) => padded(row, columns)) : large;
  return grid(cells, columns, { gap: Math.max(2, Math.round((first?.width ?? 0) / 16)) });
}

/** Rows in the order in which their classes first occur. */
function rowsByClass(images: readonly RgbaImage[], classes: readonly number[]): RgbaImage[][] {
  const rows = new Map<number, RgbaImage[]>();
  images.forEach((image, i) => {
    const id = classes[i % classes.length]!;
    rows.set(id, [...(rows.get(id) ?? []), image]);
  });
  return [...rows.values()];
}

/** A short row filled up with the background of the sheet, white. */
function padded(row: readonly RgbaImage[], columns: number): RgbaImage[] {
  const { width, height } = row[0]!;
  const blank = { width, height, data: new Uint8ClampedArray(4 * width * height).fill(255) };
  return [...row, ...Array.from({ length: columns - row.length }, () => blank)];
}
