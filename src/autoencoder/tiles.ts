/**
 * How latents are cut into tiles of one size: each shares a quarter of its side with the next, as diffusers has it
 * (AutoencoderKL.tiled_decode). The last tile of a line or column lies at the end, with more around it to see than diffusers
 * leaves it; what it would share beyond the quarter does not count.
 */

/** Sides of tiles are multiples of this, so that a quarter is a whole number. */
const STEP = 4;

/** Along one axis, in latents. */
export interface Span {
  /** Where the tile begins. */
  readonly at: number;
  /** The first of the tile that counts. */
  readonly first: number;
  /** How many are shared with the tile before, from `first` on, and with the one after, at the end. */
  readonly before: number;
  readonly after: number;
}

/** @param side of a tile, a multiple of 4; all of `length` where that is less */
export function spans(length: number, side: number): Span[] {
  if (length <= side) return [{ at: 0, first: 0, before: 0, after: 0 }];
  const shared = side / 4;
  const count = Math.ceil((length - shared) / (side - shared));
  return Array.from({ length: count }, (_, i) => {
    const start = i * (side - shared);
    const last = i === count - 1;
    const at = last ? length - side : start;
    return { at, first: start - at, before: i === 0 ? 0 : shared, after: last ? 0 : shared };
  });
}

/** Sides to try, from `largest` down to 8, for latents of which at least one side is longer. */
export function tileSides(largest: number, height: number, width: number): number[] {
  const first = Math.floor(Math.min(largest, Math.max(height, width) - 1) / STEP) * STEP;
  return Array.from({ length: Math.max(0, first / STEP - 1) }, (_, i) => first - i * STEP);
}
