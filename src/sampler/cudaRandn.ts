/**
 * torch.randn on a CUDA device, float32, as other programs imitate it (stable-diffusion.cpp's `--rng cuda`,
 * stable-diffusion-webui's rng_philox): Philox4x32-10 with the seed as its key, of which element i of a draw takes counter
 * i, and one normal number of each four words.
 */
import { philox4x32 } from "./philox.ts";

/** 2^-32, and 2π as a float32 times it: what curand multiplies a word by. */
const UNIT = 2 ** -32;
const TURN = Math.fround(UNIT * Math.fround(2 * Math.PI));

/**
 * @param seed torch.cuda.manual_seed; its low 64 bits
 * @param draw how many tensors the generator has drawn before
 */
export function cudaRandn(seed: bigint, draw: number, count: number): Float32Array {
  const key = [Number(BigInt.asUintN(32, seed)), Number(BigInt.asUintN(32, seed >> 32n))] as const;
  return Float32Array.from({ length: count }, (_, i) => {
    const [u, v] = philox4x32([draw, 0, i, 0], key);
    return Math.sqrt(-2 * Math.log(u * UNIT + UNIT / 2)) * Math.sin(v * TURN + TURN / 2);
  });
}
