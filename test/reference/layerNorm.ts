/** LayerNorm over the last dimension, in two passes: [..., C] with gamma and beta [C]. */
import { dim, type RefTensor, tensor } from "./tensor.ts";

export interface LayerNormArgs {
  x: RefTensor;
  gamma: RefTensor;
  beta: RefTensor;
  eps: number;
}

export function layerNorm({ x, gamma, beta, eps }: LayerNormArgs): RefTensor {
  const c = dim(x, x.shape.length - 1);
  const y = tensor(x.shape, 0);
  for (let row = 0; row < x.data.length; row += c) {
    let mean = 0;
    for (let k = 0; k < c; k++) mean += x.data[row + k]! / c;
    let variance = 0;
    for (let k = 0; k < c; k++) variance += (x.data[row + k]! - mean) ** 2 / c;
    for (let k = 0; k < c; k++)
      y.data[row + k] = ((x.data[row + k]! - mean) / Math.sqrt(variance + eps)) * gamma.data[k]! + beta.data[k]!;
  }
  return y;
}
