/** `loadPipeline` for browsers and anything else with `navigator.gpu` or a device at hand. */
import { type SourceLike, toSource } from "../weights/to-source.ts";
import { openModel } from "./model.ts";
import { createPipeline, type DiffusionPipeline } from "./pipeline.ts";
import type { LoadOptions } from "./types.ts";

/**
 * Opens a model and puts it on a GPU.
 * @param source a URL, the files of an `<input webkitdirectory>`, or an object with `read(path)`
 * @throws FileError, ConfigError, WeightError for a model that cannot be right; DeviceError; the signal's reason
 */
export async function loadPipeline(source: SourceLike, options: LoadOptions = {}): Promise<DiffusionPipeline> {
  const { variant, signal } = options;
  const model = await openModel(toSource(source, { fetch: options.fetch }), { variant, signal });
  return createPipeline(model, options);
}
