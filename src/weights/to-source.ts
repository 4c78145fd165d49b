/** One door for everything a caller may name as a model's source. */

import { UsageError } from "../runtime/errors.ts";
import { isConfig } from "./config.ts";
import { fileListSource, type PathAndFile } from "./files.ts";
import { fileAddress, parseHubId } from "./hub.ts";
import { isWeights } from "./locate.ts";
import { type FileGetter, objectSource } from "./object.ts";
import { decoded } from "./path.ts";
import { checkNamed, isBareName, isShipped, unknownName } from "./shippedNames.ts";
import { singleFileSource, withConfig } from "./single.ts";
import { type ConfigPlace, lazySource, type ModelSource } from "./source.ts";
import { directoryHandleSource, droppedSource } from "./tree.ts";
import { checkCache, type WebOptions, webSource } from "./web.ts";

/**
 * What {@link toSource} accepts. Strings are the name of a model that comes with the package, http(s) URLs or, in a browser,
 * addresses relative to the page (a folder beside it is `./name`); a URL is that of a folder, of its configuration, of one file
 * of weights, or of a model's page on huggingface.co. What was dropped has to be given while the event is handled.
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

export interface SourceOptions extends WebOptions {
  /** In place of the configuration that lies with the weights. */
  readonly config?: ConfigLike;
}

/**
 * Makes a {@link ModelSource} of whatever the caller has. A File, and a URL that ends as files of weights do, are one file.
 *
 * @throws UsageError when it is none of the accepted things. Folders on disk are opened by the `./node` entry point.
 */
export function toSource(from: SourceLike, { config, ...options }: SourceOptions = {}): ModelSource {
  checkCache(options);
  checkNamed(from);
  const file = singleFile(from, options);
  const source = file ? singleFileSource(file.source, file.path) : folderLike(from, options);
  return config === undefined ? source : withConfig(source, toConfig(config, options));
}

/** Where a configuration is that was named. @throws UsageError when it is none of the accepted things */
export function toConfig(config: ConfigLike, options: WebOptions = {}): ConfigPlace {
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

function singleFile(from: SourceLike, options: WebOptions): ConfigPlace | undefined {
  if (from instanceof Blob) return { source: fileListSource([[from.name, from]]), path: from.name };
  if (typeof from !== "string" && !(from instanceof URL)) return undefined;
  if (typeof from === "string" && isBareName(from)) return undefined;
  const url = absoluteUrl(from);
  return isWeights(url.pathname) ? fileAt(url, options) : undefined;
}

/**
 * A URL's folder as a source, which keeps its query, and the file in it.
 * @param id - what it is kept by in a page; default: the file's URL
 */
function fileAt(url: URL, options: WebOptions, id = url.href): ConfigPlace {
  const folder = new URL(url);
  const slash = url.pathname.lastIndexOf("/");
  folder.pathname = url.pathname.slice(0, slash);
  return { source: webSource(folder, id, options), path: decoded(url.pathname.slice(slash + 1)) };
}

function folderLike(from: SourceLike, options: WebOptions): ModelSource {
  if (isShipped(from))
    return lazySource(from, async () => {
      const { shippedSource } = await import("./shipped.ts");
      return shippedSource(from, (url) => fileAt(url, options, from), options.fetch ?? globalThis.fetch);
    });
  if (typeof from === "string" && isBareName(from))
    throw unknownName(
      from,
      `a URL, ./${from} for a folder beside the page, a file, a list of files or a directory's handle`,
    );
  if (typeof from === "string" || from instanceof URL) {
    const url = absoluteUrl(from);
    const inside = fileAt(url, options);
    if (isConfig(inside.path)) return inside.source;
    const source = webSource(url, url.href, options);
    const id = typeof from === "string" ? parseHubId(from) : undefined;
    if (!id) return source;
    return { ...source, advice: `; a model of the Hugging Face Hub is https://huggingface.co/${id.name} in a page` };
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
