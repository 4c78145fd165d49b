/**
 * Files that a command writes. Whether they can be written is found out before the work begins; they appear whole or not
 * at all: written under another name beside their place, then renamed, without a moment at which Ctrl-C could come between.
 */
import { mkdirSync, renameSync, unlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { FileError } from "../runtime/errors.ts";
import { isFolder, pathKind } from "./paths.ts";

const temporaryName = (path: string) => join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);

/**
 * Makes sure that a file can be written.
 * @throws FileError when it is there and may not be replaced, when its folder is missing, or when nothing can be written
 * there.
 */
export function checkFile(path: string, overwrite: boolean): void {
  const kind = pathKind(path);
  if (kind === "folder") throw new FileError(path, "is a folder");
  if (kind && !overwrite) throw new FileError(path, "exists already; --overwrite replaces it");
  const folder = dirname(path);
  if (!isFolder(folder)) throw new FileError(path, `cannot be written, there is no folder ${folder}`);
  probe(path, temporaryName(path));
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
  const temporary = temporaryName(path);
  try {
    attempt(path, () => {
      writeFileSync(temporary, content);
      renameSync(temporary, path);
    });
  } catch (error) {
    if (pathKind(temporary)) unlinkSync(temporary);
    throw error;
  }
}

function attempt(path: string, action: () => void): void {
  try {
    action();
  } catch (cause) {
    throw new FileError(path, `cannot be written (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
}
