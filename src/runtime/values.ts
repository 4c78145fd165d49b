/**
 * Tensors as the graph sees them. A value is a logical array, channels innermost; how it is stored (a storage buffer of
 * vec4f, the same packed as f16 pairs, or a texture used as linear memory) is a property that generated accessors hide
 * from kernels. Storage is vec4-granular: the last axis is a list of segments, each padded to a multiple of four with
 * zeros, so a concatenation of 6 and 10 channels is stored as 8 + 12 and packed weights follow the same positions.
 */

/** Element type in memory. Arithmetic is f32 everywhere; `u32` is for tables of indices. */
export type DType = "f32" | "f16" | "u32";
export type Storage = "buffer" | "texture";

export interface Value {
  readonly id: number;
  /** Module path of the layer that makes it, for messages, labels and taps. */
  readonly name: string;
  /** Logical sizes without the batch axis, for example [H, W, C]. */
  readonly shape: readonly number[];
  /** Whether a leading batch axis N exists. */
  readonly batched: boolean;
  readonly dtype: DType;
  readonly storage: Storage;
  /** Channel counts of the segments of the last axis; their sum is the last entry of `shape`. */
  readonly segments: readonly number[];
}

/** Texels per line of a texture that serves as linear memory; a power of two, so that an index splits by shift and mask. */
export const TEXTURE_WIDTH = 4096;
export const TEXTURE_SHIFT = 12;

export const ceilDiv = (a: number, b: number): number => Math.ceil(a / b);
export const padded4 = (n: number): number => ceilDiv(n, 4) * 4;

/** vec4 groups of the last axis. */
export const channelGroups = (segments: readonly number[]): number => segments.reduce((s, c) => s + ceilDiv(c, 4), 0);

/** Position in storage of every logical channel, for example [0, 1, 2, 4, 5] for segments [3, 2]. */
export function channelPositions(segments: readonly number[]): number[] {
  const positions: number[] = [];
  let base = 0;
  for (const count of segments) {
    for (let c = 0; c < count; c++) positions.push(base + c);
    base += padded4(count);
  }
  return positions;
}

/** Stored units of a value at batch N: vec4 texels, or single elements for `u32`. */
export function unitCount(value: Value, batch: number): number {
  const vectors = value.shape.slice(0, -1).reduce((a, b) => a * b, 1) * (value.batched ? batch : 1);
  return vectors * (value.dtype === "u32" ? (value.shape.at(-1) ?? 1) : channelGroups(value.segments));
}

export const unitBytes = (dtype: DType): number => (dtype === "u32" ? 4 : dtype === "f16" ? 8 : 16);

/** Bytes of GPU memory that hold a value at batch N (whole lines for textures, whole 16 bytes for buffers). */
export function byteSize(value: Value, batch: number): number {
  const units = unitCount(value, batch);
  if (value.storage === "texture") return ceilDiv(units, TEXTURE_WIDTH) * TEXTURE_WIDTH * unitBytes(value.dtype);
  return ceilDiv(units * unitBytes(value.dtype), 16) * 16;
}

let nextId = 0;

/** Makes a value; `segments` defaults to one segment. Ids only serve identity and need no reset. */
export function makeValue(init: Omit<Value, "id" | "segments"> & { segments?: readonly number[] }): Value {
  return { ...init, id: nextId++, segments: init.segments ?? [init.shape.at(-1) ?? 1] };
}
