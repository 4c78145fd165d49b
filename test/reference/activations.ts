/** The pointwise activations of UNets, in f64. `gelu` is the exact erf form, never the tanh approximation. */
import { type RefTensor, tensor } from "./tensor.ts";

export type Act = "none" | "silu" | "relu" | "gelu" | "mish";

/**
 * The error function to 1e-15: below 2 the series erf x = 2/√π e^(−x²) Σ 2^n x^(2n+1) / (2n+1)!!, whose terms are all
 * positive; from there 1 − erfc by its continued fraction (Abramowitz and Stegun 7.1.6 and 7.1.14).
 */
export function erf(x: number): number {
  if (x < 0) return -erf(-x);
  if (x < 2) {
    let term = x;
    let sum = x;
    for (let n = 1; term > sum * 1e-17; n++) {
      term *= (2 * x * x) / (2 * n + 1);
      sum += term;
    }
    return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
  }
  let fraction = x;
  for (let k = 80; k > 0; k--) fraction = x + k / 2 / fraction;
  return 1 - Math.exp(-x * x) / Math.sqrt(Math.PI) / fraction;
}

/** One activation of one number; `swish` is another name of `silu`. */
export function activate(act: Act | "swish", x: number): number {
  if (act === "silu" || act === "swish") return x / (1 + Math.exp(-x));
  if (act === "relu") return Math.max(x, 0);
  if (act === "gelu") return 0.5 * x * (1 + erf(x / Math.SQRT2));
  if (act === "mish") return x * Math.tanh(Math.log1p(Math.exp(x)));
  return x;
}

export const activation = (x: RefTensor, act: Act | "swish"): RefTensor =>
  tensor(x.shape, (i) => activate(act, x.data[i]!));
