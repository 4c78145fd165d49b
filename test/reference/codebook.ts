/** Vector quantisation: every pixel's nearest row of a codebook by squared distance, the first of equally near ones. */
import { dim, type RefTensor, tensor } from "./tensor.ts";

export interface CodebookArgs {
  /** [N, H, W, C]. */
  x: RefTensor;
  /** [K, C]. */
  table: RefTensor;
}

/** Numbers of the rows [N, H, W], and the rows themselves in the shape of x. */
export function codebook({ x, table }: CodebookArgs): { indices: RefTensor; y: RefTensor } {
  const [rows, c] = [dim(table, 0), dim(table, 1)];
  const distance = (pixel: number, row: number) => {
    let sum = 0;
    for (let i = 0; i < c; i++) sum += (x.data[pixel * c + i]! - table.data[row * c + i]!) ** 2;
    return sum;
  };
  const indices = tensor(x.shape.slice(0, 3), (pixel) => {
    let nearest = 0;
    for (let row = 1; row < rows; row++) if (distance(pixel, row) < distance(pixel, nearest)) nearest = row;
    return nearest;
  });
  return { indices, y: tensor(x.shape, (i) => table.data[indices.data[Math.floor(i / c)]! * c + (i % c)]!) };
}
