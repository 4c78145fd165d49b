/** Where a file that is written replaces another: never what is no regular file, and behind symbolic links. */
import { readlinkSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { FileError } from "../runtime/errors.ts";

/** The links that a path may lead through before it is taken for a circle. */
const MAX_LINKS = 40;

/**
 * The path that a file of this name is to be written to, whether there is one or not yet: links are followed, so that they
 * stay. What a folder means is the caller's affair.
 * @throws FileError when something is there that is neither a file nor a folder, such as a device or a pipe
 */
export function placeToWrite(path: string): string {
  const place = behindLinks(path);
  let kind: ReturnType<typeof statSync> | undefined;
  try {
    kind = statSync(place);
  } catch {
    return place;
  }
  if (!kind.isFile() && !kind.isDirectory()) throw new FileError(path, "is not a file");
  return place;
}

function behindLinks(path: string): string {
  let at = path;
  for (let i = 0; i < MAX_LINKS; i++) {
    let to: string;
    try {
      to = readlinkSync(at);
    } catch {
      return at;
    }
    at = resolve(dirname(at), to);
  }
  throw new FileError(path, "is a symbolic link that leads in a circle");
}
