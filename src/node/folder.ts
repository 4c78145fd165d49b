/** Models on disk. Files are opened for one read and closed again, so nothing needs disposing and nothing is locked. */

import type { BigIntStats } from "node:fs";
import { type FileHandle, open, readdir, stat } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import { FileError } from "../runtime/errors.ts";
import { checkKind } from "../runtime/options.ts";
import { type Checkpoint, openSafetensors } from "../weights/checkpoint.ts";
import { checkPath, label } from "../weights/path.ts";
import {
  type ByteRange,
  CHANGED,
  checkRange,
  isNotFound,
  type ModelSource,
  readFailure,
  tooLong,
} from "../weights/source.ts";
import { statsAt } from "./modelName.ts";

/** Node reads less than 2 GiB at once. */
const MAX_READ_BYTES = 2 ** 30;

/**
 * What differs when a file is replaced or written to. The time of writing can be set back, that of the last change (ctime)
 * cannot. The device is left out, as devices are numbered anew some day.
 */
const stampOf = ({ ino, size, mtimeNs, ctimeNs }: BigIntStats) => [ino, size, mtimeNs, ctimeNs].join(" ");

/**
 * A source over a folder. Symbolic links are followed, as the Hugging Face cache is made of them. A file that is replaced or
 * written to after it was first opened is an error: files may be read in parts, over minutes.
 *
 * @throws FileError when there is no such folder.
 */
export function folderSource(directory: string): ModelSource {
  const isFolder = statsAt(directory)?.isDirectory();
  if (!isFolder) throw new FileError(directory, isFolder === false ? "is not a folder" : "there is no such folder");
  const source = { name: directory === "." ? "" : directory };
  const onDisk = (path: string) => resolve(directory, checkPath(source, path));
  /** Device and stamp of each file when it was first opened. */
  const known = new Map<string, string>();

  /** @throws FileError for anything but a file, and for one that is not as it was; what could not be read of it goes first */
  function checkStats(path: string, stats: BigIntStats, needed = { start: 0, end: 0 }) {
    const name = label(source, path);
    if (!stats.isFile()) throw new FileError(name, "is not a file");
    const now = `${stats.dev} ${stampOf(stats)}`;
    const before = known.get(path) ?? now;
    known.set(path, before);
    if (now === before) return checkRange(name, needed.start, needed.end, Number(stats.size));
    const missing = needed.end > stats.size ? `is cut off: it has ${stats.size} bytes, and ` : "";
    throw new FileError(name, missing + CHANGED);
  }

  async function withFile<T>(
    path: string,
    range: ByteRange | undefined,
    use: (handle: FileHandle, range: ByteRange) => Promise<T>,
    signal?: AbortSignal,
  ) {
    signal?.throwIfAborted();
    let handle: FileHandle | undefined;
    try {
      // Opening a pipe would wait for somebody to write to it.
      if (!(await stat(onDisk(path))).isFile()) throw new FileError(label(source, path), "is not a file");
      handle = await open(onDisk(path));
      const stats = await handle.stat({ bigint: true });
      checkStats(path, stats, range);
      const result = await use(handle, range ?? { start: 0, end: Number(stats.size) });
      checkStats(path, await handle.stat({ bigint: true }), range);
      return result;
    } catch (error) {
      throw readFailure(label(source, path), error, signal);
    } finally {
      await handle?.close();
    }
  }

  async function fillFrom(handle: FileHandle, path: string, start: number, target: Uint8Array, signal?: AbortSignal) {
    for (let filled = 0; filled < target.byteLength; ) {
      signal?.throwIfAborted();
      const { bytesRead } = await handle.read(
        target,
        filled,
        Math.min(target.byteLength - filled, MAX_READ_BYTES),
        start + filled,
      );
      if (bytesRead === 0) throw new FileError(label(source, path), CHANGED);
      filled += bytesRead;
    }
  }

  const statsOf = async (path: string, signal?: AbortSignal) => {
    signal?.throwIfAborted();
    try {
      const stats = await stat(onDisk(path), { bigint: true });
      checkStats(path, stats);
      return stats;
    } catch (error) {
      throw readFailure(label(source, path), error, signal);
    }
  };

  return {
    ...source,
    read: (path, range, signal, limit = Number.POSITIVE_INFINITY) =>
      withFile(
        path,
        range,
        async (handle, { start, end }) => {
          if (!range && end > limit) throw tooLong(label(source, path), limit);
          const bytes = new Uint8Array(end - start);
          await fillFrom(handle, path, start, bytes, signal);
          return bytes;
        },
        signal,
      ),
    readInto: (path, start, target, signal) =>
      withFile(
        path,
        { start, end: start + target.byteLength },
        (handle) => fillFrom(handle, path, start, target, signal),
        signal,
      ),
    size: async (path, signal) => Number((await statsOf(path, signal)).size),
    stamp: async (path, signal) => stampOf(await statsOf(path, signal)),
    async exists(path, signal) {
      signal?.throwIfAborted();
      try {
        return (await stat(onDisk(path))).isFile();
      } catch (error) {
        if (isNotFound(error)) return false;
        throw readFailure(label(source, path), error, signal);
      }
    },
    async list(folder, signal) {
      signal?.throwIfAborted();
      try {
        return await readdir(folder === "" ? directory : onDisk(folder));
      } catch (error) {
        if (isNotFound(error)) return [];
        throw readFailure(label(source, folder), error, signal);
      }
    },
  };
}

/**
 * Opens one safetensors file on disk.
 *
 * @throws FileError when it is missing or its header is wrong.
 */
export async function openSafetensorsFile(path: string, signal?: AbortSignal): Promise<Checkpoint> {
  checkKind("openSafetensorsFile", "path", "a text", path);
  if (signal) checkKind("openSafetensorsFile", "signal", "an AbortSignal", signal);
  return openSafetensors(folderSource(dirname(path)), basename(path), signal);
}
