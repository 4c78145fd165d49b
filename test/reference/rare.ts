/** Operations of few networks, by their definitions in f64: images are [N, H, W, C]. */
import { dim, type RefTensor, tensor } from "./tensor.ts";

const at = (t: RefTensor, i: number): number => t.data[i] as number;

/** Every channel by itself under an odd kernel, zeros outside: weight [C, 1, K, K], bias [C]. */
export function depthwiseConv2d(x: RefTensor, weight: RefTensor, bias: RefTensor): RefTensor {
  const [, h, w, c, k] = [dim(x, 0), dim(x, 1), dim(x, 2), dim(x, 3), dim(weight, 2)];
  const half = (k - 1) / 2;
  return tensor(x.shape, (i) => {
    const [channel, ox, oy] = [i % c, Math.floor(i / c) % w, Math.floor(i / (c * w)) % h];
    const image = Math.floor(i / (c * w * h)) * h * w * c;
    let sum = at(bias, channel);
    for (let ky = 0; ky < k; ky++)
      for (let kx = 0; kx < k; kx++) {
        const [y, xx] = [oy + ky - half, ox + kx - half];
        if (y < 0 || xx < 0 || y >= h || xx >= w) continue;
        sum += at(x, image + (y * w + xx) * c + channel) * at(weight, (channel * k + ky) * k + kx);
      }
    return sum;
  });
}

export interface TransposedArgs {
  readonly x: RefTensor;
  /** [O, C, K, K]. */
  readonly weight: RefTensor;
  readonly bias: RefTensor;
  readonly stride: number;
  readonly pad: number;
}

/** Every input pixel spreads its kernel over the output. */
export function transposedConv2d({ x, weight, bias, stride, pad }: TransposedArgs): RefTensor {
  const [n, h, w, c] = [dim(x, 0), dim(x, 1), dim(x, 2), dim(x, 3)];
  const [o, k] = [dim(weight, 0), dim(weight, 2)];
  const size = (side: number) => (side - 1) * stride - 2 * pad + k;
  const [ho, wo] = [size(h), size(w)];
  const y = tensor([n, ho, wo, o], (i) => at(bias, i % o));
  for (let p = 0; p < n * h * w; p++) {
    const [ix, iy, image] = [p % w, Math.floor(p / w) % h, Math.floor(p / (w * h))];
    for (let ky = 0; ky < k; ky++)
      for (let kx = 0; kx < k; kx++) {
        const [oy, ox] = [iy * stride - pad + ky, ix * stride - pad + kx];
        if (oy < 0 || ox < 0 || oy >= ho || ox >= wo) continue;
        for (let j = 0; j < o; j++) {
          let sum = 0;
          for (let i = 0; i < c; i++) sum += at(x, p * c + i) * at(weight, ((j * c + i) * k + ky) * k + kx);
          y.data[((image * ho + oy) * wo + ox) * o + j] = at(y, ((image * ho + oy) * wo + ox) * o + j) + sum;
        }
      }
  }
  return y;
}

function softmax(values: number[]): number[] {
  const most = values.reduce((a, b) => Math.max(a, b));
  const powers = values.map((v) => Math.exp(v - most));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((p) => p / sum);
}

export interface LinearAttentionArgs {
  /** [N, L, heads·d]; keys and values may have another L. */
  readonly q: RefTensor;
  readonly k: RefTensor;
  readonly v: RefTensor;
  readonly heads: number;
  readonly scale: number;
}

/** Queries weighted over a head's channels, keys over tokens; the context of a head is d by d. */
export function linearAttention({ q, k, v, heads, scale }: LinearAttentionArgs): RefTensor {
  const [n, l, lk, c] = [dim(q, 0), dim(q, 1), dim(k, 1), dim(q, 2)];
  const d = c / heads;
  const y = tensor([n, l, c], 0);
  const range = (count: number) => Array.from({ length: count }, (_, i) => i);
  for (let b = 0; b < n; b++)
    for (let h = 0; h < heads; h++) {
      const place = (token: number, i: number, length: number) => (b * length + token) * c + h * d + i;
      const context = range(d).map((i) => {
        const weights = softmax(range(lk).map((token) => at(k, place(token, i, lk))));
        return range(d).map((e) => weights.reduce((sum, p, token) => sum + p * at(v, place(token, e, lk)), 0));
      });
      for (let token = 0; token < l; token++) {
        const weights = softmax(range(d).map((i) => at(q, place(token, i, l))));
        for (let e = 0; e < d; e++)
          y.data[place(token, e, l)] = scale * weights.reduce((sum, p, i) => sum + p * (context[i]?.[e] as number), 0);
      }
    }
  return y;
}

/** Every pixel's channels to length √C, times gamma; then scale and shift [N, 2·C], where they are given. */
export function rmsNorm(x: RefTensor, gamma: RefTensor, emb?: RefTensor): RefTensor {
  const c = dim(x, 3);
  const perImage = x.data.length / dim(x, 0);
  const lengths = tensor([x.data.length / c], (row) => {
    let sum = 0;
    for (let i = 0; i < c; i++) sum += at(x, row * c + i) ** 2;
    return Math.max(Math.sqrt(sum), 1e-12);
  });
  return tensor(x.shape, (i) => {
    const y = ((at(x, i) * Math.sqrt(c)) / at(lengths, Math.floor(i / c))) * at(gamma, i % c);
    const row = Math.floor(i / perImage) * 2 * c + (i % c);
    return emb ? y * (1 + at(emb, row)) + at(emb, row + c) : y;
  });
}

/** The first two thirds of the channels, each divided by its length over an image's pixels, times its third's scale. */
export function unitChannels(x: RefTensor, scales: readonly number[]): RefTensor {
  const [n, c] = [dim(x, 0), dim(x, 3)];
  const pixels = x.data.length / n / c;
  const lengths = tensor([n, c], (i) => {
    let sum = 0;
    for (let p = 0; p < pixels; p++) sum += at(x, (Math.floor(i / c) * pixels + p) * c + (i % c)) ** 2;
    return Math.max(Math.sqrt(sum), 1e-12);
  });
  return tensor(x.shape, (i) => {
    const scale = scales[Math.floor((3 * (i % c)) / c)];
    return scale === undefined
      ? at(x, i)
      : (at(x, i) * scale) / at(lengths, Math.floor(i / (c * pixels)) * c + (i % c));
  });
}
