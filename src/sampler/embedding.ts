/**
 * The sinusoids of a timestep, made on the host in float64: WGSL promises sine and cosine only to 2^-11.
 */
import { UsageError } from "../runtime/errors.ts";

export interface SinusoidOptions {
  /** true: cosines first, then sines. */
  flip_sin_to_cos: boolean;
  /** 0 or 1; the slowest frequency is 1/theta^((half - 1)/(half - freq_shift)). */
  freq_shift: number;
  /** Default 10000. */
  theta?: number;
}

/**
 * The `dim` sinusoids of timestep t (fractions allowed): sin then cos of t · theta^(-i/(half - freq_shift)),
 * i = 0..half-1, half = ⌊dim/2⌋; an odd `dim` ends with a zero (diffusers get_timestep_embedding).
 *
 * @throws UsageError when half equals freq_shift, where the frequencies are 0/0
 */
export function timestepSinusoid(t: number, dim: number, options: SinusoidOptions): Float64Array {
  const { flip_sin_to_cos, freq_shift, theta = 10000 } = options;
  const half = Math.floor(dim / 2);
  if (half <= freq_shift)
    throw new UsageError("freq_shift", `freq_shift ${freq_shift} leaves no frequencies for ${dim} channels`);
  const out = new Float64Array(dim);
  for (let i = 0; i < half; i++) {
    const angle = t * Math.exp((-Math.log(theta) * i) / (half - freq_shift));
    out[flip_sin_to_cos ? half + i : i] = Math.sin(angle);
    out[flip_sin_to_cos ? i : half + i] = Math.cos(angle);
  }
  return out;
}
