/**
 * What every f64 oracle in this folder shares: a tensor is a shape and its values in row-major order. Activations are
 * logical NHWC without channel padding, convolution weights are the checkpoint's OIHW. Nothing here imports from `src/`,
 * so that an oracle cannot inherit the mistake that it is there to find.
 */

export interface RefTensor {
  shape: number[];
  data: Float64Array;
}

export const numel = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** A tensor whose values are `fill`, or `fill(i)` of the flat index, or a copy of the given values. */
export function tensor(
  shape: readonly number[],
  fill: number | ArrayLike<number> | ((i: number) => number),
): RefTensor {
  const data = new Float64Array(numel(shape));
  if (typeof fill === "number") data.fill(fill);
  else if (typeof fill === "function") for (let i = 0; i < data.length; i++) data[i] = fill(i);
  else if (fill.length === data.length) data.set(fill);
  else throw new Error(`tensor [${shape.join(", ")}] was given ${fill.length} values`);
  return { shape: [...shape], data };
}

/** Dimension `i` of a tensor's shape. */
export const dim = (t: RefTensor, i: number): number => t.shape[i]!;

/** Uniform numbers in (0, 1) from a 32-bit counter and an integer hash ("lowbias32"): the same on every machine. */
export function uniforms(seed: number): () => number {
  let counter = Math.imul(seed, 0x9e3779b9);
  return () => {
    counter = (counter + 0x6d2b79f5) | 0;
    let h = Math.imul(counter ^ (counter >>> 16), 0x7feb352d);
    h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
    return ((h ^ (h >>> 16)) >>> 0) / 2 ** 32 + 2 ** -33;
  };
}

/** Normal numbers `mean + scale n`, rounded to f32 so that what the GPU is given is exact. Deterministic in `seed`. */
export function randomTensor(
  shape: readonly number[],
  seed: number,
  { scale = 1, mean = 0 }: { scale?: number; mean?: number } = {},
): RefTensor {
  const u = uniforms(seed);
  return tensor(shape, () => Math.fround(mean + scale * Math.sqrt(-2 * Math.log(u())) * Math.cos(2 * Math.PI * u())));
}

/** Σ (actual − expected)² / Σ expected². NaN when anything is NaN, so that no comparison passes by accident. */
export function nmse(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  const [a, e] = paired(actual, expected);
  const error = e.reduce((sum, v, i) => sum + (a[i]! - v) ** 2, 0);
  return error === 0 ? 0 : error / e.reduce((sum, v) => sum + v ** 2, 0);
}

/** max |actual − expected|. NaN when anything is NaN. */
export function maxAbs(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  const [a, e] = paired(actual, expected);
  return e.reduce((worst, v, i) => Math.max(worst, Math.abs(a[i]! - v)), 0);
}

function paired(actual: ArrayLike<number>, expected: ArrayLike<number>): [Float64Array, Float64Array] {
  if (actual.length !== expected.length) throw new Error(`${actual.length} values against ${expected.length}`);
  return [Float64Array.from(actual), Float64Array.from(expected)];
}
