/**
 * Tensors in the order of their bytes, through one buffer. Loading a model is one walk over each of its files in reads
 * of a few MiB, whatever the tensors' number and size: few requests to a server, and JavaScript memory that does not
 * grow with the file.
 */

import type { TensorInfo } from "./safetensors.ts";
import { type ModelSource, readInto } from "./source.ts";

/** Bytes per read. A multiple of 8, so that a tensor is never cut inside an element. */
const CHUNK_BYTES = 8 * 2 ** 20;

export interface LoadProgress {
  /** The file being read, as messages spell it. */
  readonly file: string;
  /** Bytes read so far, of all the tensors asked for. */
  readonly loaded: number;
  /** Bytes of all the tensors asked for; known before the first read. */
  readonly total: number;
}

export interface StreamOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: LoadProgress) => void;
  /** Bytes per read, a multiple of 8 (8 MiB). */
  readonly chunkBytes?: number;
}

/** Consecutive bytes of one tensor. */
export interface TensorPiece {
  readonly tensor: TensorInfo;
  /** Where in the tensor the bytes belong. */
  readonly offset: number;
  /** Valid until the next piece is asked for: the buffer is used again. */
  readonly bytes: Uint8Array;
}

/**
 * Reads tensors piece by piece, in the order of their places in the files. A tensor that fits into `chunkBytes` comes
 * whole; a larger one in several pieces, in order; one without elements as an empty piece.
 *
 * @param fileLabel - how messages spell a tensor's file
 */
export async function* streamTensors(
  source: ModelSource,
  tensors: Iterable<TensorInfo>,
  fileLabel: (path: string) => string,
  options: StreamOptions = {},
): AsyncGenerator<TensorPiece, void, undefined> {
  const { signal, onProgress, chunkBytes = CHUNK_BYTES } = options;
  const sorted = [...tensors].sort((a, b) =>
    a.file === b.file ? a.start - b.start || a.end - b.end : a.file < b.file ? -1 : 1,
  );
  const total = sorted.reduce((sum, tensor) => sum + tensor.end - tensor.start, 0);
  const buffer = new Uint8Array(Math.min(total, chunkBytes));
  let loaded = 0;
  for (const read of planReads(sorted, chunkBytes)) {
    signal?.throwIfAborted();
    const bytes = buffer.subarray(0, read.end - read.start);
    if (bytes.byteLength > 0) await readInto(source, read.file, read.start, bytes, signal);
    signal?.throwIfAborted();
    for (const tensor of read.tensors) {
      const start = Math.max(tensor.start, read.start);
      const end = Math.min(tensor.end, read.end);
      yield { tensor, offset: start - tensor.start, bytes: bytes.subarray(start - read.start, end - read.start) };
    }
    loaded += read.end - read.start;
    onProgress?.({ file: fileLabel(read.file), loaded, total });
  }
}

interface Read {
  readonly file: string;
  readonly start: number;
  end: number;
  readonly tensors: TensorInfo[];
}

/** Neighbours share a read while they fit; a tensor larger than a read gets reads of its own. */
function* planReads(sorted: readonly TensorInfo[], chunkBytes: number): Generator<Read> {
  let read: Read | undefined;
  for (const tensor of sorted) {
    const fits =
      read && read.file === tensor.file && read.end === tensor.start && tensor.end - read.start <= chunkBytes;
    if (read && fits) {
      read.end = tensor.end;
      read.tensors.push(tensor);
      continue;
    }
    if (read) yield read;
    let start = tensor.start;
    for (; tensor.end - start > chunkBytes; start += chunkBytes)
      yield { file: tensor.file, start, end: start + chunkBytes, tensors: [tensor] };
    read = { file: tensor.file, start, end: tensor.end, tensors: [tensor] };
  }
  if (read) yield read;
}
