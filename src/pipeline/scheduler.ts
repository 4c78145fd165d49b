/** What a model says about its noise levels and how it is sampled. */
import { parseSchedulerConfig, type SchedulerConfig } from "../sampler/schedulerConfig.ts";
import { layouts } from "../unet/layouts/detect.ts";
import { readSchedulerConfig } from "../weights/components.ts";
import { findConfig, type ParseYaml, readConfig } from "../weights/config.ts";
import { label } from "../weights/path.ts";
import type { ModelSource } from "../weights/source.ts";
import type { UnknownOptions } from "../weights/unknown.ts";

/**
 * The scheduler alone, without weights: of `scheduler_config.json`, or of an original's own configuration. null: there is
 * neither.
 * @throws FileError, ConfigError
 */
export async function openScheduler(
  source: ModelSource,
  options: { parseYaml?: ParseYaml; signal?: AbortSignal } & UnknownOptions = {},
): Promise<SchedulerConfig | null> {
  const { signal } = options;
  const found = await readSchedulerConfig(source, signal);
  if (found) return parseSchedulerConfig(found.config, found.file, options);
  const place = await findConfig(source, "", signal);
  if (place === undefined) return null;
  const [file, json] = [label(place.source, place.path), await readConfig(place.source, place.path, options)];
  const parsed = await layouts.find((layout) => layout.configures(json))?.parse(json, file, "plain", options);
  const own = parsed?.scheduler;
  return own ? parseSchedulerConfig(own, file) : null;
}
