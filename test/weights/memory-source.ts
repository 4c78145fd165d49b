/** Files in memory as a source that can list folders; counts what was read. */

import { FileError } from "../../src/runtime/errors.ts";
import { checkPath } from "../../src/weights/path.ts";
import { checkRange, type ModelSource } from "../../src/weights/source.ts";

export interface MemorySource extends ModelSource {
  readonly reads: { path: string; bytes: number }[];
}

export function memorySource(files: Record<string, Uint8Array | string>, name = "model"): MemorySource {
  const encoder = new TextEncoder();
  const stored = new Map(
    Object.entries(files).map(([path, data]) => [path, typeof data === "string" ? encoder.encode(data) : data]),
  );
  const reads: { path: string; bytes: number }[] = [];
  const get = (path: string) => {
    const bytes = stored.get(checkPath({ name }, path));
    if (!bytes) throw new FileError(`${name}/${path}`, "there is no such file");
    return bytes;
  };
  return {
    name,
    reads,
    async read(path, range, signal) {
      signal?.throwIfAborted();
      const bytes = get(path);
      const { start, end } = range ?? { start: 0, end: bytes.byteLength };
      checkRange(`${name}/${path}`, start, end, bytes.byteLength);
      reads.push({ path, bytes: end - start });
      return bytes.slice(start, end);
    },
    size: async (path) => get(path).byteLength,
    exists: async (path) => stored.has(path),
    async list(folder) {
      const prefix = folder === "" ? "" : `${folder}/`;
      const inside = [...stored.keys()]
        .filter((path) => path.startsWith(prefix))
        .map((path) => path.slice(prefix.length));
      return inside.filter((path) => !path.includes("/"));
    },
  };
}

/** A safetensors file out of a header, as text or as an object, and its data. */
export function rawSafetensors(header: string | object, data: number | Uint8Array = 0, length?: number | bigint) {
  const json = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const bytes = typeof data === "number" ? new Uint8Array(data) : data;
  const file = new Uint8Array(8 + json.length + bytes.length);
  new DataView(file.buffer).setBigUint64(0, BigInt(length ?? json.length), true);
  file.set(json, 8);
  file.set(bytes, 8 + json.length);
  return file;
}

/** The message of what `promise` rejects with, which must be an error of the named class. */
export async function failure(promise: Promise<unknown>, errorName = "FileError"): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if ((error as Error).name !== errorName) throw error;
    return (error as Error).message;
  }
  throw new Error("was expected to fail");
}
