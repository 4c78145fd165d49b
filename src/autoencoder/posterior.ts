/** The distribution that an encoder of kind `kl` gives: independent normals (diffusers, DiagonalGaussianDistribution). */
import { ShapeError } from "../runtime/errors.ts";
import type { Tensor } from "../runtime/layout.ts";
import { checkKind } from "../runtime/options.ts";

export interface Posterior {
  /** [N, C, H, W] */
  readonly mean: Tensor;
  /** ln σ², bounded to −30..20. */
  readonly logvar: Tensor;
}

const BOUNDS = [-30, 20] as const;

/** @param moments [N, 2C, H, W]: the mean's channels, then those of ln σ² */
export function posterior({ shape, data }: Tensor): Posterior {
  const [n = 0, channels = 0, ...size] = shape;
  const half = (channels / 2) * size.reduce((a, b) => a * b, 1);
  const part = (offset: number, map: (v: number) => number): Tensor => {
    const out = new Float32Array(n * half);
    for (let i = 0; i < n; i++)
      for (let j = 0; j < half; j++) out[i * half + j] = map(data[i * 2 * half + offset + j] as number);
    return { shape: [n, channels / 2, ...size], data: out };
  };
  const [least, most] = BOUNDS;
  return { mean: part(0, (v) => v), logvar: part(half, (v) => Math.min(Math.max(v, least), most)) };
}

/**
 * A sample: mean + σ·noise.
 * @param noise standard normal, in the shape of the mean
 * @throws UsageError, ShapeError
 */
export function samplePosterior(posterior: Posterior, noise: Tensor): Tensor {
  checkKind("samplePosterior", "posterior", "an object", posterior);
  const { mean, logvar } = posterior;
  for (const [name, tensor] of Object.entries({ mean, logvar, noise }))
    checkKind("samplePosterior", name, "a tensor { shape, data: Float32Array }", tensor);
  if (noise.shape.join() !== mean.shape.join() || noise.data.length !== mean.data.length)
    throw new ShapeError("samplePosterior", "noise", `[${mean.shape.join(", ")}]`, noise.shape);
  const data = mean.data.map((v, i) => v + Math.exp((logvar.data[i] as number) / 2) * (noise.data[i] as number));
  return { shape: mean.shape, data };
}
