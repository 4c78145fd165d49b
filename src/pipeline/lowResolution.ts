/** What a pipeline with a `low_res_scheduler` (diffusers' StableDiffusionUpscalePipeline) does to the picture it enlarges. */
import { ConfigError } from "../runtime/errors.ts";
import { parseSchedulerConfig, type SchedulerConfig } from "../sampler/schedulerConfig.ts";
import { readSchedulerConfig } from "../weights/components.ts";
import { label } from "../weights/path.ts";
import type { ModelSource } from "../weights/source.ts";

/** The picture gets the noise of a timestep, which is also the network's class. */
export interface LowResolution {
  readonly scheduler: SchedulerConfig;
  /** The largest timestep. */
  readonly maxNoiseLevel: number;
}

const FOLDER = "low_res_scheduler";

/**
 * @param index model_index.json
 * @returns null where the pipeline has none
 * @throws FileError, ConfigError
 */
export async function readLowResolution(
  source: ModelSource,
  index: Readonly<Record<string, unknown>> | undefined,
  signal?: AbortSignal,
): Promise<LowResolution | null> {
  if (!index || !Array.isArray(index[FOLDER])) return null;
  const found = await readSchedulerConfig(source, signal, [FOLDER]);
  const file = label(source, "model_index.json");
  if (!found) throw new ConfigError(file, FOLDER, `there is no ${FOLDER}/scheduler_config.json`);
  const most = index.max_noise_level ?? 350;
  if (!Number.isInteger(most) || (most as number) < 0)
    throw new ConfigError(file, "max_noise_level", `expected a whole number from 0, got ${JSON.stringify(most)}`);
  return { scheduler: parseSchedulerConfig(found.config, found.file), maxNoiseLevel: most as number };
}
