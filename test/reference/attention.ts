/** Multi-head attention: softmax(q kᵀ · scale) v per image and head; head h owns channels h·d to (h+1)·d. */
import { dim, type RefTensor, tensor } from "./tensor.ts";

export interface AttentionArgs {
  /** [N, L, heads·d]. */
  q: RefTensor;
  /** [N, Lk, heads·d]. */
  k: RefTensor;
  /** [N, Lk, heads·d]. */
  v: RefTensor;
  heads: number;
  /** d^(−1/2) by default. */
  scale?: number;
}

export function attention({ q, k, v, heads, scale }: AttentionArgs): RefTensor {
  const [n, l, lk, c] = [dim(q, 0), dim(q, 1), dim(k, 1), dim(q, 2)];
  const d = c / heads;
  const [qs, ks, vs] = [q.data, k.data, v.data];
  const y = tensor([n, l, c], 0);
  for (let b = 0; b < n; b++)
    for (let h = 0; h < heads; h++)
      for (let i = 0; i < l; i++) {
        const query = (b * l + i) * c + h * d;
        const key = (j: number) => (b * lk + j) * c + h * d;
        const logits = new Float64Array(lk);
        for (let j = 0; j < lk; j++) {
          let dot = 0;
          for (let e = 0; e < d; e++) dot += qs[query + e]! * ks[key(j) + e]!;
          logits[j] = dot * (scale ?? d ** -0.5);
        }
        const largest = logits.reduce((a, x) => Math.max(a, x));
        const weights = logits.map((x) => Math.exp(x - largest));
        const total = weights.reduce((a, x) => a + x);
        for (let e = 0; e < d; e++) {
          let sum = 0;
          for (let j = 0; j < lk; j++) sum += weights[j]! * vs[key(j) + e]!;
          y.data[query + e] = sum / total;
        }
      }
  return y;
}
