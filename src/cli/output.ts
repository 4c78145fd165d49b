/**
 * Files that a command writes. Whether they can be written is found out before the work begins; they appear whole or not
 * at all: written under another name beside their place, then renamed, without a moment at which Ctrl-C could come between.
 * Where the name is a symbolic link, the file that it leads to is written; what is no regular file is never replaced.
 */
import { mkdirSync, renameSync, unlinkSync, writeFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { codeOf } from "../node/file.ts";
import { placeToWrite } from "../node/place.ts";
import { FileError } from "../runtime/errors.ts";
import { isFolder, pathKind } from "./paths.ts";

const temporaryName = (path: string) => join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);

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
  probe(path, temporaryName(end));
}

/**
 * Makes sure that a folder can be written into, or can be made.
 * @throws FileError
 */
export function checkFolder(path: string): void {
  if (isFolder(path)) return probe(path, temporaryName(join(path, "probe")));
  if (pathKind(path)) throw new FileError(path, "is not a folder");
  checkFile(path.replace(/[/\\]+$/, ""), false);
}

/** Access rights do not tell everything (root, read-only disks), an attempt does. */
function probe(path: string, temporary: string): void {
  attempt(path, () => writeFileSync(temporary, ""));
  unlinkSync(temporary);
}

/** Makes a folder that {@link checkFolder} has passed. */
export function makeFolder(path: string): void {
  attempt(path, () => mkdirSync(path, { recursive: true }));
}

/** @throws FileError when the file cannot be written; then it is as it was before. */
export function writeFile(path: string, content: Uint8Array | string): void {
  const end = placeToWrite(path);
  const temporary = temporaryName(end);
  try {
    attempt(path, () => {
      writeFileSync(temporary, content);
      renameSync(temporary, end);
    });
  } catch (error) {
    if (pathKind(temporary)) unlinkSync(temporary);
    throw error;
  }
}

/** {@link writeFile} of pieces, each of which is written before the next is asked for. @throws also what they throw */
export async function writePieces(path: string, pieces: AsyncIterable<Uint8Array>): Promise<void> {
  const end = placeToWrite(path);
  const temporary = temporaryName(end);
  let file: FileHandle | undefined;
  try {
    file = await open(temporary, "w").catch(unwritable(path));
    for await (const piece of pieces) await file.writeFile(piece).catch(unwritable(path));
    await file.close().catch(unwritable(path));
    file = undefined;
    attempt(path, () => {
      renameSync(temporary, end);
    });
  } catch (error) {
    await file?.close().catch(() => {});
    if (pathKind(temporary)) unlinkSync(temporary);
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
