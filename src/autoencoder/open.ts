/** An autoencoder before any GPU is involved: its configuration and table of tensors, read and checked. */

import { checkWhole } from "../network/configReader.ts";
import { FileError, UsageError } from "../runtime/errors.ts";
import { checkOptions, type OptionNames } from "../runtime/options.ts";
import { shown } from "../runtime/printable.ts";
import { type Checkpoint, openCheckpoint } from "../weights/checkpoint.ts";
import type { ParseYaml } from "../weights/config.ts";
import { isObject } from "../weights/json.ts";
import { type ExpectedTensor, matchTensors } from "../weights/match.ts";
import { joinPath, label } from "../weights/path.ts";
import type { ModelSource } from "../weights/source.ts";
import { checkUnknown, type UnknownOptions } from "../weights/unknown.ts";
import { parseAutoencoderConfig } from "./config.ts";
import { type Configured, FOLDERS, findConfigured } from "./find.ts";
import { type AutoencoderLayout, configuredNaming, detectLayout } from "./layouts.ts";
import { parseLdmAutoencoder } from "./ldmConfig.ts";
import { buildDecoder, buildEncoder } from "./network.ts";
import { type AutoencoderSpec, latentScale } from "./spec.ts";

export interface AutoencoderModel {
  /** For messages: the configuration's file. */
  readonly name: string;
  readonly source: ModelSource;
  readonly spec: AutoencoderSpec;
  readonly checkpoint: Checkpoint;
  /** Names of the checkpoint's tensors that the decoder reads. */
  readonly decoderTensors: readonly string[];
  readonly layout: AutoencoderLayout;
  /** Sentences about what was assumed. */
  readonly warnings: readonly string[];
}

export interface OpenAutoencoderOptions {
  /** Which set of weights, for example "fp16". */
  readonly variant?: string;
  /** "warn": keys and tensors that nothing here knows are passed over, with a warning; default: they are refused. */
  readonly unknown?: UnknownOptions["unknown"];
  /** Reads config.yaml; ddim-webgpu/node brings one. */
  readonly parseYaml?: ParseYaml;
  readonly signal?: AbortSignal;
}

const openNames: OptionNames<OpenAutoencoderOptions> = {
  variant: "a text",
  unknown: "a text",
  parseYaml: "a function",
  signal: "an AbortSignal",
};

/** Names and shapes under diffusers' names. They depend on the configuration alone; the smallest size shows them all. */
export function autoencoderTensors(spec: AutoencoderSpec): ExpectedTensor[] {
  const [dtype, storage, side] = ["f32", "buffer", latentScale(spec)] as const;
  const encoder = buildEncoder(spec, { height: side, width: side, dtype, storage });
  return [...encoder.graph.params(), ...decoderParams(spec)];
}

function decoderParams(spec: AutoencoderSpec): ExpectedTensor[] {
  const [dtype, storage, quantize] = ["f32", "buffer", spec.kind === "vq"] as const;
  return buildDecoder(spec, { height: 1, width: 1, dtype, storage, quantize, scale: 1, shift: 0 }).graph.params();
}

/** Pipelines of diffusers that do not go by the configuration's factor, and what they take instead. */
const FORCED_SCALES: Readonly<Record<string, number>> = {
  LDMSuperResolutionPipeline: 1,
  StableDiffusionUpscalePipeline: 0.08333,
};

/** The factor that latent-diffusion measured and kept in the checkpoint, which goes before the configuration's. */
async function storedScale(checkpoint: Checkpoint, signal?: AbortSignal): Promise<number | undefined> {
  return checkpoint.tensors.has("scale_factor") ? (await checkpoint.read("scale_factor", signal))[0] : undefined;
}

/** @throws ConfigError, also for a network or a size that only takes time and memory */
function specOf({ json, file }: Configured, reading: UnknownOptions): AutoencoderSpec {
  const original = isObject(json.model);
  const spec = original ? parseLdmAutoencoder(json, file, reading) : parseAutoencoderConfig(json, file, reading);
  const blocks = [...spec.down, ...spec.up].reduce((sum, { resnets }) => sum + resnets, 0);
  const keys = original
    ? { layers: "num_res_blocks", size: "resolution" }
    : { layers: "layers_per_block", size: "sample_size" };
  checkWhole(file, { blocks, channels: spec.channels, size: spec.sample_size }, keys);
  return spec;
}

