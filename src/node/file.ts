/** Files on disk, read whole or by place. */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { checkFileSize } from "../image/limits.ts";
import { FileError } from "../runtime/errors.ts";

/** What the file system says went wrong, such as ENOENT; undefined of what it did not throw. */
export function codeOf(error: unknown): string | undefined {
  const { code } = Object(error) as { code?: unknown };
  // That of an AbortError is a number.
  return typeof code === "string" ? code : undefined;
}

/**
 * Opens a regular file for one use; anything else (folders, pipes, devices) could never end.
 * @throws FileError when it cannot be had, or is no file
 */
export async function withFile<T>(path: string, use: (handle: FileHandle, size: number) => Promise<T>): Promise<T> {
  let handle: FileHandle | undefined;
  try {
    // Without O_NONBLOCK the opening of a pipe would wait for a writer.
    handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    const stats = await handle.stat();
    if (!stats.isFile()) throw new FileError(path, "is not a file");
    return await use(handle, stats.size);
  } catch (cause) {
    if (cause instanceof FileError) throw cause;
    throw new FileError(path, `cannot be read (${codeOf(cause) ?? "unknown"})`, { cause });
  } finally {
    await handle?.close();
  }
}

/** Up to so many bytes from a place; fewer where the file ends. */
export async function readAt(handle: FileHandle, position: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(bytes, filled, Math.min(length - filled, 2 ** 30), position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

/**
 * A picture's whole file.
 * @param limit Most pixels; a file that is larger than these could take, uncompressed, is not read.
 */
export const readPictureFile = (path: string, limit: number): Promise<Uint8Array> =>
  withFile(path, async (handle, size) => {
    checkFileSize(size, limit, path);
    return readAt(handle, 0, size);
  });
