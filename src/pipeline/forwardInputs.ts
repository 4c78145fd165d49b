/** What a single evaluation is told beside its images and timesteps, checked, image by image. */
import { ShapeError, UsageError } from "../runtime/errors.ts";
import { timestepSinusoid } from "../sampler/embedding.ts";
import type { Network } from "../unet/build.ts";
import { classEmbeddings } from "../unet/spec.ts";
import { joinChannels } from "./concat.ts";
import type { Model } from "./model.ts";
import type { ForwardInputs, Tensor } from "./types.ts";

/** @throws UsageError for what is no tensor, which callers without types may give */
function checkTensor(name: string, value: Tensor): Tensor {
  const isList = (v: unknown) => Array.isArray(v) || ArrayBuffer.isView(v);
  if (!isList(value?.shape) || !isList(value?.data))
    throw new UsageError(name, `forward: ${name} must be a tensor, an object with shape and data`);
  return value;
}

/** @returns the number of images. @throws ShapeError, UsageError */
export function checkSample(sample: Tensor, channels: number): number {
  const { shape, data } = checkTensor("sample", sample);
  const [n, c] = shape;
  if (shape.length !== 4 || c !== channels || (n ?? 0) < 1)
    throw new ShapeError("forward", "sample", `[N, ${channels}, H, W]`, shape);
  const wanted = shape.reduce((a, b) => a * b, 1);
  if (data.length !== wanted) throw new ShapeError("forward", "sample", `${wanted} values`, [data.length]);
  return n as number;
}

/**
 * With the channels that a self-conditioned network reads beside the sample, behind it.
 * @throws ShapeError, UsageError
 */
export function withSelfCondition({ name, config }: Model, inputs: ForwardInputs): ForwardInputs {
  const { sample, selfCondition: given, ...rest } = inputs;
  if (!config.self_condition) {
    if (given) throw new UsageError("x_self_cond", `${name} is not self-conditioned and takes no x_self_cond`);
    return inputs;
  }
  const n = checkSample(sample, config.in_channels / 2);
  const zeros = () => new Float32Array(sample.data.length);
  const data = given ? numbersOf("x_self_cond", given, n, sample.shape.slice(1)) : zeros();
  return { ...rest, sample: joinChannels(sample, { shape: sample.shape, data }) };
}

/** One value per image: as given, or the only one repeated. @throws ShapeError, UsageError */
export function perImage<T>(name: string, values: readonly T[], n: number): readonly T[] {
  if (!Array.isArray(values) && !ArrayBuffer.isView(values))
    throw new UsageError(name, `forward: ${name} must be a list with a number for each image, or with one for all`);
  if (values.length === n) return values;
  if (values.length === 1) return Array.from({ length: n }, () => values[0] as T);
  throw new ShapeError("forward", name, `[${n}] or [1]`, [values.length]);
}

/** Numbers of a tensor [N, …] or [1, …] for `n` images. @throws ShapeError unless the other sizes are `sizes`, UsageError */
export function numbersOf(name: string, tensor: Tensor, n: number, sizes: readonly (number | string)[]): Float32Array {
  const { shape, data } = checkTensor(name, tensor);
  const [given = 0, ...rest] = shape;
  const fits = (given === n || given === 1) && rest.length === sizes.length;
  const wrong = () =>
    new ShapeError("forward", name, `[${[n, ...sizes].join(", ")}] or [${[1, ...sizes].join(", ")}]`, shape);
  if (!fits || rest.some((size, i) => size < 1 || (typeof sizes[i] === "number" && sizes[i] !== size))) throw wrong();
  const length = rest.reduce((a, b) => a * b, 1);
  if (data.length !== given * length) throw new ShapeError("forward", name, `${given * length} values`, [data.length]);
  const out = new Float32Array(n * length);
  for (let i = 0; i < n; i++) out.set(given === 1 ? data : data.subarray(i * length, (i + 1) * length), i * length);
  return out;
}

export interface Conditions {
  /** Ids, or vectors. */
  readonly classes?: Uint32Array<ArrayBuffer> | Float32Array;
  readonly added?: Float32Array;
  readonly timestepCond?: Float32Array;
  readonly context?: Float32Array;
}

export interface ConditionInit {
  readonly model: Model;
  readonly network: Network;
  readonly inputs: ForwardInputs;
  readonly timestepVectors: (name: string, timesteps: readonly number[]) => Float32Array;
}

function checkLabel(model: string, label: number, count: number): void {
  if (!Number.isInteger(label) || label < 0 || label >= count)
    throw new UsageError("class_labels", `class ${label} is out of range: ${model} has classes 0..${count - 1}`);
}

