/** Tensors that commands take from safetensors files. */
import { openSafetensorsFile } from "../node/folder.ts";
import { checkSample } from "../pipeline/forwardInputs.ts";
import type { Model } from "../pipeline/model.ts";
import { checkSize } from "../pipeline/size.ts";
import type { ForwardInputs, GenerateOptions, Tensor } from "../pipeline/types.ts";
import { FileError, UsageError } from "../runtime/errors.ts";
import { firstNonFinite, type NonFinite } from "../runtime/finite.ts";
import { listed } from "../runtime/printable.ts";
import type { Checkpoint } from "../weights/checkpoint.ts";

/**
 * One tensor as float32. With `nonFinite` "error" every value is finite; with "warn" the library warns of those that are not.
 * @throws FileError when it is missing, of a type without conversion, or holds a value that is not finite.
 */
async function readTensor(file: Checkpoint, name: string, nonFinite: NonFinite, signal: AbortSignal): Promise<Tensor> {
  const data = await file.read(name, signal);
  const bad = firstNonFinite(data);
  if (bad >= 0 && nonFinite === "error")
    throw new FileError(file.file, `tensor "${name}" holds ${data[bad]} at position ${bad}`);
  return { shape: file.info(name).shape, data };
}

/** The starting noise `x_T` of a run, N x C x H x W. */
export async function readNoise(path: string, signal: AbortSignal): Promise<Tensor> {
  return readTensor(await openSafetensorsFile(path, signal), "x_T", "error", signal);
}

/** What one half of an autoencoder takes: `sample`, N x C x H x W. */
export async function readSample(path: string, nonFinite: NonFinite, signal: AbortSignal): Promise<Tensor> {
  return readTensor(await openSafetensorsFile(path, signal), "sample", nonFinite, signal);
}

/** Latents N x C x H x W: `latents`, which a sampler works on, or else `sample`, which a decoder takes as it is. */
export async function readLatents(
  path: string,
  nonFinite: NonFinite,
  signal: AbortSignal,
): Promise<{ name: "latents" | "sample"; tensor: Tensor }> {
  const file = await openSafetensorsFile(path, signal);
  const name = file.tensors.has("latents") || !file.tensors.has("sample") ? "latents" : "sample";
  return { name, tensor: await readTensor(file, name, nonFinite, signal) };
}

/**
 * The inputs of one network evaluation: `sample`, `timestep` and, where the file has them, `class_labels` (ids or
 * numbers with one dimension, vectors with two), `encoder_hidden_states` or `context`, `added/text_embeds`,
 * `added/time_ids` and `timestep_cond`. Tensors that the network does not take are not read.
 * @throws FileError when one is missing or holds what no network takes; ShapeError, UsageError when the model does not
 * take images of that kind or size.
 */
export async function readForwardInputs(
  path: string,
  model: Model,
  nonFinite: NonFinite,
  signal: AbortSignal,
): Promise<ForwardInputs> {
  const file = await openSafetensorsFile(path, signal);
  const sample = await readTensor(file, "sample", nonFinite, signal);
  checkSample(sample, model.config.in_channels / (model.config.self_condition ? 2 : 1));
  const [, , height, width] = sample.shape as [number, number, number, number];
  checkSize(model, { height, width });
  const timestep = await readTensor(file, "timestep", nonFinite, signal);
  const { classes, added, context_dim, time } = model.config;
  /** The first of some tensors that the file has, where the network takes it. */
  const optional = (takes: boolean, ...names: string[]) => {
    const name = takes ? names.find((tensor) => file.tensors.has(tensor)) : undefined;
    return name === undefined ? undefined : readTensor(file, name, nonFinite, signal);
  };
  const labels = await optional(classes.kind !== "none" || model.classEmbedder !== null, "class_labels");
  const vectors = (labels?.shape.length ?? 0) > 1;
  return {
    sample,
    timestep: [...timestep.data],
    classLabels: labels && !vectors ? [...labels.data] : undefined,
    classVectors: vectors ? labels : undefined,
    context: await optional(context_dim !== null, "encoder_hidden_states", "context"),
    textEmbeds: await optional(added.kind === "text_time", "added/text_embeds"),
    timeIds: await optional(added.kind === "text_time", "added/time_ids"),
    selfCondition: await optional(model.config.self_condition ?? false, "x_self_cond", "self_cond"),
    timestepCond: await optional(time.cond !== undefined, "timestep_cond"),
  };
}

/** Options of a run, by the tensors that say them; the first that a file has. */
const CONTEXTS = {
  context: ["encoder_hidden_states", "context"],
  negativeContext: ["negative"],
  textEmbeds: ["added/text_embeds"],
  negativeTextEmbeds: ["negative/text_embeds"],
  timeIds: ["added/time_ids"],
  negativeTimeIds: ["negative/time_ids"],
} as const satisfies Partial<Record<keyof GenerateOptions, readonly string[]>>;

/**
 * What a run's network attends to, and the added conditions. Those of guidance are read only where there is any.
 * @throws UsageError when the network takes neither; FileError when there is no context, or it holds what no network takes
 */
export async function readContexts(
  path: string,
  { model: { name: model, config }, guided, nonFinite }: { model: Model; guided: boolean; nonFinite: NonFinite },
  signal: AbortSignal,
): Promise<Pick<GenerateOptions, keyof typeof CONTEXTS>> {
  if (config.context_dim === null && config.added.kind === "none")
    throw new UsageError("context", `--context ${path}: ${model} attends to no context and takes none`);
  const file = await openSafetensorsFile(path, signal);
  // A network that is told the guidance scale leads away from nothing.
  const led = guided && config.time.cond === undefined;
  const found: Partial<Record<keyof typeof CONTEXTS, Tensor>> = {};
  for (const [option, names] of Object.entries(CONTEXTS)) {
    const name = names.find((tensor) => file.tensors.has(tensor)) ?? names[0];
    const free = option.startsWith("negative");
    const needed = option === "context" && config.context_dim !== null;
    if (!needed && (!file.tensors.has(name) || (free && !led))) continue;
    found[option as keyof typeof CONTEXTS] = await readTensor(file, name, nonFinite, signal);
  }
  return found;
}

/** What a network may read beside its state, by the tensors that hold it. */
const CONCAT = ["concat", "c_concat"];

/**
 * What a run's network reads beside its state, 1 or N x C x H x W: `concat`, or else the only tensor of the file.
 * @throws UsageError when the network reads nothing; FileError when it is not told which of several it is
 */
export async function readConcat(
  path: string,
  { model, nonFinite }: { model: Model; nonFinite: NonFinite },
  signal: AbortSignal,
): Promise<Tensor> {
  if (!model.concat)
    throw new UsageError("concat", `--concat ${path}: ${model.name} takes nothing beside its state, and no concat`);
  const file = await openSafetensorsFile(path, signal);
  const names = [...file.tensors.keys()];
  const [only, ...others] = names;
  const name = CONCAT.find((known) => file.tensors.has(known)) ?? (others.length === 0 ? only : undefined);
  if (name === undefined)
    throw new FileError(path, `has no tensor "concat" among ${listed(names)}, and cannot be told which it is`);
  return readTensor(file, name, nonFinite, signal);
}

/** What the names of modules' outputs begin with. */
export const TAP = "taps/";

/** Modules whose outputs a file holds. */
export async function tapNames(path: string, signal: AbortSignal): Promise<string[]> {
  const file = await openSafetensorsFile(path, signal);
  return [...file.tensors.keys()].filter((name) => name.startsWith(TAP)).map((name) => name.slice(TAP.length));
}
