/** Files that a page was handed: a folder picked with `<input webkitdirectory>`, or files dropped on it. */

import { FileError, UsageError } from "../runtime/errors.ts";
import { checkPath, label } from "./path.ts";
import { checkRange, fill, type ModelSource, readFailure } from "./source.ts";

/**
 * A source over `File` objects. A file's path is its `webkitRelativePath` without the picked folder's own name, or its
 * name where it has none. Nothing is read until it is asked for.
 *
 * @throws UsageError when there are no files, FileError when two have the same path.
 */
export function fileListSource(files: Iterable<File>): ModelSource {
  const all = [...files];
  if (all.length === 0) throw new UsageError("source", "the list of files is empty");
  const roots = new Set(all.map((file) => file.webkitRelativePath?.split("/")[0] ?? ""));
  const root = roots.size === 1 ? [...roots][0]! : "";
  const source = { name: root };

  const byPath = new Map<string, File>();
  for (const file of all) {
    const path = file.webkitRelativePath ? file.webkitRelativePath.slice(root ? root.length + 1 : 0) : file.name;
    if (byPath.has(path)) throw new FileError(label(source, path), "is in the list of files twice");
    byPath.set(path, file);
  }

  function get(path: string, signal?: AbortSignal): File {
    signal?.throwIfAborted();
    const file = byPath.get(checkPath(source, path));
    if (!file) throw new FileError(label(source, path), "there is no such file in the list of files");
    return file;
  }

  async function readInto(path: string, start: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    const file = get(path, signal);
    const name = label(source, path);
    const end = start + target.byteLength;
    checkRange(name, start, end, file.size);
    try {
      await fill(name, file.slice(start, end).stream(), target);
    } catch (error) {
      throw readFailure(name, error, signal);
    }
    signal?.throwIfAborted();
  }

  return {
    ...source,
    readInto,
    async read(path, range, signal) {
      const { start, end } = range ?? { start: 0, end: get(path, signal).size };
      checkRange(label(source, path), start, end, get(path, signal).size);
      const bytes = new Uint8Array(end - start);
      await readInto(path, start, bytes, signal);
      return bytes;
    },
    size: async (path, signal) => get(path, signal).size,
    async exists(path, signal) {
      signal?.throwIfAborted();
      return byPath.has(checkPath(source, path));
    },
    async list(folder) {
      const prefix = folder === "" ? "" : `${checkPath(source, folder)}/`;
      const names = [...byPath.keys()]
        .filter((path) => path.startsWith(prefix))
        .map((path) => path.slice(prefix.length));
      return names.filter((name) => !name.includes("/"));
    },
  };
}
