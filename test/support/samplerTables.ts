/** The tables that the sampler's kernels read, spelled out: src/kernels/sampling/records.ts says what their words mean. */
import type { Update } from "../../src/kernels/sampling/records.ts";

const bits = (v: number) => new Uint32Array(Float32Array.of(v).buffer)[0] as number;

export function runWords(seed: bigint, images: readonly number[], scale = 1): number[] {
  const head = [Number(seed & 0xffffffffn), Number(seed >> 32n), 0, 0];
  return [...head, ...images.flatMap((image) => [image, 0, bits(scale), 0])];
}

/** One row: k0 to k4, the bound of x0 (0: none), σ. */
export function rowOf([k0 = 0, k1 = 0, k2 = 0, k3 = 0, k4 = 0]: readonly number[], clip = 0, sigma = 0): Update {
  return { k0, k1, clip, guided: true, k2, k3, k4, sigma };
}

/** Flags of the plain step. */
export const stepFlags = (flags: { guided?: boolean; noise?: boolean; wider?: boolean } = {}) =>
  ({
    guided: flags.guided ?? false,
    rescale: false,
    wider: flags.wider ?? false,
    threshold: false,
    noise: flags.noise ? "philox" : "none",
    learned: false,
  }) as const;
