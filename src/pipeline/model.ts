/** A model before any GPU is involved: configurations and tensor tables, read and checked. */
import { findConfigured } from "../autoencoder/find.ts";
import type { AutoencoderModel } from "../autoencoder/open.ts";
import type { Naming } from "../network/naming.ts";
import { ConfigError, UsageError } from "../runtime/errors.ts";
import { checkKind, checkOptions, type OptionNames } from "../runtime/options.ts";
import { shown, textOf } from "../runtime/printable.ts";
import { parseSchedulerConfig, type SchedulerConfig, unreadKeys } from "../sampler/schedulerConfig.ts";
import { plainLayout } from "../unet/layouts/diffusers.ts";
import type { ClassEmbedder, DetectedLayout, Layout, WeightSet } from "../unet/layouts/types.ts";
import { classEmbeddings, type UNetSpec } from "../unet/spec.ts";
import { type Checkpoint, openCheckpoint } from "../weights/checkpoint.ts";
import { findComponent, readModelIndex, readSchedulerConfig, schedulerFolders } from "../weights/components.ts";
import { findConfig, type ParseYaml, readConfig } from "../weights/config.ts";
import { isObject } from "../weights/json.ts";
import { isUsualName } from "../weights/locate.ts";
import { matchTensors } from "../weights/match.ts";
import { decoded, label } from "../weights/path.ts";
import type { ConfigPlace, ModelSource } from "../weights/source.ts";
import { checkUnknown, type UnknownOptions } from "../weights/unknown.ts";
import { type ConcatInput, divideInput } from "./divideInput.ts";
import { checkNetwork, expectedTensors } from "./expected.ts";
import { type LowResolution, readLowResolution } from "./lowResolution.ts";

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
  /** Names of the checkpoint's tensors that the network reads: of one set of weights, where there are two. */
  readonly networkTensors: readonly string[];
  /** How the checkpoint spells its tensors. */
  readonly layout: Layout["id"];
  readonly naming: Naming;
  readonly weights: WeightSet;
  /** What else decides which numbers the network gets from the same files. */
  readonly reading: string;
  /** Where the network's context is a class's vector in a table of the checkpoint. */
  readonly classEmbedder: ClassEmbedder | null;
  /** The autoencoder whose latents the network works on; null where it works on pixels. */
  readonly firstStage: AutoencoderModel | null;
  /** Channels of the sampler's state, the first of the network's input; and what the network reads beside it. */
  readonly stateChannels: number;
  readonly concat: ConcatInput | null;
  /** How a low-resolution picture is made noisy; null where it is not. */
  readonly lowResolution: LowResolution | null;
  /** Sentences about what was assumed. */
  readonly warnings: readonly string[];
}

export interface OpenOptions {
  /** Whether to look for an autoencoder, which single evaluations do not need (true). */
  firstStage?: boolean;
  /** Which set of weights, for example "fp16". */
  variant?: string;
  /** "ema": the moving average of the weights, where a checkpoint has one beside the plain ones. */
  weights?: WeightSet;
  /** Makes up the weights from this seed, whatever weights are there: for measuring networks of any size. */
  randomWeights?: bigint;
  /**
   * "warn": keys of configurations and tensors that nothing here knows are passed over, with a warning that names them;
   * default: they are refused, because they may change what is computed.
   */
  unknown?: UnknownOptions["unknown"];
  /** Reads the originals' YAML configurations; ddim-webgpu/node brings one. */
  parseYaml?: ParseYaml;
  signal?: AbortSignal;
}

const openNames: OptionNames<OpenOptions> = {
  firstStage: "true or false",
  variant: "a text",
  weights: "a text",
  randomWeights: "a bigint",
  unknown: "a text",
  parseYaml: "a function",
  signal: "an AbortSignal",
};

/** Our own keys of model_index.json: id2label and null_class. */
function classTable(index: Record<string, unknown> | undefined, file: string, embeddings: number) {
  const nullClass = index?.null_class ?? null;
  const inRange = (id: unknown) => Number.isInteger(id) && (id as number) >= 0 && (id as number) < embeddings;
  if (nullClass !== null && !inRange(nullClass))
    throw new ConfigError(file, "null_class", `expected a class id below ${embeddings}, got ${shown(nullClass)}`);
  const table = index?.id2label;
  if (table === undefined) return { labels: null, nullClass: nullClass as number | null };
  if (!isObject(table)) throw new ConfigError(file, "id2label", `expected names by their ids, got ${shown(table)}`);
  const names = Object.entries(table);
  const labels = Array.from({ length: names.length }, (_, id) => table[String(id)]);
  if (names.length > embeddings || !labels.every((name) => typeof name === "string"))
    throw new ConfigError(file, "id2label", `expected names for ids 0, 1, … below ${embeddings}`);
  return { labels: labels as string[], nullClass: nullClass as number | null };
}

/** @throws FileError, ConfigError for a network that does not run here, or that its configuration is not of */
async function layoutOf(
  checkpoint: Checkpoint,
  json: Readonly<Record<string, unknown>>,
  file: string,
): Promise<DetectedLayout> {
  const names = [...checkpoint.tensors.keys()];
  const plain = plainLayout(json, names);
  if (plain) return plain;
  const { checkFamily, detectLayout } = await import("../unet/layouts/detect.ts");
  const detected = detectLayout(checkpoint.file, names);
  checkFamily(json, file, detected);
  return detected;
}

/** The last part of the source's name, or that of the one file, without its ending. */
function nameOf({ name, weights }: ModelSource): string {
  const path = weights === undefined ? name : weights.replace(/\.[^.]*$/, "");
  const parts = path.replace(/[/\\]+$/, "").split(/[/\\]/);
  const last = parts.at(-1) || "model";
  return weights === undefined && /^https?:/.test(name) ? decoded(last) : last;
}

