/**
 * The package's own models where there is no disk to find them on: their configurations are in here, so that the weights
 * are all that is fetched. Bundlers know `new URL("…", import.meta.url)` with a literal: they copy the file and put its new
 * address there. Whoever imports the package gets that copy, but only the visitors of pages that name the model download
 * it, since this module is loaded when they do; a separate entry would have spared the copy, and the name its meaning.
 */

import tilesIndex from "../../weights/crawl-tiles-32/model_index.json" with { type: "json" };
import tilesScheduler from "../../weights/crawl-tiles-32/scheduler/scheduler_config.json" with { type: "json" };
import tilesConfig from "../../weights/crawl-tiles-32/unet/config.json" with { type: "json" };
import avatarsIndex from "../../weights/pixel-avatars-16/model_index.json" with { type: "json" };
import avatarsScheduler from "../../weights/pixel-avatars-16/scheduler/scheduler_config.json" with { type: "json" };
import avatarsConfig from "../../weights/pixel-avatars-16/unet/config.json" with { type: "json" };
import { FileError } from "../runtime/errors.ts";
import { objectSource } from "./object.ts";
import type { Fetch } from "./requests.ts";
import { type ShippedName, VERSION } from "./shippedNames.ts";
import { type ConfigPlace, type ModelSource, readInto } from "./source.ts";

/** Where the repository keeps the weights of this version; its name is a placeholder until there is one. */
const REPOSITORY_WEIGHTS = `https://raw.githubusercontent.com/ddim-webgpu/ddim-webgpu/v${VERSION}/weights`;

const WEIGHTS = "unet/diffusion_pytorch_model.safetensors";

interface Shipped {
  readonly texts: Readonly<Record<string, object>>;
  weights(): URL;
  /** What to do where they cannot be had. */
  readonly advice: string;
}

const texts = (index: object, scheduler: object, config: object) => ({
  "model_index.json": index,
  "scheduler/scheduler_config.json": scheduler,
  "unet/config.json": config,
});

const models: Readonly<Record<ShippedName, Shipped>> = {
  "pixel-avatars-16": {
    texts: texts(avatarsIndex, avatarsScheduler, avatarsConfig),
    weights() {
      const url = new URL("../../weights/pixel-avatars-16/unet/diffusion_pytorch_model.safetensors", import.meta.url);
      // Vite before 8 moves this module to node_modules/.vite/deps while a site is developed, and leaves the literal alone.
      const href = url.href.replace("/node_modules/weights/", "/node_modules/ddim-webgpu/weights/");
      // With webpack, Next puts an object there that has a path alone.
      return new URL(href, globalThis.location?.href);
    },
    advice:
      "it comes with the package, so in Node import ddim-webgpu/node, or copy the package's folder weights/pixel-avatars-16 to your site and give its URL",
  },
  "crawl-tiles-32": {
    texts: texts(tilesIndex, tilesScheduler, tilesConfig),
    weights: () => new URL(`${REPOSITORY_WEIGHTS}/crawl-tiles-32/${WEIGHTS}`),
    advice:
      "crawl-tiles-32 is not in the package but in its repository, so give the folder weights/crawl-tiles-32 of a checkout, or the URL of a copy",
  },
};

/**
 * One of the package's models.
 * @param fileAt - a file on a server, as a source and its path there
 */
export function shippedSource(name: ShippedName, fileAt: (url: URL) => ConfigPlace, fetch: Fetch): ModelSource {
  const { texts, weights, advice } = models[name];
  const has = (path: string) => Object.hasOwn(texts, path);
  const configs = objectSource({
    name,
    read: async (path) => (has(path) ? new TextEncoder().encode(JSON.stringify(texts[path])) : undefined),
  });
  const url = weights();
  const { source, path: file } = isWeb(url) ? fileAt(url) : wholeFile(url, fetch);
  const place = (path: string): [ModelSource, string] => (path === WEIGHTS ? [source, file] : [configs, path]);
  return {
    name,
    exists: async (path) => path === WEIGHTS || has(path),
    read(path, ...rest) {
      const [source, own] = place(path);
      return source.read(own, ...rest);
    },
    readInto(path, ...rest) {
      const [source, own] = place(path);
      return readInto(source, own, ...rest);
    },
    async size(path, signal) {
      const [source, own] = place(path);
      try {
        return await source.size(own, signal);
      } catch (error) {
        if (path !== WEIGHTS || !(error instanceof FileError)) throw error;
        throw new FileError(error.file, `${error.problem}; ${advice}`, { cause: error });
      }
    },
    async stamp(path, signal) {
      const [source, own] = place(path);
      return source.stamp?.(own, signal);
    },
    keep: async () => source.keep?.(),
  };
}

const isWeb = ({ protocol }: URL): boolean => protocol === "http:" || protocol === "https:";

/** What is no server's file, and so has no ranges: bundlers may put a file into its address (`data:`). */
function wholeFile({ href, protocol }: URL, fetch: Fetch): ConfigPlace {
  const path = "diffusion_pytorch_model.safetensors";
  const name = protocol === "data:" ? "data:" : href.slice(0, href.lastIndexOf("/"));
  const read = async () => {
    const response = await fetch(href);
    return response.ok ? response.arrayBuffer() : undefined;
  };
  return { source: objectSource({ name, read }), path };
}
