/** Folders that a page was given access to: a directory's handle, or what was dropped on it (WICG File and Directory Entries). */

import { FileError, UsageError } from "../runtime/errors.ts";
import { blobReader } from "./files.ts";
import { checkPath, label } from "./path.ts";
import { isNotFound, type ModelSource, readFailure } from "./source.ts";

/** Files by path. Both reject with the platform's DOMException. */
interface Tree {
  readonly name: string;
  file(path: string): Promise<File>;
  /** Names of what is directly in a folder. */
  list(folder: string): Promise<string[]>;
}

/** A source over a directory's handle, from `showDirectoryPicker`, the page's own storage or a drop. */
export function directoryHandleSource(root: FileSystemDirectoryHandle): ModelSource {
  const walk = async (folders: readonly string[]) => {
    let folder = root;
    for (const name of folders) folder = await folder.getDirectoryHandle(name);
    return folder;
  };
  return treeSource({
    name: root.name,
    async file(path) {
      const names = path.split("/");
      const folder = await walk(names.slice(0, -1));
      return (await folder.getFileHandle(names.at(-1) as string)).getFile();
    },
    async list(path) {
      const folder = await walk(path === "" ? [] : path.split("/"));
      const names: string[] = [];
      for await (const name of folder.keys()) names.push(name);
      return names;
    },
  });
}

/**
 * A source over what was dropped on a page: one folder, or files and folders side by side. To be called while the drop's
 * event is handled; afterwards the browser takes the items away.
 *
 * @throws UsageError when nothing of it is a file or folder, FileError when two have the same name.
 */
export function droppedSource(items: Iterable<DataTransferItem>): ModelSource {
  const entries = [...items].flatMap((item) => (item.kind === "file" && item.webkitGetAsEntry()) || []);
  const [first] = entries;
  if (!first)
    throw new UsageError(
      "source",
      "nothing of what was dropped is a file or folder (once its event is over, it is gone)",
    );
  if (entries.length === 1 && first.isDirectory) {
    const root = first as FileSystemDirectoryEntry;
    return treeSource({
      name: root.name,
      file: async (path) => fileOf(await childOf(root, path, "getFile")),
      list: async (path) => namesIn(path === "" ? root : await childOf(root, path, "getDirectory")),
    });
  }
  const byName = new Map<string, FileSystemEntry>();
  for (const entry of entries) {
    if (byName.has(entry.name)) throw new FileError(entry.name, "was dropped twice: drop one folder");
    byName.set(entry.name, entry);
  }
  const split = (path: string) => {
    const [name, ...rest] = path.split("/") as [string, ...string[]];
    const entry = byName.get(name);
    if (!entry || (rest.length > 0 && !entry.isDirectory)) throw notFound(path);
    return { entry, rest: rest.join("/") };
  };
  return treeSource({
    name: "",
    async file(path) {
      const { entry, rest } = split(path);
      if (rest !== "") return fileOf(await childOf(entry as FileSystemDirectoryEntry, rest, "getFile"));
      if (!entry.isFile) throw notFound(path);
      return fileOf(entry);
    },
    async list(path) {
      if (path === "") return [...byName.keys()];
      const { entry, rest } = split(path);
      if (rest !== "") return namesIn(await childOf(entry as FileSystemDirectoryEntry, rest, "getDirectory"));
      return entry.isDirectory ? namesIn(entry as FileSystemDirectoryEntry) : [];
    },
  });
}

const notFound = (path: string) => new DOMException(`there is no ${path}`, "NotFoundError");

const childOf = <K extends "getFile" | "getDirectory">(folder: FileSystemDirectoryEntry, path: string, get: K) =>
  new Promise<K extends "getFile" ? FileSystemFileEntry : FileSystemDirectoryEntry>((resolve, reject) => {
    folder[get](path, {}, (entry) => resolve(entry as never), reject);
  });

const fileOf = (entry: FileSystemEntry) =>
  new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));

async function namesIn(folder: FileSystemDirectoryEntry): Promise<string[]> {
  const reader = folder.createReader();
  const names: string[] = [];
  // Some browsers give a hundred entries at a time; an empty list is the end.
  for (;;) {
    const entries = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (entries.length === 0) return names;
    names.push(...entries.map((entry) => entry.name));
  }
}

function treeSource(tree: Tree): ModelSource {
  const source = { name: tree.name };
  // A File is the state in which it was opened: one that is changed later fails to be read instead of being mixed.
  const opened = new Map<string, File>();

  async function find(path: string, signal?: AbortSignal): Promise<File | undefined> {
    checkPath(source, path);
    signal?.throwIfAborted();
    const known = opened.get(path);
    if (known) return known;
    try {
      const file = await tree.file(path);
      opened.set(path, file);
      return file;
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw readFailure(label(source, path), error, signal);
    }
  }

  async function get(path: string, signal?: AbortSignal): Promise<File> {
    const file = await find(path, signal);
    if (!file) throw new FileError(label(source, path), "there is no such file");
    return file;
  }

  return {
    ...blobReader(source, get),
    exists: async (path, signal) => (await find(path, signal)) !== undefined,
    async list(folder, signal) {
      signal?.throwIfAborted();
      try {
        return await tree.list(folder === "" ? "" : checkPath(source, folder));
      } catch (error) {
        if (isAbsent(error)) return [];
        throw readFailure(label(source, folder), error, signal);
      }
    },
  };
}

/** No such entry, or a folder where a file is asked for and the reverse. */
const isAbsent = (error: unknown) => isNotFound(error) || (error as Error)?.name === "TypeMismatchError";
