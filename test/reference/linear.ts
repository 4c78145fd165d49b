/** The dense layer y = x Wᵀ + b: x [M, K], weight [O, K] as checkpoints store it, bias [O] → [M, O]. */
import { dim, type RefTensor, tensor } from "./tensor.ts";

export interface LinearArgs {
  x: RefTensor;
  weight: RefTensor;
  bias?: RefTensor;
}

export function linear({ x, weight, bias }: LinearArgs): RefTensor {
  const [k, o] = [dim(x, 1), dim(weight, 0)];
  const [xs, ws] = [x.data, weight.data];
  return tensor([dim(x, 0), o], (i) => {
    const [m, j] = [Math.floor(i / o), i % o];
    let sum = bias ? bias.data[j]! : 0;
    for (let c = 0; c < k; c++) sum += xs[m * k + c]! * ws[j * k + c]!;
    return sum;
  });
}
