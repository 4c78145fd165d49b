/** Opening models where YAML can be read, the format of the originals' configurations. */
import {
  type AutoencoderModel,
  type OpenAutoencoderOptions,
  openAutoencoder as openAutoencoderWith,
} from "../autoencoder/open.ts";
import { type Model, type OpenOptions, openModel as openWith } from "../pipeline/model.ts";
import { openScheduler as openSchedulerWith } from "../pipeline/scheduler.ts";
import type { ModelSource } from "../weights/source.ts";

/** A YAML text as plain objects. */
export async function parseYaml(text: string): Promise<unknown> {
  const { parse } = await import("yaml");
  return parse(text);
}

/** The core's `openModel`, with a reader of YAML. */
export const openModel = (source: ModelSource, options: OpenOptions = {}): Promise<Model> =>
  openWith(source, { parseYaml, ...options });

/** The core's `openScheduler`, with a reader of YAML. */
export const openScheduler = (source: ModelSource, signal?: AbortSignal): ReturnType<typeof openSchedulerWith> =>
  openSchedulerWith(source, { parseYaml, signal });

/** The core's `openAutoencoder`, with a reader of YAML. */
export const openAutoencoder = (source: ModelSource, options: OpenAutoencoderOptions = {}): Promise<AutoencoderModel> =>
  openAutoencoderWith(source, { parseYaml, ...options });
