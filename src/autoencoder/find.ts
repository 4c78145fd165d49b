/** Whether a model has an autoencoder, by its files and configurations: most work on pixels, and load nothing more. */
import { textOf } from "../runtime/printable.ts";
import { readModelIndex } from "../weights/components.ts";
import { findConfig, type ParseYaml, readConfig } from "../weights/config.ts";
import { isObject } from "../weights/json.ts";
import { label } from "../weights/path.ts";
import type { ModelSource } from "../weights/source.ts";

/** First stages of latent-diffusion that compute nothing (ldm/models/autoencoder.py). */
const IDENTITY = /(^|\.)(IdentityFirstStage|Identity)$/;

/** Folders of pipelines, then the root. */
export const FOLDERS = ["vae", "vqvae", ""];

type Json = Readonly<Record<string, unknown>>;

/** Whether a configuration, that of a whole model too, describes an autoencoder, or a network that has none. */
function describes(json: Json): boolean {
  if (!isObject(json.model)) return /^(VQ|Asymmetric|Autoencoder|ConsistencyDecoder)/.test(textOf(json._class_name));
  const { params, target } = json.model;
  if (!isObject(params)) return false;
  if (!("first_stage_config" in params)) return !("unet_config" in params);
  const first = params.first_stage_config;
  return !(isObject(first) && IDENTITY.test(textOf(first.target ?? target)));
}

export interface Configured {
  readonly folder: string;
  /** For messages. */
  readonly file: string;
  readonly json: Json;
  /** Class of the pipeline that it is a part of. */
  readonly pipeline: string;
}

/** The first configuration of an autoencoder; null where there is none. */
export async function findConfigured(
  source: ModelSource,
  options: { parseYaml?: ParseYaml; signal?: AbortSignal },
): Promise<Configured | null> {
  // A pipeline lists its parts, which spares asking a server for files that are not there.
  const index = source.weights === undefined ? await readModelIndex(source, options.signal) : undefined;
  for (const folder of index ? FOLDERS.filter((name) => name in index) : FOLDERS) {
    const place = await findConfig(source, folder, options.signal);
    if (place === undefined) continue;
    const json = await readConfig(place.source, place.path, options);
    if (folder === "" && !describes(json)) continue;
    const file = label(place.source, place.path);
    return { folder, file, json, pipeline: textOf(index?._class_name ?? "") };
  }
  return null;
}
