/** `loadPipeline` for browsers and anything else with `navigator.gpu` or a device at hand. */

import type { Device } from "../runtime/device.ts";
import { checkOptions } from "../runtime/options.ts";
import { type SourceLike, toSource } from "../weights/to-source.ts";
import { type Model, openModel } from "./model.ts";
import { type CreateOptions, createNames, loadNames } from "./options.ts";
import { DiffusionPipeline } from "./pipeline.ts";
import type { LoadOptions } from "./types.ts";

/**
 * Opens a model and puts it on a GPU.
 * @param source the name of a model that comes with the package ("pixel-avatars-16"), a URL (of a folder, or of one file of weights), a File of weights, the files of an `<input webkitdirectory>` or pairs `[path, File]`, a directory's handle, a drop's
 *   `DataTransfer` (while its event is handled), or an object with `read(path)`
 * @throws FileError, ConfigError, WeightError for a model that cannot be right; UsageError; DeviceError; the signal's
 *   reason
 */
export async function loadPipeline(source: SourceLike, options: LoadOptions = {}): Promise<DiffusionPipeline> {
  checkOptions("loadPipeline", options, loadNames);
  const { variant, weights, config, unknown, parseYaml, fetch, cache, ...rest } = options;
  const { signal, onWarning } = rest;
  const files = toSource(source, { fetch, config, cache, onWarning });
  const pipeline = await createPipeline(await openModel(files, { variant, weights, unknown, parseYaml, signal }), rest);
  await files.keep?.();
  return pipeline;
}

/** Puts an opened model on a device. Without `options.device` one is opened on `gpu` and freed with the pipeline. */
export async function createPipeline(
  model: Model,
  options: CreateOptions = {},
  open?: () => Promise<Device>,
): Promise<DiffusionPipeline> {
  checkOptions("createPipeline", options, createNames);
  options.signal?.throwIfAborted();
  return DiffusionPipeline.create(model, options, open);
}
