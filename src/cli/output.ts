/**
 * Files that a command writes. Whether they can be written is found out before the work begins; they appear whole or not
 * at all. Where the name is a symbolic link, the file that it leads to is written; what is no regular file is never replaced.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { codeOf } from "../node/file.ts";
import { placeToWrite } from "../node/place.ts";
import { appear, appearSync, beside, sweep } from "../node/temporary.ts";
import { FileError } from "../runtime/errors.ts";
import { isFolder, pathKind } from "./paths.ts";

/**
 * Makes sure that a file can be written.
 * @throws FileError when it is there and may not be replaced, when its folder is missing, or when nothing can be written
 * there.
 */
export function checkFile(path: string, overwrite: boolean): void {
  const end = placeToWrite(path);
  if (pathKind(end) === "folder") throw new FileError(path, "is a folder");
  if (pathKind(end) && !overwrite) throw new FileError(path, "exists already; --overwrite replaces it");
  const folder = dirname(end);
  if (!isFolder(folder)) throw new FileError(path, `cannot be written, there is no folder ${folder}`);
  probe(path, end);
}

/**
 * Makes sure that a folder can be written into, or can be made.
 * @throws FileError
 */
export function checkFolder(path: string): void {
  if (isFolder(path)) return probe(path, join(path, "probe"));
  if (pathKind(path)) throw new FileError(path, "is not a folder");
  checkFile(path.replace(/[/\\]+$/, ""), false);
}

/** Access rights do not tell everything (root, read-only disks), an attempt does. */
function probe(path: string, end: string): void {
  sweep(dirname(end));
  attempt(path, () => beside(end, (temporary) => writeFileSync(temporary, "")));
}

/** Makes a folder that {@link checkFolder} has passed. */
export function makeFolder(path: string): void {
  attempt(path, () => mkdirSync(path, { recursive: true }));
}

/** @throws FileError when the file cannot be written; then it is as it was before. */
export function writeFile(path: string, content: Uint8Array | string): void {
  const end = placeToWrite(path);
  attempt(path, () => appearSync(end, (temporary) => writeFileSync(temporary, content)));
}

/** {@link writeFile} of pieces, each of which is written before the next is asked for. @throws also what they throw */
export async function writePieces(path: string, pieces: AsyncIterable<Uint8Array>): Promise<void> {
  const failed = unwritable(path);
  const made = appear(placeToWrite(path), async (temporary) => {
    const file = await open(temporary, "w").catch(failed);
    try {
      for await (const piece of pieces) await file.writeFile(piece).catch(failed);
    } finally {
      await file.close().catch(failed);
    }
  });
  // What the pieces throw is theirs; what renaming throws has the code of a file system.
  await made.catch((error) => (codeOf(error) === undefined ? Promise.reject(error) : failed(error)));
}

/** Work of whose files one cannot be written, where that is not the end of all: what is wrong, or undefined. */
export async function fileFailure(work: () => unknown): Promise<FileError | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    if (error instanceof FileError) return error;
    throw error;
  }
}

const unwritable =
  (path: string) =>
  (cause: unknown): never => {
    if (cause instanceof FileError) throw cause;
    throw new FileError(path, `cannot be written (${codeOf(cause)})`, { cause });
  };

function attempt<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    return unwritable(path)(cause);
  }
}