function checkWeightSet(checkpoint: Checkpoint, { ema }: Layout, weights: WeightSet): void {
  if (weights !== "plain" && weights !== "ema")
    throw new UsageError("weights", `weights must be plain or ema, got ${String(weights)}`);
  if (weights === "ema" && ![...checkpoint.tensors.keys()].some((name) => ema?.test(name)))
    throw new UsageError("weights", `${checkpoint.file} has no EMA weights beside the plain ones`);
}

/** A foreign checkpoint is refused by name even where no configuration lies beside it. */
async function withoutConfig(source: ModelSource, error: unknown, options: OpenOptions): Promise<never> {
  const { variant, signal } = options;
  if (source.remote) throw error;
  const checkpoint = await openCheckpoint(source, "", { variant, signal }).catch(() => null);
  if (checkpoint && isUsualName(checkpoint.file)) {
    const { detectLayout } = await import("../unet/layouts/detect.ts");
    detectLayout(checkpoint.file, checkpoint.tensors.keys());
  }
  throw error;
}

/**
 * Opens a diffusers folder (`unet/`, `scheduler/`), a flat folder, the folder of one UNet, or one of the originals'
 * layouts (`config.json` or `config.yaml` beside `model.safetensors`). Reads configurations and headers only, and checks
 * that the checkpoint fits the configuration.
 * @throws ConfigError, FileError, WeightError; all misfits of a checkpoint at once
 */
export async function openModel(given: ModelSource, options: OpenOptions = {}): Promise<Model> {
  checkOptions("openModel", options, openNames);
  const { signal, variant, weights: asked = "plain", parseYaml, randomWeights: seed, unknown } = options;
  checkUnknown(unknown);
  checkKind("openModel", "source", "a source of files", given);
  const told: string[] = [];
  const reading: UnknownOptions = { unknown, warn: (text) => void told.push(text) };
  // First: what a pipeline's parts are is known then, and a server need not be asked for others.
  const index = await readModelIndex(given, signal);
  const folder = await findComponent(given, "unet", signal).catch((error) => withoutConfig(given, error, options));
  const place = ((await given.config?.(signal)) ?? (await findConfig(given, folder, signal))) as ConfigPlace;
  const file = label(place.source, place.path);
  const json = await readConfig(place.source, place.path, { parseYaml, signal });
  const source =
    seed === undefined
      ? given
      : await (await import("./madeUp.ts")).madeUp(given, { folder, json, file }, seed, {
          firstStage: options.firstStage,
          parseYaml,
          signal,
          unknown,
        });
  const original = !("_class_name" in json);
  const checkpoint = await openCheckpoint(source, folder, { variant, weights: asked, original, signal });
  // A file of the moving average alone names its tensors as one of plain weights does.
  const weights = asked === "ema" && checkpoint.metadata.weights === "ema" ? "plain" : asked;
  const detected = await layoutOf(checkpoint, json, file);
  const { layout } = detected;
  checkWeightSet(checkpoint, layout, weights);
  const { tensors } = checkpoint;
  const parsed = await layout.parse(json, file, weights, reading, tensors);
  checkNetwork(parsed.spec, file, layout.id);
  const { spec: config, naming, classEmbedder } = parsed;

  const places = source.remote ? schedulerFolders(folder, index) : undefined;
  const found =
    (await readSchedulerConfig(source, signal, places)) ?? (parsed.scheduler && { file, config: parsed.scheduler });
  const scheduler = found ? parseSchedulerConfig(found.config, found.file, reading) : null;
  const embeddings = classEmbeddings(config) || (classEmbedder?.count ?? 0);
  const table = classTable(index, label(source, "model_index.json"), embeddings);
  const nullClass = table.nullClass ?? classEmbedder?.nullClass ?? null;
  const both =
    weights === "plain" ? [naming] : [naming, (await layout.parse(json, file, "plain", { unknown }, tensors)).naming];
  matchTensors(checkpoint, expectedTensors(parsed, both), {
    ignore: layout.besides,
    layout: detected.reason,
    ...reading,
  });
  const stage = options.firstStage === false ? null : await findConfigured(source, { parseYaml, signal });
  const firstStage =
    stage &&
    (await (await import("../autoencoder/open.ts")).openConfigured(source, stage, { variant, signal, unknown }));
  const pipeline = textOf(index?._class_name ?? "");
  const { conditioning } = parsed;
  const input = divideInput({ config, firstStage, scheduler, pipeline, conditioning });
  const bounded = firstStage && (scheduler?.clip_sample || scheduler?.thresholding);
  const named = table.labels?.length ?? embeddings - (nullClass === null ? 0 : 1);
  return {
    name: nameOf(source),
    source,
    config,
    scheduler,
    labels: table.labels,
    classCount: embeddings > 0 ? named : 0,
    nullClass,
    checkpoint: parsed.prepare?.(checkpoint) ?? checkpoint,
    networkTensors: [...new Set(expectedTensors(parsed, [naming]).map(({ name }) => name))],
    layout: layout.id,
    naming,
    weights: asked,
    classEmbedder,
    reading: parsed.reading,
    firstStage,
    ...input,
    lowResolution: await readLowResolution(source, index, signal),
    // One file may be read for both networks.
    warnings: [
      ...new Set([
        ...checkpoint.warnings,
        ...parsed.warnings,
        ...told,
        ...(found ? unreadKeys(found.config, found.file) : []),
        ...(firstStage?.warnings ?? []),
        ...(bounded
          ? [`${found?.file}: bounds x0 (clip_sample), but latents have no bounds: it is not clipped unless asked`]
          : []),
      ]),
    ],
  };
}
