/** GEGLU over the last dimension: a·gelu(b) of its two halves a and b, gelu in its exact form. */
import { activate } from "./activations.ts";
import { dim, type RefTensor, tensor } from "./tensor.ts";

export function geglu(x: RefTensor): RefTensor {
  const c = dim(x, x.shape.length - 1) / 2;
  return tensor([...x.shape.slice(0, -1), c], (i) => {
    const at = Math.floor(i / c) * 2 * c + (i % c);
    return (x.data[at] as number) * activate("gelu", x.data[at + c] as number);
  });
}
