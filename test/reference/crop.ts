/** The top left h × w pixels of [N, H, W, C]. */
import { dim, type RefTensor, tensor } from "./tensor.ts";

export function crop(x: RefTensor, h: number, w: number): RefTensor {
  const [n, height, width, c] = [dim(x, 0), dim(x, 1), dim(x, 2), dim(x, 3)];
  return tensor([n, h, w, c], (i) => {
    const pixel = Math.floor(i / c);
    const [column, row, image] = [pixel % w, Math.floor(pixel / w) % h, Math.floor(pixel / (w * h))];
    return x.data[((image * height + row) * width + column) * c + (i % c)] as number;
  });
}
