/** Nearest-neighbour enlargement by two: [N, H, W, C] → [N, 2H, 2W, C]. */
import { dim, type RefTensor, tensor } from "./tensor.ts";

export function upsample(x: RefTensor): RefTensor {
  const [n, h, w, c] = [dim(x, 0), dim(x, 1), dim(x, 2), dim(x, 3)];
  const y = tensor([n, 2 * h, 2 * w, c], 0);
  for (let b = 0; b < n; b++)
    for (let i = 0; i < 2 * h; i++)
      for (let j = 0; j < 2 * w; j++)
        for (let k = 0; k < c; k++)
          y.data[((b * 2 * h + i) * 2 * w + j) * c + k] = x.data[((b * h + (i >> 1)) * w + (j >> 1)) * c + k]!;
  return y;
}
