/**
 * Network range to bytes, bit by bit as diffusers' image processor does it: clamp(x/2 + 0.5, 0, 1) · 255, every step
 * rounded to float32, then round half to even. One channel becomes grey; alpha is 255.
 */
import { dim, type RefTensor } from "./tensor.ts";

/** [N, H, W, 1 or 3] → N·H·W RGBA pixels. */
export function toRgba(x: RefTensor): Uint8ClampedArray {
  const c = dim(x, 3);
  const pixels = x.data.length / c;
  const rgba = new Uint8ClampedArray(4 * pixels).fill(255);
  for (let p = 0; p < pixels; p++)
    for (let k = 0; k < 3; k++) {
      const unit = Math.fround(Math.fround(x.data[p * c + (c === 1 ? 0 : k)]! / 2) + 0.5);
      const scaled = Math.fround(Math.min(Math.max(unit, 0), 1) * 255);
      const floor = Math.floor(scaled);
      const up = scaled - floor > 0.5 || (scaled - floor === 0.5 && floor % 2 === 1);
      rgba[4 * p + k] = up ? floor + 1 : floor;
    }
  return rgba;
}
