/** ddim-webgpu/node: the core, plus folders as models and Dawn as the GPU. */

import { type SampleOptions, sample as sampleOn } from "../index.ts";
import { createPipeline } from "../pipeline/load.ts";
import { loadNames } from "../pipeline/options.ts";
import type { DiffusionPipeline } from "../pipeline/pipeline.ts";
import type { LoadOptions } from "../pipeline/types.ts";
import { UsageError } from "../runtime/errors.ts";
import { checkKind, checkOptions, type OptionNames } from "../runtime/options.ts";
import { message, shown, toConsole } from "../runtime/printable.ts";
import { type NodeDeviceOptions, nodeDeviceNames, openNodeDevice } from "./device.ts";
import { openModel, parseYaml as parseYamlText } from "./model.ts";
import { packedFolder } from "./packedFolder.ts";
import { toNodeSource } from "./source.ts";
import { cacheFolder, tuningFolder } from "./tuningFolder.ts";

export * from "../index.ts";
export { listAdapters, type NodeDeviceOptions, openNodeDevice } from "./device.ts";
export { folderSource, openSafetensorsFile } from "./folder.ts";
export { readImage } from "./image.ts";
export { openAutoencoder, openModel } from "./model.ts";
export { packedFolder } from "./packedFolder.ts";
export { readPng } from "./png.ts";
export { tuningFolder } from "./tuningFolder.ts";

export interface CacheOptions {
  /**
   * Folder of packed weights, which make later loads quicker, and of the tables of measured methods. Default: with `tune`
   * the user's cache folder for the tables, else none; false is none.
   */
  cache?: string | false;
}

/** In Node `cache` is a folder, and what is downloaded is not kept. */
export type NodeLoadOptions = Omit<LoadOptions, "cache"> & NodeDeviceOptions & CacheOptions;

const nodeNames: OptionNames<NodeLoadOptions> = {
  ...loadNames,
  ...nodeDeviceNames,
  cache: true,
};

function tuningStore({ tuning, tune, cache }: NodeLoadOptions): LoadOptions["tuning"] {
  if (tuning || cache === false || (cache === undefined && !tune)) return tuning;
  const folder = cache ?? cacheFolder(process.env);
  if (folder === undefined) throw new UsageError("cache", "cache: the environment names no cache folder, so give one");
  return tuningFolder(folder);
}

/**
 * Opens a model and puts it on a GPU; without `options.device` on one that Dawn opens, freed with the pipeline.
 * @param source the name of a model that comes with the package, the path of a folder or of one file of weights, a `file:` or
 *   web URL of either, an id of the Hugging Face Hub (`org/name` or `org/name@revision`, where there is no such path), File[],
 *   or an object with `read(path)`
 */
export async function loadPipeline(
  source: Parameters<typeof toNodeSource>[0],
  options: NodeLoadOptions = {},
): Promise<DiffusionPipeline> {
  checkOptions("loadPipeline", options, nodeNames);
  const { variant, weights, config, unknown, parseYaml = parseYamlText, fetch, cache, ...loading } = options;
  if (cache !== undefined && cache !== false && (typeof cache !== "string" || cache === "" || cache === "reload"))
    throw new UsageError(
      "cache",
      `cache must be a folder or false here, got ${shown(cache)}; true and "reload" are for pages`,
    );
  const { adapter, fast, threads, matrices = options.dtype === "f16", ...rest } = loading;
  const { signal } = rest;
  const opening = { variant, weights, unknown, parseYaml, signal };
  const { onProgress, onWarning = toConsole } = rest;
  const onDownload = (file: string, loaded: number, total: number) =>
    onProgress?.({ type: "download", file, loaded, total });
  const model = await openModel(toNodeSource(source, { fetch, config, onDownload, onWarning }), opening);
  await model.source.download?.(signal);
  const packed =
    options.packed ??
    (typeof cache === "string" ? packedFolder(cache, (text) => process.emitWarning(message(text))) : undefined);
  return createPipeline(model, { ...rest, tuning: tuningStore(options), packed }, () =>
    openNodeDevice({ adapter, fast, matrices, threads }),
  );
}

/** {@link sampleOn} with Dawn as the default device, opened and freed here. */
export async function sample(options: SampleOptions): ReturnType<typeof sampleOn> {
  checkKind("sample", "options", "an object", options);
  if (options.device) return sampleOn(options);
  const device = await openNodeDevice();
  try {
    return await sampleOn({ ...options, device });
  } finally {
    device.dispose();
  }
}
