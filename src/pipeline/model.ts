/** A model before any GPU is involved: configurations and tensor tables, read and checked. */
import { ConfigError } from "../runtime/errors.ts";
import { parseSchedulerConfig, type SchedulerConfig } from "../sampler/schedulerConfig.ts";
import { buildUNet } from "../unet/build.ts";
import { parseUNet2DConfig } from "../unet/config.ts";
import { classEmbeddings, halvings, type UNetSpec } from "../unet/spec.ts";
import { type Checkpoint, openCheckpoint } from "../weights/checkpoint.ts";
import { findComponent, readModelIndex, readSchedulerConfig } from "../weights/components.ts";
import { readJson } from "../weights/json.ts";
import { matchTensors } from "../weights/match.ts";
import { joinPath, label } from "../weights/path.ts";
import type { ModelSource } from "../weights/source.ts";

export interface Model {
  /** Last part of the source's name. */
  readonly name: string;
  readonly source: ModelSource;
  readonly config: UNetSpec;
  /** null: the model came without a scheduler and can only be evaluated. */
  readonly scheduler: SchedulerConfig | null;
  /** Class names by id. */
  readonly labels: readonly string[] | null;
  /** Number of classes that images can have, without the null class; 0 for an unconditional model. */
  readonly classCount: number;
  /** Class that stands for "no class" in guidance. */
  readonly nullClass: number | null;
  readonly checkpoint: Checkpoint;
}

export interface OpenOptions {
  /** Which set of weights, for example "fp16". */
  variant?: string;
  signal?: AbortSignal;
}

/** Our own keys of model_index.json: id2label and null_class. */
function classTable(index: Record<string, unknown> | undefined, file: string, embeddings: number) {
  const nullClass = index?.null_class ?? null;
  const inRange = (id: unknown) => Number.isInteger(id) && (id as number) >= 0 && (id as number) < embeddings;
  if (nullClass !== null && !inRange(nullClass))
    throw new ConfigError(
      file,
      "null_class",
      `expected a class id below ${embeddings}, got ${JSON.stringify(nullClass)}`,
    );
  const table = index?.id2label;
  if (table === undefined) return { labels: null, nullClass: nullClass as number | null };
  const names = Object.entries(table as Record<string, unknown>);
  const labels = Array.from({ length: names.length }, (_, id) => (table as Record<string, unknown>)[String(id)]);
  if (names.length > embeddings || !labels.every((name) => typeof name === "string"))
    throw new ConfigError(file, "id2label", `expected names for ids 0, 1, … below ${embeddings}`);
  return { labels: labels as string[], nullClass: nullClass as number | null };
}

/**
 * Opens a diffusers folder (`unet/`, `scheduler/`), a flat folder, or the folder of one UNet. Reads configurations and
 * headers only, and checks that the checkpoint fits the configuration.
 * @throws ConfigError, FileError, WeightError; all misfits of a checkpoint at once
 */
export async function openModel(source: ModelSource, options: OpenOptions = {}): Promise<Model> {
  const { signal, variant } = options;
  const folder = await findComponent(source, "unet", signal);
  const configPath = joinPath(folder, "config.json");
  const config = parseUNet2DConfig(await readJson(source, configPath, signal), label(source, configPath));
  const found = await readSchedulerConfig(source, signal);
  const scheduler = found ? parseSchedulerConfig(found.config, found.file) : null;
  const embeddings = classEmbeddings(config);
  const index = await readModelIndex(source, signal);
  const { labels, nullClass } = classTable(index, label(source, "model_index.json"), embeddings);
  const checkpoint = await openCheckpoint(source, folder, { variant, signal });
  // Parameters depend on the configuration alone; the smallest size that every level can halve shows them all.
  const side = 2 ** (halvings(config) + 1);
  const network = buildUNet(config, {
    size: { height: side, width: side },
    dtype: "f32",
    storage: "buffer",
    timesteps: "step",
  });
  matchTensors(checkpoint, network.params);
  const named = labels?.length ?? embeddings - (nullClass === null ? 0 : 1);
  return {
    name:
      source.name
        .replace(/[/\\]+$/, "")
        .split(/[/\\]/)
        .at(-1) || "model",
    source,
    config,
    scheduler,
    labels,
    classCount: embeddings > 0 ? named : 0,
    nullClass,
    checkpoint,
  };
}

/** Bytes of each tensor that enter {@link modelHash}. */
const HASH_SAMPLE = 1024;

/**
 * Twelve hex digits that identify a model: SHA-256 of its configuration, the table of its tensors and the first KiB of
 * each. Cheap for any size, and any retraining changes it.
 */
export async function modelHash(model: Model, signal?: AbortSignal): Promise<string> {
  const { checkpoint, source, config, scheduler } = model;
  const tensors = [...checkpoint.tensors.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  const table = tensors.map(({ name, dtype, shape }) => [name, dtype, shape]);
  const parts: Uint8Array[] = [new TextEncoder().encode(JSON.stringify([config, scheduler, table]))];
  for (const { file, start, end } of tensors)
    parts.push(await source.read(file, { start, end: Math.min(end, start + HASH_SAMPLE) }, signal));
  const digest = await crypto.subtle.digest("SHA-256", await new Blob(parts as BlobPart[]).arrayBuffer());
  return Array.from(new Uint8Array(digest).subarray(0, 6), (b) => b.toString(16).padStart(2, "0")).join("");
}
