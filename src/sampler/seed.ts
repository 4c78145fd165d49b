/** Seeds as callers give them, and whose noise they mean. */
import { UsageError } from "../runtime/errors.ts";
import { shown } from "../runtime/printable.ts";

export const rngs = ["philox", "torch", "torch-batch", "cuda"] as const;
/**
 * Where noise comes from. `philox`: a function of seed, image, step and place, on the GPU. `torch` and `cuda`: image i has a
 * generator of its own with seed + i. `torch-batch`: one generator with the seed draws for all images of the run.
 */
export type Rng = (typeof rngs)[number];

/**
 * Elements of a draw of `cuda` that are certain: as many as small GPUs run threads at once (a latent of 4 × 128 × 128). PyTorch launches no more threads than its
 * GPU holds; of a larger tensor the later elements are the second to fourth number of a thread, which depends on the GPU.
 */
export const CUDA_ELEMENTS = 65536;

/**
 * A seed as the generators take it.
 * @param option named in the error
 * @throws UsageError for anything but a whole number from 0 to 2^64-1
 */
export function wholeSeed(seed: number | bigint, option = "seed"): bigint {
  if (typeof seed !== "bigint" && !Number.isSafeInteger(seed)) {
    throw new UsageError(option, `${option} must be a whole number, got ${shown(seed)}; larger ones as bigint`);
  }
  const value = BigInt(seed);
  if (value < 0n || value > 0xffffffffffffffffn)
    throw new UsageError(option, `${option} must be within 0..2^64-1, got ${value}`);
  return value;
}
