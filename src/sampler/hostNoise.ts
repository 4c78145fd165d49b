/** Noise as other systems' generators draw it, one tensor after the other, on the host (docs/rng.md). */
import { cudaRandn } from "./cudaRandn.ts";
import type { Rng } from "./seed.ts";
import { TorchGenerator } from "./torchRandn.ts";

export interface HostNoise {
  readonly rng: Exclude<Rng, "philox">;
  readonly seed: bigint;
  /** Images of the whole run, and the number of its first one. */
  readonly count: number;
  readonly firstImage: number;
  /** Images 2j and 2j + 1 share their noise but for its sign; not with `torch-batch`. */
  readonly antithetic: boolean;
}

/** The next draw: [images, C, H, W]. */
export type Draw = () => Float32Array;

/**
 * The draws for images first … first + images - 1 of a run, `size` numbers each: the first is x_T's, unless that is given,
 * then comes one for every step that adds noise.
 */
export function hostDraws(noise: HostNoise, first: number, images: number, size: number): Draw {
  const { rng, seed, count, firstImage, antithetic } = noise;
  if (rng === "torch-batch") {
    const generator = new TorchGenerator(seed);
    return () => generator.randn(count * size).subarray(first * size, (first + images) * size);
  }
  const draws = Array.from({ length: images }, (_, i) => {
    const number = firstImage + first + i;
    const own = imageDraw(rng, seed + BigInt(antithetic ? number >>> 1 : number), size);
    return antithetic && number % 2 === 1 ? () => own().map((v) => -v) : own;
  });
  return () => {
    const all = new Float32Array(images * size);
    for (const [i, draw] of draws.entries()) all.set(draw(), i * size);
    return all;
  };
}

/** The draws of one image's own generator. */
function imageDraw(rng: "torch" | "cuda", seed: bigint, size: number): Draw {
  if (rng === "torch") {
    const generator = new TorchGenerator(seed);
    return () => generator.randn(size);
  }
  let drawn = 0;
  return () => cudaRandn(seed, drawn++, size);
}
