/**
 * Sinusoidal timestep embedding as diffusers' `get_timestep_embedding` defines it: half = ⌊dim/2⌋ frequencies
 * 10000^(−i / (half − freqShift)), sines first unless `flipSinToCos`, a zero at the end of an odd dimension.
 */
import { type RefTensor, tensor } from "./tensor.ts";

export interface TimestepEmbeddingArgs {
  /** N timesteps, whole or fractional. */
  timesteps: readonly number[];
  dim: number;
  flipSinToCos: boolean;
  freqShift: number;
}

/** [N, dim]. */
export function timestepEmbedding({ timesteps, dim, flipSinToCos, freqShift }: TimestepEmbeddingArgs): RefTensor {
  const half = Math.floor(dim / 2);
  return tensor([timesteps.length, dim], (i) => {
    const column = i % dim;
    if (column === 2 * half) return 0;
    const angle = timesteps[Math.floor(i / dim)]! * 10000 ** (-(column % half) / (half - freqShift));
    return column < half === flipSinToCos ? Math.cos(angle) : Math.sin(angle);
  });
}