function classesOf({ model, network, inputs, timestepVectors }: ConditionInit, n: number): Conditions["classes"] {
  const { classes } = network;
  const { config } = model;
  const { classLabels, classVectors } = inputs;
  if (!classes) {
    if (classLabels || classVectors)
      throw new UsageError("class_labels", `${model.name} has no class embedding and takes no class_labels`);
    return undefined;
  }
  if (classes.kind === "vectors" && config.classes.kind !== "timestep") {
    if (!classVectors)
      throw new UsageError("class_labels", `${model.name} needs class_labels of shape [N, ${classes.width}]`);
    return numbersOf("class_labels", classVectors, n, [classes.width]);
  }
  if (!classLabels) throw new UsageError("class_labels", `${model.name} is class-conditional and needs class_labels`);
  const labels = perImage("class_labels", classLabels, n);
  if (config.classes.kind === "timestep") return timestepVectors("class_labels", labels);
  for (const label of labels) checkLabel(model.name, label, classEmbeddings(config));
  return Uint32Array.from(labels);
}

/** The pooled text embedding, then the sinusoids of every time id (SDXL's size, crop and target size). */
export function addedOf(
  { model, inputs }: { model: Model; inputs: Pick<ForwardInputs, "textEmbeds" | "timeIds"> },
  n: number,
): Float32Array | undefined {
  const { added, time } = model.config;
  const { textEmbeds, timeIds } = inputs;
  if (added.kind === "none") {
    if (textEmbeds || timeIds)
      throw new UsageError("text_embeds", `${model.name} takes no text_embeds and no time_ids`);
    return undefined;
  }
  if (!textEmbeds || !timeIds) throw new UsageError("text_embeds", `${model.name} needs text_embeds and time_ids`);
  const { time_dim, width } = added;
  const numbers = numbersOf("time_ids", timeIds, n, ["K"]);
  const ids = numbers.length / n;
  const texts = numbersOf("text_embeds", textEmbeds, n, [width - ids * time_dim]);
  const out = new Float32Array(n * width);
  for (let i = 0; i < n; i++) {
    const text = texts.subarray((i * texts.length) / n, ((i + 1) * texts.length) / n);
    out.set(text, i * width);
    for (let j = 0; j < ids; j++)
      out.set(timestepSinusoid(numbers[i * ids + j] as number, time_dim, time), i * width + text.length + j * time_dim);
  }
  return out;
}

function timestepCondOf({ model, inputs }: ConditionInit, n: number): Float32Array | undefined {
  const { timestepCond: given } = inputs;
  const { cond } = model.config.time;
  if (given && cond === undefined)
    throw new UsageError("timestep_cond", `${model.name} has no time_cond_proj_dim and takes no timestep_cond`);
  return given && numbersOf("timestep_cond", given, n, [cond as number]);
}

/** Tokens of a context as given; undefined where a network takes none. @throws UsageError, ShapeError */
export function contextLength(model: Model, { context }: Pick<ForwardInputs, "context">): number | undefined {
  const { context_dim: width } = model.config;
  if (width === null) {
    if (context) throw new UsageError("context", `${model.name} attends to no context and takes none`);
    return undefined;
  }
  const or = model.classEmbedder ? "class_labels, or " : "";
  if (!context) throw new UsageError("context", `${model.name} needs ${or}a context of shape [N, L, ${width}]`);
  const length = context.shape[1] ?? 0;
  if (context.shape.length !== 3 || length < 1 || context.shape[2] !== width)
    throw new ShapeError("forward", "context", `[N, L, ${width}]`, context.shape);
  return length;
}

/**
 * Where a network's context is a vector per class, and only classes are given: their vectors as context, one token each.
 * @param table the vectors of all classes; null where the network has no such table
 */
export function withClassContext(
  { name, classEmbedder }: Model,
  table: Float32Array | null,
  inputs: ForwardInputs,
): ForwardInputs {
  const { classLabels, context, ...rest } = inputs;
  if (!classEmbedder || !table) return inputs;
  if (context || !classLabels) return { ...rest, context };
  const { count, width } = classEmbedder;
  const data = new Float32Array(classLabels.length * width);
  classLabels.forEach((label, i) => {
    checkLabel(name, label, count);
    data.set(table.subarray(label * width, (label + 1) * width), i * width);
  });
  return { ...rest, context: { shape: [classLabels.length, 1, width], data } };
}

/** @throws UsageError, ShapeError naming the input */
export function conditions(init: ConditionInit, n: number): Conditions {
  const { context, context: { shape = [] } = {} } = init.inputs;
  return {
    classes: classesOf(init, n),
    added: addedOf(init, n),
    timestepCond: timestepCondOf(init, n),
    context: context && numbersOf("context", context, n, shape.slice(1)),
  };
}