/**
 * Where a model's autoencoder would have its tensors, and which, by its configuration alone.
 * @returns null when it has none
 * @throws ConfigError, FileError
 */
export async function configuredAutoencoder(
  source: ModelSource,
  options: OpenAutoencoderOptions = {},
): Promise<{ folder: string; tensors: readonly ExpectedTensor[] } | null> {
  const found = await findConfigured(source, options);
  if (!found) return null;
  const { folder, json } = found;
  const spec = specOf(found, { unknown: options.unknown });
  const part = isObject(json.model) && isObject(json.model.params) && "first_stage_config" in json.model.params;
  const place = part ? "whole" : isObject(json.model) ? "alone" : "diffusers";
  const { locate } = configuredNaming(spec, place);
  const tensors = autoencoderTensors(spec).map((param) => {
    const { name, shape } = locate(param);
    return { name, shape };
  });
  return { folder, tensors };
}

/** An autoencoder whose configuration was found; {@link findAutoencoder} says what is checked. */
export async function openConfigured(
  source: ModelSource,
  found: Configured,
  { signal, variant, unknown }: OpenAutoencoderOptions,
): Promise<AutoencoderModel> {
  const warnings: string[] = [];
  const warn = (text: string) => void warnings.push(text);
  const { folder, file, json } = found;
  let spec = specOf(found, { unknown, warn });
  const checkpoint = await openCheckpoint(source, folder, { variant, original: !("_class_name" in json), signal });
  const stored = await storedScale(checkpoint, signal);
  if (stored !== undefined) spec = { ...spec, scaling_factor: stored };
  const forced = Object.hasOwn(FORCED_SCALES, found.pipeline) ? FORCED_SCALES[found.pipeline] : undefined;
  if (forced !== undefined) {
    if (json.scaling_factor !== undefined && json.scaling_factor !== forced)
      warnings.push(`${file}: scaling_factor ${spec.scaling_factor} is not used: diffusers' pipeline takes ${forced}`);
    spec = { ...spec, scaling_factor: forced };
  } else if (spec.kind === "vq" && !isObject(json.model) && json.scaling_factor === undefined) {
    spec = { ...spec, scaling_factor: 1 };
    warnings.push(
      `${file}: scaling_factor is missing: taken as 1, as such models are trained (diffusers takes 0.18215)`,
    );
  }
  const layout = detectLayout(checkpoint.file, checkpoint.tensors.keys(), spec);
  const { naming, ignore, reason } = layout;
  matchTensors(checkpoint, autoencoderTensors(spec), { ignore, locate: naming.locate, layout: reason, unknown, warn });
  const decoderTensors = [...new Set(decoderParams(spec).map((param) => naming.locate(param).name))];
  return {
    name: file,
    source,
    spec,
    checkpoint,
    decoderTensors,
    layout,
    warnings: [...checkpoint.warnings, ...warnings],
  };
}

/**
 * Finds the autoencoder of a diffusers pipeline (`vae/` or `vqvae/`), of a whole latent-diffusion model, or in a folder of
 * its own, and checks that the checkpoint fits the configuration. Reads configurations and headers only.
 * @returns null when there is none
 * @throws ConfigError, FileError, WeightError; all misfits of a checkpoint at once
 */
export async function findAutoencoder(
  source: ModelSource,
  options: OpenAutoencoderOptions = {},
): Promise<AutoencoderModel | null> {
  checkOptions("openAutoencoder", options, openNames);
  if (typeof Object(source).exists !== "function")
    throw new UsageError("source", `openAutoencoder: source must be a ModelSource, got ${shown(source)}`);
  checkUnknown(options.unknown);
  const found = await findConfigured(source, options);
  return found && openConfigured(source, found, options);
}

/** {@link findAutoencoder} where there has to be one. @throws FileError when there is none */
export async function openAutoencoder(
  source: ModelSource,
  options: OpenAutoencoderOptions = {},
): Promise<AutoencoderModel> {
  const model = await findAutoencoder(source, options);
  if (model) return model;
  const folders = FOLDERS.filter(Boolean).map((folder) => joinPath(folder, "config.json"));
  throw new FileError(
    label(source, "") || "the model",
    `has no autoencoder: neither ${folders.join(" nor ")}, nor a configuration of one`,
  );
}
