/**
 * Made-up weights: a safetensors file that exists only as a formula, in a model that has a configuration and nothing
 * else. For measuring networks of real size without their checkpoints: time and memory do not depend on the numbers, as
 * long as they stay finite, and the same seed gives the same numbers everywhere.
 *
 * Every value is uniform and a function of (seed, tensor's name, index). Matrices and kernels have a standard deviation
 * of 0.9/√fan-in, so that activations keep their size; norms' weights are 1 ± 0.2, biases ± 0.1 (standard deviations).
 */
import { layOut } from "./encode.ts";
import type { ExpectedTensor } from "./match.ts";
import { checkPath, joinPath, label } from "./path.ts";
import { checkRange, delegating, type ModelSource, readInto } from "./source.ts";

const WEIGHTS = "diffusion_pytorch_model.safetensors";
/** Files that would be taken for weights too. */
const OTHER_WEIGHTS = /\.(safetensors|bin|ckpt|pt|pth|pdparams)(\.index\S*)?(\.json)?$/;

interface MadeTensor {
  readonly start: number;
  readonly end: number;
  readonly keys: readonly [number, number];
  readonly mean: number;
  readonly deviation: number;
}

/**
 * A model whose weights in `folder` are made from `seed`, whatever weights are there; every other file is the source's.
 * @param tensors names and shapes of all that the file shall hold, as float32
 * @param seed its low 64 bits are used
 */
export function withRandomWeights(
  source: ModelSource,
  folder: string,
  tensors: Iterable<ExpectedTensor>,
  seed: bigint,
): ModelSource {
  const path = joinPath(folder, WEIGHTS);
  const { header, made, size } = places(tensors, seed);
  const isHidden = (path: string) =>
    path.slice(0, Math.max(0, path.lastIndexOf("/"))) === folder && OTHER_WEIGHTS.test(path);
  const readMade = async (start: number, target: Uint8Array, signal?: AbortSignal) => {
    signal?.throwIfAborted();
    const end = start + target.byteLength;
    checkRange(label(source, path), start, end, size);
    if (start < header.byteLength) target.set(header.subarray(start, end));
    for (const tensor of made) if (tensor.start < end && tensor.end > start) fill(tensor, start, target);
  };
  return {
    ...delegating(source),
    weights: undefined,
    async read(other, range, signal, limit) {
      if (checkPath(source, other) !== path) return source.read(other, range, signal, limit);
      const { start, end } = range ?? { start: 0, end: size };
      checkRange(label(source, path), start, end, size);
      const bytes = new Uint8Array(end - start);
      await readMade(start, bytes, signal);
      return bytes;
    },
    async readInto(other, start, target, signal) {
      if (checkPath(source, other) === path) return readMade(start, target, signal);
      return readInto(source, other, start, target, signal);
    },
    size: async (other, signal) => (checkPath(source, other) === path ? size : source.size(other, signal)),
    exists: async (other, signal) =>
      checkPath(source, other) === path || (!isHidden(other) && (await source.exists(other, signal))),
    stamp: undefined,
    list:
      source.list &&
      (async (place, signal) => {
        const names = (await source.list?.(place, signal)) ?? [];
        return place === folder ? [...names.filter((name) => !isHidden(joinPath(place, name))), WEIGHTS] : names;
      }),
  };
}

/** The file's header and the places of its tensors, one after the other. */
function places(tensors: Iterable<ExpectedTensor>, seed: bigint) {
  const all = [...tensors];
  const { header, bytes } = layOut(all.map(({ name, shape }) => ({ name, dtype: "F32", shape })));
  const made: MadeTensor[] = [];
  let end = header.length;
  for (const { name, shape } of all) {
    const start = end;
    end += 4 * shape.reduce((product, dimension) => product * dimension, 1);
    made.push({ start, end, keys: keysOf(name, seed), ...distribution(name, shape) });
  }
  return { header, made, size: header.length + bytes };
}

function distribution(name: string, shape: readonly number[]): { mean: number; deviation: number } {
  const fanIn = shape.slice(1).reduce((product, dimension) => product * dimension, 1);
  if (shape.length > 1) return { mean: 0, deviation: 0.9 / Math.sqrt(fanIn) };
  return name.endsWith("weight") ? { mean: 1, deviation: 0.2 } : { mean: 0, deviation: 0.1 };
}

/** Writes a tensor's bytes into a piece of the file that begins at byte `from`. */
function fill({ start, end, keys, mean, deviation }: MadeTensor, from: number, target: Uint8Array): void {
  const begin = Math.max(start, from);
  const stop = Math.min(end, from + target.byteLength);
  const first = Math.floor((begin - start) / 4);
  const values = new Float32Array(Math.ceil((stop - start) / 4) - first);
  // A uniform number on an interval of width 1 has a variance of 1/12.
  const width = deviation * Math.sqrt(12);
  const low = mean - width / 2;
  for (let i = 0; i < values.length; i++) values[i] = low + width * uniform(first + i, keys);
  const offset = begin - start - 4 * first;
  target.set(new Uint8Array(values.buffer, offset, stop - begin), begin - from);
}

/** In (0, 1), with 24 bits. */
const uniform = (index: number, [a, b]: readonly [number, number]): number =>
  ((mix(mix(index ^ a) ^ b) >>> 8) + 0.5) / 0x1000000;

/** A permutation of 32-bit integers in which every bit of the input changes half of the output (Wellons' lowbias32). */
function mix(x: number): number {
  let h = x;
  h = Math.imul(h ^ (h >>> 16), 0x7feb352d);
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
  return h ^ (h >>> 16);
}

function keysOf(name: string, seed: bigint): [number, number] {
  const low = Number(BigInt.asIntN(32, seed));
  const high = Number(BigInt.asIntN(32, seed >> 32n));
  let hash = 0;
  for (const character of name) hash = mix(hash ^ (character.codePointAt(0) as number)) + 1;
  return [mix(hash ^ mix(low)), mix(mix(hash) ^ mix(high ^ 0x5bd1e995))];
}
