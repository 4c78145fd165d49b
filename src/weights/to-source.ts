/** One door for everything a caller may name as a model's source. */

import { UsageError } from "../runtime/errors.ts";
import { fileListSource, type PathAndFile } from "./files.ts";
import { type FileGetter, objectSource } from "./object.ts";
import type { ModelSource } from "./source.ts";
import { directoryHandleSource, droppedSource } from "./tree.ts";
import { type Fetch, urlSource } from "./url.ts";

/**
 * What {@link toSource} accepts. Strings are http(s) URLs, or relative to the page in a browser. What was dropped has to be
 * given while the event is handled.
 */
export type SourceLike =
  | string
  | URL
  | Iterable<File | PathAndFile>
  | FileSystemDirectoryHandle
  | DataTransfer
  | Iterable<DataTransferItem>
  | ModelSource
  | FileGetter;

/**
 * Makes a {@link ModelSource} of whatever the caller has.
 *
 * @throws UsageError when it is none of the accepted things. Folders on disk are opened by the `./node` entry point.
 */
export function toSource(from: SourceLike, options: { fetch?: Fetch } = {}): ModelSource {
  if (typeof from === "string" || from instanceof URL) return urlSource(absoluteUrl(from), options);
  if (typeof from === "object" && from !== null) {
    if ("read" in from) return "size" in from && "exists" in from ? from : objectSource(from);
    if ("getFileHandle" in from) return directoryHandleSource(from);
    if ("items" in from && "types" in from) return droppedSource(from.items);
    if (Symbol.iterator in from) {
      const all = [...(from as Iterable<File | PathAndFile | DataTransferItem>)];
      if (all.some((item) => typeof item === "object" && item !== null && "webkitGetAsEntry" in item))
        return droppedSource(all as DataTransferItem[]);
      return fileListSource(all as (File | PathAndFile)[]);
    }
  }
  throw new UsageError(
    "source",
    "the model's source must be a URL, a list of files, a directory's handle, what was dropped, or an object with read(path)",
  );
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
    throw new UsageError(
      "source",
      `${String(from).replace(/[?#].*/s, "")} is not an http(s) URL; folders are opened by the package's ./node entry`,
    );
  return url;
}
