/** Models on disk. Files are opened for one read and closed again, so nothing needs disposing and nothing is locked. */

import { statSync } from "node:fs";
import { type FileHandle, open, readdir, stat } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { FileError } from "../runtime/errors.ts";
import { type Checkpoint, openSafetensors } from "../weights/checkpoint.ts";
import { checkPath, label } from "../weights/path.ts";
import { checkRange, isNotFound, type ModelSource, readFailure } from "../weights/source.ts";
import { type SourceLike, toSource } from "../weights/to-source.ts";
import type { Fetch } from "../weights/url.ts";

/** Node reads less than 2 GiB at once. */
const MAX_READ_BYTES = 2 ** 30;

/**
 * A source over a folder. Symbolic links are followed, as the Hugging Face cache is made of them.
 *
 * @throws FileError when there is no such folder.
 */
export function folderSource(directory: string): ModelSource {
  const isFolder = statSync(directory, { throwIfNoEntry: false })?.isDirectory();
  if (!isFolder) throw new FileError(directory, isFolder === false ? "is not a folder" : "there is no such folder");
  const source = { name: directory === "." ? "" : directory };
  const onDisk = (path: string) => resolve(directory, checkPath(source, path));

  async function withFile<T>(
    path: string,
    use: (handle: FileHandle, size: number) => Promise<T>,
    signal?: AbortSignal,
  ) {
    signal?.throwIfAborted();
    const name = label(source, path);
    let handle: FileHandle | undefined;
    try {
      handle = await open(onDisk(path));
      const stats = await handle.stat();
      if (!stats.isFile()) throw new FileError(name, "is not a file");
      return await use(handle, stats.size);
    } catch (error) {
      throw readFailure(name, error, signal);
    } finally {
      await handle?.close();
    }
  }

  async function fillFrom(handle: FileHandle, name: string, start: number, target: Uint8Array, signal?: AbortSignal) {
    for (let filled = 0; filled < target.byteLength; ) {
      signal?.throwIfAborted();
      const { bytesRead } = await handle.read(
        target,
        filled,
        Math.min(target.byteLength - filled, MAX_READ_BYTES),
        start + filled,
      );
      if (bytesRead === 0) throw new FileError(name, "became shorter while it was read");
      filled += bytesRead;
    }
  }

  return {
    ...source,
    read: (path, range, signal) =>
      withFile(
        path,
        async (handle, size) => {
          const { start, end } = range ?? { start: 0, end: size };
          checkRange(label(source, path), start, end, size);
          const bytes = new Uint8Array(end - start);
          await fillFrom(handle, label(source, path), start, bytes, signal);
          return bytes;
        },
        signal,
      ),
    readInto: (path, start, target, signal) =>
      withFile(
        path,
        (handle, size) => {
          checkRange(label(source, path), start, start + target.byteLength, size);
          return fillFrom(handle, label(source, path), start, target, signal);
        },
        signal,
      ),
    size: (path, signal) => withFile(path, async (_, size) => size, signal),
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

/** Like the core's `toSource`, but a string that is not an http(s) URL, and a file: URL, is a folder. */
export function toNodeSource(from: SourceLike, options: { fetch?: Fetch } = {}): ModelSource {
  if (from instanceof URL)
    return from.protocol === "file:" ? folderSource(fileURLToPath(from)) : toSource(from, options);
  if (typeof from === "string" && !/^https?:\/\//i.test(from))
    return folderSource(/^file:\/\//i.test(from) ? fileURLToPath(from) : from);
  return toSource(from, options);
}

/**
 * Opens one safetensors file on disk.
 *
 * @throws FileError when it is missing or its header is wrong.
 */
export async function openSafetensorsFile(path: string, signal?: AbortSignal): Promise<Checkpoint> {
  return openSafetensors(folderSource(dirname(path)), basename(path), signal);
}
