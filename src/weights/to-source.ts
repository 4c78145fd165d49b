/** One door for everything a caller may name as a model's source. */

import { UsageError } from "../runtime/errors.ts";
import { isConfig } from "./config.ts";
import { fileListSource, type PathAndFile } from "./files.ts";
import { fileAddress } from "./hub.ts";
import { isWeights } from "./locate.ts";
import { type FileGetter, objectSource } from "./object.ts";
import { decoded } from "./path.ts";
import { singleFileSource, withConfig } from "./single.ts";
import type { ConfigPlace, ModelSource } from "./source.ts";
import { directoryHandleSource, droppedSource } from "./tree.ts";
import { type Fetch, urlSource } from "./url.ts";

/**
 * What {@link toSource} accepts. Strings are http(s) URLs, or relative to the page in a browser; a URL is that of a folder, of
 * its configuration, of one file of weights, or of a model's page on huggingface.co. What was dropped has to be given while
 * the event is handled.
 */
export type SourceLike =
  | string
  | URL
  | File
  | Iterable<File | PathAndFile>
  | FileSystemDirectoryHandle
  | DataTransfer
  | Iterable<DataTransferItem>
  | ModelSource
  | FileGetter;

/** A configuration apart from the model's files: a URL, a file, or the keys and values themselves. */
export type ConfigLike = string | URL | File | Readonly<Record<string, unknown>>;

export interface SourceOptions {
  readonly fetch?: Fetch;
  /** In place of the configuration that lies with the weights. */
  readonly config?: ConfigLike;
}

/**
 * Makes a {@link ModelSource} of whatever the caller has. A File, and a URL that ends as files of weights do, are one file.
 *
 * @throws UsageError when it is none of the accepted things. Folders on disk are opened by the `./node` entry point.
 */
export function toSource(from: SourceLike, { config, ...options }: SourceOptions = {}): ModelSource {
  const file = singleFile(from, options);
  const source = file ? singleFileSource(file.source, file.path) : folderLike(from, options);
  return config === undefined ? source : withConfig(source, toConfig(config, options));
}

/** Where a configuration is that was named. @throws UsageError when it is none of the accepted things */
export function toConfig(config: ConfigLike, options: { fetch?: Fetch } = {}): ConfigPlace {
  if (typeof config === "string" || config instanceof URL) return fileAt(absoluteUrl(config), options);
  if (config instanceof Blob) return { source: fileListSource([[config.name, config]]), path: config.name };
  if (typeof config !== "object" || config === null)
    throw new UsageError("config", "config must be a URL, a file or an object of keys and values");
  let text: string | undefined;
  try {
    text = JSON.stringify(config);
  } catch {
    // Reported below.
  }
  if (text === undefined) throw new UsageError("config", "config must hold keys and values that JSON can say");
  const bytes = new TextEncoder().encode(text);
  return {
    source: objectSource({ read: async (path) => (path === "config.json" ? bytes : undefined) }),
    path: "config.json",
  };
}

function singleFile(from: SourceLike, options: { fetch?: Fetch }): ConfigPlace | undefined {
  if (from instanceof Blob) return { source: fileListSource([[from.name, from]]), path: from.name };
  if (typeof from !== "string" && !(from instanceof URL)) return undefined;
  const url = absoluteUrl(from);
  return isWeights(url.pathname) ? fileAt(url, options) : undefined;
}

/** A URL's folder as a source, which keeps its query, and the file in it. */
function fileAt(url: URL, options: { fetch?: Fetch }): ConfigPlace {
  const folder = new URL(url);
  const slash = url.pathname.lastIndexOf("/");
  folder.pathname = url.pathname.slice(0, slash);
  return { source: urlSource(folder, options), path: decoded(url.pathname.slice(slash + 1)) };
}

function folderLike(from: SourceLike, options: { fetch?: Fetch }): ModelSource {
  if (typeof from === "string" || from instanceof URL) {
    const url = absoluteUrl(from);
    const inside = fileAt(url, options);
    return isConfig(inside.path) ? inside.source : urlSource(url, options);
  }
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
    "the model's source must be a URL, a file or a list of files, a directory's handle, what was dropped, or an object with read(path)",
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
  return fileAddress(url);
}
