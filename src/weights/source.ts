/**
 * Where a model's files come from. Everything above this file reads by path and byte range, so that a folder on disk, a
 * web server, the files of an `<input>` and a caller's own reader are one thing. Implementations: `url.ts`, `files.ts`,
 * `object.ts` and, for folders on disk, `src/node/folder.ts`.
 */

import { DdimError, FileError } from "../runtime/errors.ts";
import { said } from "../runtime/printable.ts";
import { label } from "./path.ts";

/** What is wrong with a file that is no longer the one whose header, or first part, was read. */
export const CHANGED = "changed while it was read: open the model again";

/** Bytes `start` (included) to `end` (not included) of a file. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/**
 * Read access to one model's files, as they are when they are first read: a source that can tell refuses a file that was
 * replaced or written to meanwhile, rather than mixing two. Paths are relative, with forward slashes. Every method rejects with a
 * {@link FileError} that names the file, or with the signal's reason once it is aborted.
 */
export interface ModelSource {
  /** For messages: a folder, a URL. May be empty. */
  readonly name: string;
  /** A server, where every question is a request: it is not asked for names that hardly any model has. */
  readonly remote?: boolean;
  /** What a server has answered so far, where that was a refusal every time; for when nothing is found. */
  refusal?(): string | undefined;
  /** What its name was perhaps meant as; for when nothing is found. */
  readonly advice?: string;
  /**
   * What names the same files again, in other folders and on other days: a URL without its query, or an id with its commit.
   * None of a folder.
   */
  address?(): string;
  /**
   * Brings here, whole, the files of weights of which the header was read: for a source that keeps copies, and has asked for
   * no more than that yet.
   */
  download?(signal?: AbortSignal): Promise<void>;
  /**
   * The bytes of a file, or exactly those of `range`: never fewer, never others. A whole file of more than `limit` bytes
   * may be refused before all of it is in memory.
   */
  read(path: string, range?: ByteRange, signal?: AbortSignal, limit?: number): Promise<Uint8Array>;
  /** Fills `target` with the bytes from `start` on, so that reading a large file need not allocate per read. */
  readInto?(path: string, start: number, target: Uint8Array, signal?: AbortSignal): Promise<void>;
  /** Length of a file in bytes. */
  size(path: string, signal?: AbortSignal): Promise<number>;
  /** Whether there is such a file. Rejects when that cannot be found out. */
  exists(path: string, signal?: AbortSignal): Promise<boolean>;
  /**
   * Text that differs whenever the file's bytes may: its inode, size and times, or a server's ETag. undefined where nothing
   * tells as much.
   */
  stamp?(path: string, signal?: AbortSignal): Promise<string | undefined>;
  /** Path of the file that holds the weights, where a file was named and not a folder. */
  readonly weights?: string;
  /** The configuration, where it has a place of its own: one that was named, or that belongs to such a file. */
  config?(signal?: AbortSignal): Promise<ConfigPlace | undefined>;
  /** Names of the files directly in a folder ("" is the model's own), where the source can tell; in no order. */
  list?(folder: string, signal?: AbortSignal): Promise<string[]>;
  /** Says that the model was loaded: what was read of it, and will be, may be kept for other visits. Never rejects. */
  keep?(): Promise<void>;
}

/** Where a configuration is. */
export interface ConfigPlace {
  readonly source: ModelSource;
  readonly path: string;
}

/** All that a source does, for one that does some of it otherwise. */
export function delegating(source: ModelSource): ModelSource {
  return {
    name: source.name,
    remote: source.remote,
    refusal: source.refusal && (() => source.refusal!()),
    advice: source.advice,
    weights: source.weights,
    address: source.address && (() => source.address!()),
    download: source.download && ((signal) => source.download!(signal)),
    config: source.config && ((signal) => source.config!(signal)),
    read: (path, range, signal, limit) => source.read(path, range, signal, limit),
    readInto: (path, start, target, signal) => readInto(source, path, start, target, signal),
    size: (path, signal) => source.size(path, signal),
    exists: (path, signal) => source.exists(path, signal),
    stamp: source.stamp && ((path, signal) => source.stamp!(path, signal)),
    list: source.list && ((folder, signal) => source.list!(folder, signal)),
    keep: source.keep && (() => source.keep!()),
  };
}

/** A source that is made when something is first asked of it, of what is on the web. */
export function lazySource(name: string, make: () => Promise<ModelSource>): ModelSource {
  let made: ModelSource | undefined;
  let making: Promise<ModelSource> | undefined;
  const source = () => {
    making ??= make().then((source) => {
      made = source;
      return source;
    });
    return making;
  };
  return {
    name,
    remote: true,
    refusal: () => made?.refusal?.(),
    read: async (...of) => (await source()).read(...of),
    readInto: async (...of) => readInto(await source(), ...of),
    size: async (...of) => (await source()).size(...of),
    exists: async (...of) => (await source()).exists(...of),
    stamp: async (...of) => (await source()).stamp?.(...of),
    keep: async () => made?.keep?.(),
  };
}

/** Reads into `target` through whichever method the source has. The source's promise about lengths is checked. */
export async function readInto(
  source: ModelSource,
  path: string,
  start: number,
  target: Uint8Array,
  signal?: AbortSignal,
): Promise<void> {
  if (source.readInto) return source.readInto(path, start, target, signal);
  const bytes = await source.read(path, { start, end: start + target.byteLength }, signal);
  if (bytes.byteLength !== target.byteLength)
    throw new FileError(label(source, path), `gave ${bytes.byteLength} bytes when ${target.byteLength} were asked for`);
  target.set(bytes);
}

/**
 * Copies a stream's bytes into `target`, which they must fill exactly. Pieces are small and die young, where collecting
 * them in one new buffer per read would pile up until the next full collection.
 */
export async function fill(file: string, stream: ReadableStream<Uint8Array>, target: Uint8Array): Promise<void> {
  const reader = stream.getReader();
  let filled = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (filled + value.byteLength > target.byteLength)
        throw new FileError(file, `gave more than the ${target.byteLength} bytes that were asked for`);
      target.set(value, filled);
      filled += value.byteLength;
    }
  } catch (error) {
    await reader.cancel().catch(() => {});
    throw error;
  }
  if (filled !== target.byteLength)
    throw new FileError(file, `gave ${filled} bytes when ${target.byteLength} were asked for`);
}

/** @throws FileError when the range is not one, or not inside a file of `size` bytes. */
export function checkRange(file: string, start: number, end: number, size: number): void {
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || end < start)
    throw new FileError(file, `internal: bytes ${start} to ${end} are not a range`);
  if (end > size)
    throw new FileError(file, `is cut off: it has ${size} bytes, but bytes ${start} to ${end} were needed`);
}

/** For whole files of more than `limit` bytes: configurations and indices, which a model has no large ones of. */
export function tooLong(file: string, limit: number): FileError {
  return new FileError(file, `is over ${limit >> 20} MiB, which no such file of a model is`);
}

/** What to throw when reading failed: our own errors and aborts as they are, anything else as a FileError. */
export function readFailure(file: string, error: unknown, signal?: AbortSignal): unknown {
  if (signal?.aborted) return signal.reason;
  if (error instanceof DdimError) return error;
  const problem = isNotFound(error) ? "there is no such file" : `cannot be read: ${said(error)}`;
  return new FileError(file, problem, { cause: error });
}

export function isNotFound(error: unknown): boolean {
  const { code, name } = (error ?? {}) as { code?: unknown; name?: unknown };
  return code === "ENOENT" || code === "ENOTDIR" || name === "NotFoundError";
}
