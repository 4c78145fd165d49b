/** Models by whatever name a caller in Node has for them. */
import { basename, dirname } from "node:path";
import { FileError } from "../runtime/errors.ts";
import { isWeights } from "../weights/locate.ts";
import { singleFileSource, withConfig } from "../weights/single.ts";
import type { ModelSource } from "../weights/source.ts";
import { type SourceLike, type SourceOptions, toConfig, toSource } from "../weights/to-source.ts";
import { folderSource } from "./folder.ts";
import { type HubOptions, hubSource } from "./hub/source.ts";
import { pathOf, placeOfModel, statsAt, urlOf } from "./modelName.ts";

/** A folder, or one file of weights in it. @throws FileError when it is neither */
function diskSource(path: string): ModelSource {
  const stats = statsAt(path);
  if (!stats || stats.isDirectory()) return folderSource(path);
  if (!stats.isFile()) throw new FileError(path, "is not a file");
  if (!isWeights(path))
    throw new FileError(path, "is neither a folder nor a .safetensors, .ckpt, .pt, .pth or .bin file");
  return singleFileSource(folderSource(dirname(path)), basename(path));
}

function namedSource(name: string | URL, { fetch, ...options }: HubOptions): ModelSource {
  const place = placeOfModel(name);
  if (place.kind === "disk") return diskSource(place.path);
  if (place.kind === "web") return toSource(place.url, { fetch });
  if (place.kind === "shipped") return toSource(place.name, { fetch });
  return hubSource(place.id, { fetch, ...options });
}

/**
 * Like the core's `toSource`, but a string or URL is the name of a model as {@link placeOfModel} reads it.
 * @throws FileError when there is no such thing
 */
export function toNodeSource(from: SourceLike, { config, ...options }: SourceOptions & HubOptions = {}): ModelSource {
  const { fetch } = options;
  const source =
    typeof from === "string" || from instanceof URL ? namedSource(from, options) : toSource(from, { fetch });
  if (config === undefined) return source;
  const url = urlOf(config);
  const path = url ? pathOf(url) : typeof config === "string" ? config : undefined;
  if (path === undefined) return withConfig(source, toConfig(config, { fetch }));
  if (!(statsAt(path)?.isFile() ?? true)) throw new FileError(path, "is not a file");
  return withConfig(source, { source: folderSource(dirname(path)), path: basename(path) });
}
