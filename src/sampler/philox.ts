/**
 * Counter-based normal noise: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") and
 * Box–Muller. Every number is a function of (seed, image, step, pixel, channel), so image i is the same whatever the
 * batch, the order, the shard or the point of resumption. `docs/rng.md` is the specification; the GPU's kernel and this
 * file are two implementations of it.
 */

/** The step number under which the starting noise x_T is drawn; step i of a run draws under i. */
export const startStep = 0xffffffff;

/** Of the noise on a low-resolution picture, before any step. */
export const lowResolutionStep = 0xc0000000;

const multiplierA = 0xd2511f53;
const multiplierB = 0xcd9e8d57;
const weylA = 0x9e3779b9;
const weylB = 0xbb67ae85;

type Words4 = [number, number, number, number];

/** The upper 32 bits of the product of two unsigned 32-bit integers. */
function multiplyHigh(a: number, b: number): number {
  const a0 = a & 0xffff;
  const a1 = a >>> 16;
  const b0 = b & 0xffff;
  const b1 = b >>> 16;
  const middle = a1 * b0 + Math.floor((a0 * b0) / 0x10000);
  return (a1 * b1 + Math.floor((a0 * b1 + (middle % 0x10000)) / 0x10000) + Math.floor(middle / 0x10000)) >>> 0;
}

/** Ten rounds of Philox4x32 over four counter words with two key words, all unsigned 32-bit integers. */
export function philox4x32(counter: Readonly<Words4>, key: readonly [number, number]): Words4 {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const highA = multiplyHigh(multiplierA, c0);
    const highB = multiplyHigh(multiplierB, c2);
    const lowA = Math.imul(multiplierA, c0) >>> 0;
    const lowB = Math.imul(multiplierB, c2) >>> 0;
    [c0, c1, c2, c3] = [(highB ^ c1 ^ k0) >>> 0, lowB, (highA ^ c3 ^ k1) >>> 0, lowA];
    k0 = (k0 + weylA) >>> 0;
    k1 = (k1 + weylB) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** A word as an odd multiple of 2^-24 in (0, 1): exact in float32, never 0 or 1, symmetric about 1/2. */
export function uniform(word: number): number {
  return ((word >>> 8) | 1) / 0x1000000;
}

function boxMuller(u: number, v: number): [number, number] {
  const radius = Math.sqrt(-2 * Math.log(uniform(u)));
  const angle = 2 * Math.PI * uniform(v);
  return [radius * Math.cos(angle), radius * Math.sin(angle)];
}

/**
 * Four standard normal numbers: channels 4 · channelBlock .. 4 · channelBlock + 3 of one pixel.
 *
 * @param seed its low 64 bits are used
 * @param image number of the image in the whole run, not in a batch
 * @param step {@link startStep} for x_T, otherwise the step's number from 0
 * @param pixel h · W + w
 */
export function normal4(seed: bigint, image: number, step: number, pixel: number, channelBlock: number): Words4 {
  const low = Number(BigInt.asUintN(32, seed));
  const high = Number(BigInt.asUintN(32, seed >> 32n));
  const [u0, u1, u2, u3] = philox4x32([pixel, channelBlock, step >>> 0, image], [low, high]);
  return [...boxMuller(u0, u1), ...boxMuller(u2, u3)];
}

/** The noise that one image receives in one step, (channels, height, width) row-major. */
export function stepNoise(
  seed: bigint,
  image: number,
  step: number,
  [channels, height, width]: readonly [number, number, number],
): Float32Array {
  const pixels = height * width;
  const out = new Float32Array(channels * pixels);
  for (let block = 0; 4 * block < channels; block++) {
    for (let pixel = 0; pixel < pixels; pixel++) {
      const normals = normal4(seed, image, step, pixel, block);
      for (let k = 0; k < Math.min(4, channels - 4 * block); k++) out[(4 * block + k) * pixels + pixel] = normals[k]!;
    }
  }
  return out;
}

/** The starting noise x_T of one image, (C, H, W) row-major. */
export function initialNoise(seed: bigint, imageIndex: number, C: number, H: number, W: number): Float32Array {
  return stepNoise(seed, imageIndex, startStep, [C, H, W]);
}
