/** A caller's own `{ read(path) }` as a model's source. */

import { FileError } from "../runtime/errors.ts";
import { checkPath, label } from "./path.ts";
import { CHANGED, checkRange, fill, isNotFound, type ModelSource, readFailure } from "./source.ts";

/** A caller's own reader: the whole file of that path, or nothing where there is none. */
export interface FileGetter {
  readonly name?: string;
  read(path: string): Promise<Uint8Array | ArrayBuffer | Blob | null | undefined>;
}

/**
 * A caller's `{ read(path) }`, which returns whole files. The file read last is kept, and ranges are cut out of it, so
 * what a model costs in memory is the caller's choice: a Blob costs nothing until it is sliced. `undefined`, `null`, and
 * errors that say "no such file" (code ENOENT, name NotFoundError) mean that there is no such file.
 */
export function objectSource(getter: FileGetter): ModelSource {
  let kept: { path: string; data: Uint8Array | Blob } | undefined;
  const source = { name: getter.name ?? "" };
  const sizes = new Map<string, number>();

  async function find(path: string, signal?: AbortSignal): Promise<Uint8Array | Blob | undefined> {
    checkPath(source, path);
    signal?.throwIfAborted();
    if (kept?.path === path) return kept.data;
    let data: Awaited<ReturnType<FileGetter["read"]>>;
    try {
      data = await getter.read(path);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw readFailure(label(source, path), error, signal);
    }
    signal?.throwIfAborted();
    if (data === undefined || data === null) return undefined;
    kept = { path, data: data instanceof ArrayBuffer ? new Uint8Array(data) : data };
    const size = sizeOf(kept.data);
    if (size !== (sizes.get(path) ?? size)) throw new FileError(label(source, path), CHANGED);
    sizes.set(path, size);
    return kept.data;
  }

  async function get(path: string, signal?: AbortSignal): Promise<Uint8Array | Blob> {
    const data = await find(path, signal);
    if (data === undefined) throw new FileError(label(source, path), "there is no such file");
    return data;
  }

  async function readInto(path: string, start: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    const file = label(source, path);
    const data = await get(path, signal);
    const end = start + target.byteLength;
    checkRange(file, start, end, sizeOf(data));
    if (!(data instanceof Blob)) return target.set(data.subarray(start, end));
    try {
      await fill(file, data.slice(start, end).stream(), target);
    } catch (error) {
      throw readFailure(file, error, signal);
    }
  }

  return {
    ...source,
    readInto,
    async read(path, range, signal) {
      const size = sizeOf(await get(path, signal));
      const { start, end } = range ?? { start: 0, end: size };
      checkRange(label(source, path), start, end, size);
      const bytes = new Uint8Array(end - start);
      await readInto(path, start, bytes, signal);
      return bytes;
    },
    size: async (path, signal) => sizeOf(await get(path, signal)),
    exists: async (path, signal) => (await find(path, signal)) !== undefined,
  };
}

function sizeOf(data: Uint8Array | Blob): number {
  return data instanceof Blob ? data.size : data.byteLength;
}
