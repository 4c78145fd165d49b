/**
 * File names inside a model. They come from a caller, or from an index file that anybody may have written, so each is
 * checked before it reaches a disk or a server: a model's files lie in the model's folder.
 */

import { FileError } from "../runtime/errors.ts";

/** How messages spell a file of a source: the source's name, then the path inside it. */
export function label(source: { readonly name: string }, path: string): string {
  if (source.name === "") return path;
  return path === "" ? source.name : `${source.name.replace(/\/+$/, "")}/${path}`;
}

/** Joins a folder ("" is the source's own) and a name inside it. The result is not checked yet. */
export function joinPath(folder: string, name: string): string {
  return folder === "" ? name : `${folder}/${name}`;
}

/** A part of an address as text; as it stands where its percent signs mean nothing. */
export function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/**
 * Checks that `path` names something inside the folder it is relative to: forward slashes only, no empty, `.` or `..`
 * segment, not absolute, no URL scheme, no segment that begins with a drive letter, no control characters.
 *
 * @throws FileError naming the source and the path.
 */
export function checkPath(source: { readonly name: string }, path: string): string {
  const segments = path.split("/");
  const inside =
    segments.every((segment) => segment !== "" && segment !== "." && segment !== ".." && !/^[A-Za-z]:/.test(segment)) &&
    !path.includes("\\") &&
    !/^[A-Za-z][A-Za-z0-9+.-]*:/.test(path) &&
    !hasControlCharacter(path);
  if (!inside) {
    const shown = JSON.stringify(path);
    throw new FileError(source.name || path, `the file name ${shown} does not stay inside the model's folder`);
  }
  return path;
}

function hasControlCharacter(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) < 0x20) return true;
  return false;
}
