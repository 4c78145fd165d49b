/** The tensors of one network, in one file or in several, by name. */

import { FileError } from "../runtime/errors.ts";
import { canDecode, decodeFloats } from "./convert.ts";
import { canDigest, type Digests, DigestWalk } from "./digests.ts";
import { DTYPE_BITS } from "./dtype.ts";
import { isPickle, locateWeights } from "./locate.ts";
import { canonicalName, unwrapping } from "./names.ts";
import { label } from "./path.ts";
import { pickleSource } from "./pickle/lazy.ts";
import { readHeader, type TensorInfo } from "./safetensors.ts";
import { expectedShards, readFile, readShards } from "./shards.ts";
import { type ModelSource, readInto } from "./source.ts";
import { type StreamOptions, streamTensors, type TensorPiece } from "./stream.ts";

/** Consecutive values of one tensor, as float32. */
export interface FloatPiece {
  /** The tensor's name in {@link Checkpoint.tensors}. */
  readonly name: string;
  readonly tensor: TensorInfo;
  /** Index in the tensor of the first value. */
  readonly offset: number;
  /** Valid until the next piece is asked for: the buffer is used again. */
  readonly values: Float32Array;
}

/** Tensors by name, read when asked for. */
export class Checkpoint {
  /** How messages name it: the file, or the index of a sharded checkpoint. */
  readonly file: string;
  /** Headers only. The keys are today's names, see {@link canonicalName}; `TensorInfo.name` is the file's own. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** Bytes of all the tensors together. */
  readonly totalBytes: number;
  /** The `__metadata__` of the files. */
  readonly metadata: Readonly<Record<string, string>>;
  /** What stands before every name in the file and is left out of the keys; "" nearly always. */
  readonly prefix: string;
  /** Sentences about how the files were read. */
  readonly warnings: readonly string[];
  /** Where its files are read from: a pickle's is the pickle as safetensors. */
  readonly source: ModelSource;
  readonly #digests: Digests | undefined;

  /** @param options.hashed whether tensors are hashed as they are read, see {@link digests} */
  constructor(
    source: ModelSource,
    file: string,
    tensors: ReadonlyMap<string, TensorInfo>,
    metadata: Readonly<Record<string, string>>,
    { hashed = false, prefix = "", warnings = [] }: { hashed?: boolean; prefix?: string; warnings?: string[] } = {},
  ) {
    this.prefix = prefix;
    this.warnings = warnings;
    this.source = source;
    this.#digests = hashed && canDigest() ? new Map() : undefined;
    this.file = file;
    this.tensors = tensors;
    this.metadata = metadata;
    this.totalBytes = [...tensors.values()].reduce((sum, tensor) => sum + tensor.end - tensor.start, 0);
  }

  /** @throws FileError when there is no tensor of that name. */
  info(name: string): TensorInfo {
    const tensor = this.tensors.get(name);
    if (!tensor) throw new FileError(this.file, `has no tensor ${JSON.stringify(name)}`);
    return tensor;
  }

  /** The stored bytes of a tensor, of any type. */
  async readBytes(name: string, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    const tensor = this.info(name);
    const bytes = new Uint8Array(tensor.end - tensor.start);
    await readInto(this.source, tensor.file, tensor.start, bytes, signal);
    return bytes;
  }

  /**
   * A tensor as float32, whole. To load many use {@link floats}, which keeps to one small buffer.
   *
   * @throws FileError when its type has no conversion (see {@link canDecode}).
   */
  async read(name: string, signal?: AbortSignal): Promise<Float32Array<ArrayBuffer>> {
    const values = new Float32Array(elementCount(this.info(name)));
    for await (const piece of this.floats([name], { signal })) values.set(piece.values, piece.offset);
    return values;
  }

  /** Stored bytes of many tensors, in the order of the files. Every name is checked before the first read. */
  async *pieces(names: Iterable<string>, options?: StreamOptions): AsyncGenerator<TensorPiece & { name: string }> {
    const wanted = new Map([...names].map((name) => [this.info(name), name]));
    const fileLabel = (path: string) => label(this.source, path);
    const walk = this.#digests && new DigestWalk(this.#digests);
    for await (const piece of streamTensors(this.source, wanted.keys(), fileLabel, options)) {
      const name = wanted.get(piece.tensor)!;
      walk?.add(name, piece);
      yield { ...piece, name };
      await walk?.room();
    }
  }

  /**
   * SHA-256 digests of tensors (`digests.ts` says of what), in 64 hex digits. Those that were read since the checkpoint was
   * opened are known, the others are read now.
   *
   * @throws FileError, also where the platform does not hash; the signal's reason
   */
  async digests(names: Iterable<string>, options?: StreamOptions): Promise<Record<string, string>> {
    const known = this.#digests;
    if (!known) throw new FileError(this.file, "cannot be identified: only pages of https or localhost can hash");
    const wanted = [...names];
    for await (const _ of this.pieces(
      wanted.filter((name) => !known.has(name)),
      options,
    ));
    const all = await Promise.all(wanted.map(async (name) => [name, (await known.get(name)) as string] as const));
    return Object.fromEntries(all);
  }

