/** Which random numbers a run gets, checked. */
import { UsageError } from "../runtime/errors.ts";
import { shown } from "../runtime/printable.ts";
import { CUDA_ELEMENTS, type Rng, rngs, wholeSeed } from "../sampler/seed.ts";
import type { GenerateOptions } from "./types.ts";

/** Images that a seed can number: Philox's counter has 32 bits for them. */
const MOST_IMAGES = 2 ** 32;
/** Images of a run: all are in memory at its end, and of the smallest a gigabyte holds no more. */
const MOST_AT_ONCE = 2 ** 20;

/** 32 random bits where there is no seed: short enough to type again. */
export function resolveSeed(seed: number | bigint | undefined): bigint {
  if (seed !== undefined) return wholeSeed(seed);
  return BigInt((crypto.getRandomValues(new Uint32Array(1)) as Uint32Array)[0] as number);
}

/** @param count images of the run */
export function resolveFirstImage({ firstImage = 0 }: GenerateOptions, count: number): number {
  if (count > MOST_IMAGES)
    throw new UsageError("count", `count must be at most 2^32, the images of a seed, got ${count}`);
  if (count > MOST_AT_ONCE)
    throw new UsageError(
      "count",
      `count must be at most ${MOST_AT_ONCE} in one run, got ${count}; firstImage goes on after them`,
    );
  if (!Number.isInteger(firstImage) || firstImage < 0 || firstImage + count > MOST_IMAGES)
    throw new UsageError(
      "firstImage",
      `firstImage must be a whole number from 0 to ${MOST_IMAGES - count} (2^32 images of a seed, of which the run has ${count}), got ${shown(firstImage)}`,
    );
  return firstImage;
}

/** @throws UsageError for options that one generator for the whole run cannot serve */
export function resolveRng({ rng = "philox", firstImage = 0, antithetic = false }: GenerateOptions): Rng {
  if (!rngs.includes(rng)) throw new UsageError("rng", `rng must be one of ${rngs.join(", ")}, got ${rng}`);
  const together = "rng torch-batch draws the noise of all images of a run together";
  if (rng === "torch-batch" && firstImage !== 0)
    throw new UsageError("firstImage", `${together}, so a run cannot begin at image ${firstImage}; use rng torch`);
  if (rng === "torch-batch" && antithetic)
    throw new UsageError("antithetic", `${together}, so there are no antithetic pairs; use rng torch`);
  return rng;
}

/** @param elements numbers of one state */
export function rngWarnings(rng: Rng, elements: number): string[] {
  if (rng !== "cuda" || elements <= CUDA_ELEMENTS) return [];
  return [
    `rng cuda: a state has ${elements} numbers, and which ones PyTorch draws after the first ${CUDA_ELEMENTS} depends on its GPU`,
  ];
}
