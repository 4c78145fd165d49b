/** Overlapping tiles put together: rows of tiles are faded into one another from the left, then the rows from the top. */
import { dim, type RefTensor, tensor } from "./tensor.ts";

/** Where a tile begins in the whole, and the first of its pixels that counts, along one axis. */
export interface TilePlace {
  at: number;
  first: number;
}

/** `b` after `a` along an axis (1: rows, 2: columns), the `shared` last of a faded into the first of b. */
function faded(a: RefTensor, b: RefTensor, axis: 1 | 2, shared: number): RefTensor {
  const shape = a.shape.map((size, i) => (i === axis ? size + b.shape[i]! - shared : size));
  const [, h, w, c] = shape as [number, number, number, number];
  const alone = dim(a, axis) - shared;
  return tensor(shape, (i) => {
    const at = [Math.floor(i / (h * w * c)), Math.floor(i / (w * c)) % h, Math.floor(i / c) % w, i % c];
    const value = (t: RefTensor, shift: number) => {
      const place = at.map((v, k) => (k === axis ? v - shift : v));
      return t.data[place.reduce((sum, v, k) => sum * t.shape[k]! + v, 0)]!;
    };
    const along = at[axis]!;
    if (along < alone) return value(a, 0);
    if (along >= dim(a, axis)) return value(b, alone);
    const weight = (along - alone) / shared;
    return (1 - weight) * value(a, 0) + weight * value(b, alone);
  });
}

/** The part of a tile that counts. */
function cut(t: RefTensor, top: number, left: number): RefTensor {
  const [n, h, w, c] = t.shape as [number, number, number, number];
  const shape = [n, h - top, w - left, c];
  return tensor(shape, (i) => {
    const [k, pixel] = [i % c, Math.floor(i / c)];
    const [column, row] = [pixel % (w - left), Math.floor(pixel / (w - left)) % (h - top)];
    const image = Math.floor(pixel / ((w - left) * (h - top)));
    return t.data[((image * h + row + top) * w + column + left) * c + k]!;
  });
}

/**
 * @param tiles [N, h, w, C] each, row by row
 * @param shared pixels that neighbours share
 */
export function blend(
  tiles: readonly RefTensor[],
  rows: readonly TilePlace[],
  columns: readonly TilePlace[],
  shared: number,
): RefTensor {
  const bands = rows.map(({ first }, r) =>
    columns
      .map((place, c) => cut(tiles[r * columns.length + c]!, first, place.first))
      .reduce((a, b) => faded(a, b, 2, shared)),
  );
  return bands.reduce((a, b) => faded(a, b, 1, shared));
}
