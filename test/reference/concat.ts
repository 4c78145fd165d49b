/** Concatenation of two NHWC tensors along the channels. */
import { dim, type RefTensor, tensor } from "./tensor.ts";

export function concat(a: RefTensor, b: RefTensor): RefTensor {
  const ca = dim(a, 3);
  const cb = dim(b, 3);
  return tensor([...a.shape.slice(0, 3), ca + cb], (i) => {
    const c = i % (ca + cb);
    const pixel = (i - c) / (ca + cb);
    return c < ca ? a.data[pixel * ca + c]! : b.data[pixel * cb + c - ca]!;
  });
}
