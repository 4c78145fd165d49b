/** Mean of 2×2 blocks with stride 2; an odd last row or column is dropped: [N, H, W, C] → [N, ⌊H/2⌋, ⌊W/2⌋, C]. */
import { dim, type RefTensor, tensor } from "./tensor.ts";

export function avgPool2(x: RefTensor): RefTensor {
  const [n, h, w, c] = [dim(x, 0), dim(x, 1), dim(x, 2), dim(x, 3)];
  const [ho, wo] = [h >> 1, w >> 1];
  const y = tensor([n, ho, wo, c], 0);
  for (let b = 0; b < n; b++)
    for (let i = 0; i < ho; i++)
      for (let j = 0; j < wo; j++)
        for (let k = 0; k < c; k++) {
          let sum = 0;
          for (let di = 0; di < 2; di++)
            for (let dj = 0; dj < 2; dj++) sum += x.data[((b * h + 2 * i + di) * w + 2 * j + dj) * c + k]!;
          y.data[((b * ho + i) * wo + j) * c + k] = sum / 4;
        }
  return y;
}