  /** Takes digests of tensors that need not be read for them, because their files are those of then. */
  recall(digests: Readonly<Record<string, string>>): void {
    for (const [name, digest] of Object.entries(digests))
      if (!this.#digests?.has(name)) this.#digests?.set(name, Promise.resolve(digest));
  }

  /** The stamps of the files that tensors lie in; undefined where a file has none. */
  async stamps(names: Iterable<string>, signal?: AbortSignal): Promise<Record<string, string> | undefined> {
    const files = new Set([...names].map((name) => this.info(name).file));
    const stamps: Record<string, string> = {};
    for (const file of [...files].sort()) {
      const stamp = await this.source.stamp?.(file, signal);
      if (stamp === undefined) return undefined;
      stamps[file] = stamp;
    }
    return stamps;
  }

  /** Like {@link pieces}, converted to float32. */
  async *floats(names: Iterable<string>, options?: StreamOptions): AsyncGenerator<FloatPiece> {
    const wanted = [...names];
    for (const name of wanted) {
      const { dtype, name: own } = this.info(name);
      if (!canDecode(dtype)) throw new FileError(this.file, `tensor ${JSON.stringify(own)} is ${dtype}, not floats`);
    }
    let buffer = new Float32Array(0);
    for await (const { name, tensor, offset, bytes } of this.pieces(wanted, options)) {
      const elementBytes = DTYPE_BITS[tensor.dtype] / 8;
      const count = bytes.byteLength / elementBytes;
      if (buffer.length < count) buffer = new Float32Array(count);
      const values = decodeFloats(tensor.dtype, bytes, buffer.subarray(0, count));
      yield { name, tensor, offset: offset / elementBytes, values };
    }
  }
}

/** Number of elements of a tensor. */
export function elementCount(tensor: TensorInfo): number {
  return tensor.shape.reduce((product, dimension) => product * dimension, 1);
}

/** Opens one safetensors file of any content, e.g. inputs or x_T. Reads the header only; names stay as they are. */
export async function openSafetensors(source: ModelSource, path: string, signal?: AbortSignal): Promise<Checkpoint> {
  const { tensors, metadata } = await readHeader(source, path, signal);
  return new Checkpoint(source, label(source, path), tensors, metadata);
}

export interface CheckpointOptions {
  /** Which of a folder's sets of weights: "fp16" for `*.fp16.safetensors`. Default: the plain one, or the only one. */
  readonly variant?: string;
  /** Whether its configuration is an original's, whose weights have the plain names. */
  readonly original?: boolean;
  /** "ema": the moving average, of a pickle that keeps one apart from the plain weights. */
  readonly weights?: "plain" | "ema";
  readonly signal?: AbortSignal;
}

/** The source with those of some files that are pickles as safetensors. */
async function withoutPickles(
  source: ModelSource,
  paths: Iterable<string>,
  { weights, signal }: CheckpointOptions,
): Promise<ModelSource> {
  let plain = source;
  for (const path of paths) if (isPickle(path)) plain = await pickleSource(plain, path, { weights, signal });
  return plain;
}

/**
 * Opens one file of weights by its name, as a table of what it holds: safetensors, or a pickle of PyTorch's. Names stay as
 * they are.
 */
export async function openWeights(
  source: ModelSource,
  path: string,
  options: Omit<CheckpointOptions, "variant"> = {},
): Promise<Checkpoint> {
  return openSafetensors(await withoutPickles(source, [path], options), path, options.signal);
}

/**
 * Opens the weights in a network's folder: `diffusion_pytorch_model.safetensors` or `model.safetensors`, in one file or
 * in shards, plain or a variant, or the only safetensors file there; else a pickle of PyTorch's. Reads headers only.
 *
 * @param folder - in the source; "" is its root
 * @throws FileError when there are none, when their format is another (it says how to convert), when a shard is missing
 * or holds other tensors than the index says, when a header is wrong, or there are no tensors.
 */
export async function openCheckpoint(
  given: ModelSource,
  folder: string,
  options: CheckpointOptions = {},
): Promise<Checkpoint> {
  const path = await locateWeights(given, folder, options.variant, options.signal, options.original);
  const file = label(given, path);
  const shards = path.endsWith(".json") ? await expectedShards(given, folder, path, options.signal) : undefined;
  const source = await withoutPickles(given, shards?.keys() ?? [path], options);
  const warnings: string[] = [];
  const { tensors, metadata } = shards
    ? await readShards(source, shards, file, options.signal)
    : await readFile(source, path, (text) => warnings.push(`${file}: ${text}`), options.signal);
  if (tensors.size === 0) throw new FileError(file, "holds no tensors");
  if (metadata.format === "pd")
    throw new FileError(file, "was saved for Paddle, which stores matrices transposed: save it with to_diffusers=True");
  const { prefix, unwrap } = unwrapping([...tensors.keys()]);
  const whole = [...tensors.keys()].every((name) => name.startsWith(prefix));
  const what = whole ? "every tensor's name" : "every name but a moving average's";
  if (prefix !== "") warnings.push(`${file}: ${what} begins with ${prefix}, which is left out`);
  const named = new Map<string, TensorInfo>();
  for (const tensor of tensors.values()) {
    const name = canonicalName(unwrap(tensor.name));
    const other = named.get(name);
    if (other) throw new FileError(file, `has both ${other.name} and ${tensor.name}, two names of one tensor`);
    named.set(name, tensor);
  }
  return new Checkpoint(source, file, named, metadata, { hashed: true, prefix, warnings });
}
