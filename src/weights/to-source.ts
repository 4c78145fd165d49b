/** One door for everything a caller may name as a model's source. */

import { UsageError } from "../runtime/errors.ts";
import { fileListSource } from "./files.ts";
import { type FileGetter, objectSource } from "./object.ts";
import type { ModelSource } from "./source.ts";
import { type Fetch, urlSource } from "./url.ts";

/** What {@link toSource} accepts. Strings are http(s) URLs, or relative to the page in a browser. */
export type SourceLike = string | URL | Iterable<File> | ModelSource | FileGetter;

/**
 * Makes a {@link ModelSource} of whatever the caller has.
 *
 * @throws UsageError when it is none of the accepted things. Folders on disk are opened by the `./node` entry point.
 */
export function toSource(from: SourceLike, options: { fetch?: Fetch } = {}): ModelSource {
  if (typeof from === "string" || from instanceof URL) return urlSource(absoluteUrl(from), options);
  if (typeof from === "object" && from !== null) {
    if ("read" in from) return "size" in from && "exists" in from ? from : objectSource(from);
    if (Symbol.iterator in from) return fileListSource(from);
  }
  throw new UsageError("source", "the model's source must be a URL, a list of files or an object with read(path)");
}

function absoluteUrl(from: string | URL): URL {
  let url: URL | undefined;
  try {
    // A page, or a worker of one, knows where it is; Node does not.
    url = new URL(from, globalThis.location?.href);
  } catch {
    // Reported below.
  }
  if (url?.protocol !== "http:" && url?.protocol !== "https:")
    throw new UsageError("source", `${from} is not an http(s) URL; folders are opened by the package's ./node entry`);
  return url;
}
