/** Files that a page was handed: a folder picked with `<input webkitdirectory>`, or files dropped on it. */

import { FileError, UsageError } from "../runtime/errors.ts";
import { checkPath, label } from "./path.ts";
import { checkRange, fill, type ModelSource, readFailure } from "./source.ts";

/** A file and its path in the model, as a page knows it that walked through a folder itself. */
export type PathAndFile = readonly [path: string, file: File];

/**
 * A source over `File` objects. A file's path is the one that it is paired with, else its `webkitRelativePath`, else its
 * name. A folder that all of them lie in is the model's own. Nothing is read until it is asked for.
 *
 * @throws UsageError when there are no files or something else is among them, FileError when two have the same path.
 */
export function fileListSource(files: Iterable<File | PathAndFile>): ModelSource {
  if (typeof Object(files)[Symbol.iterator] !== "function")
    throw new UsageError("source", "the list of files must hold File objects, or pairs [path, File]");
  const byPath = new Map<string, File>();
  for (const entry of files) {
    const [given, file] = Array.isArray(entry) ? (entry as unknown as PathAndFile) : [undefined, entry as File];
    if (!(file instanceof Blob) || !(given === undefined || typeof given === "string"))
      throw new UsageError("source", "the list of files must hold File objects, or pairs [path, File]");
    const path = given?.replace(/^\//, "") ?? (file.webkitRelativePath || file.name);
    if (byPath.has(path))
      throw new FileError(
        path,
        "is in the list of files twice: give pairs [path, File], a folder's handle, or what was dropped (DataTransfer)",
      );
    byPath.set(path, file);
  }
  if (byPath.size === 0) throw new UsageError("source", "the list of files is empty");
  const roots = new Set([...byPath.keys()].map((path) => (path.includes("/") ? path.split("/")[0]! : "")));
  const root = roots.size === 1 ? [...roots][0]! : "";
  const source = { name: root };

  /** The path itself counts too: a page may have paired files with paths of which one folder is a part. */
  const find = (path: string) => (root && byPath.get(`${root}/${path}`)) || byPath.get(path);

  function get(path: string): File {
    const file = find(checkPath(source, path));
    if (!file) throw new FileError(label(source, path), "there is no such file in the list of files");
    return file;
  }

  const opened = async (path: string, signal?: AbortSignal) => {
    signal?.throwIfAborted();
    return get(path);
  };

  return {
    ...blobReader(source, opened),
    async exists(path, signal) {
      signal?.throwIfAborted();
      return find(checkPath(source, path)) !== undefined;
    },
    async list(folder) {
      const inside = folder === "" ? "" : `${checkPath(source, folder)}/`;
      const names = new Set<string>();
      for (const prefix of root ? [`${root}/${inside}`, inside] : [inside])
        for (const path of byPath.keys())
          if (path.startsWith(prefix) && !path.includes("/", prefix.length)) names.add(path.slice(prefix.length));
      return [...names];
    },
  };
}

/**
 * Reading of files that are found as Blobs.
 *
 * @param open - rejects with a FileError that names the file, or with the signal's reason
 */
export function blobReader(
  source: { readonly name: string },
  open: (path: string, signal?: AbortSignal) => Promise<Blob>,
): Pick<ModelSource, "name" | "read" | "readInto" | "size"> & Required<Pick<ModelSource, "readInto">> {
  async function readFrom(path: string, blob: Blob, start: number, target: Uint8Array, signal?: AbortSignal) {
    const name = label(source, path);
    const end = start + target.byteLength;
    checkRange(name, start, end, blob.size);
    try {
      await fill(name, blob.slice(start, end).stream(), target);
    } catch (error) {
      throw readFailure(name, error, signal);
    }
    signal?.throwIfAborted();
  }
  return {
    name: source.name,
    readInto: async (path, start, target, signal) => readFrom(path, await open(path, signal), start, target, signal),
    async read(path, range, signal) {
      const blob = await open(path, signal);
      const { start, end } = range ?? { start: 0, end: blob.size };
      checkRange(label(source, path), start, end, blob.size);
      const bytes = new Uint8Array(end - start);
      await readFrom(path, blob, start, bytes, signal);
      return bytes;
    },
    size: async (path, signal) => (await open(path, signal)).size,
  };
}
