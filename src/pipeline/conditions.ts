/** Classes and guidance of a run: what the network is told about every image. */
import { ConfigError, UsageError } from "../runtime/errors.ts";
import { timestepSinusoid } from "../sampler/embedding.ts";
import { classEmbeddings } from "../unet/spec.ts";
import type { Model } from "./model.ts";
import type { GenerateOptions } from "./types.ts";

/** Guidance where the network runs twice. */
export interface Guidance {
  /** A scale per image. */
  readonly scales: readonly number[];
  /** φ of the rescaling, 0 without. */
  readonly rescale: number;
  /** The class that guidance leads away from; null where it is a context, and the image's own class stays. */
  readonly freeClass: number | null;
}

/** Classes that have an entry in the network's table or in the class embedder's. */
const classCount = ({ config, classEmbedder }: Model): number => classEmbeddings(config) || (classEmbedder?.count ?? 0);

function checkClass(model: Model, id: number, option = "classes"): number {
  const embeddings = classCount(model);
  if (!Number.isInteger(id) || id < 0 || id >= embeddings)
    throw new UsageError(option, `class ${id} is out of range: ${model.name} has classes 0..${embeddings - 1}`);
  return id;
}

/** @returns the class of every image; null for unconditional models. @throws UsageError, ConfigError */
export function resolveClasses(
  model: Model,
  { classes, context, firstImage = 0 }: GenerateOptions,
  count: number,
): readonly number[] | null {
  const { kind } = model.config.classes;
  const embeddings = classCount(model);
  const looksUp = model.classEmbedder !== null && context === undefined;
  if (kind === "none" && !looksUp) {
    if (classes) throw new UsageError("classes", `${model.name} is unconditional and takes no class`);
    return null;
  }
  if (kind !== "none" && kind !== "embedding")
    throw new ConfigError(
      model.checkpoint.file,
      "class_embed_type",
      `a model of type ${kind} can be evaluated, not sampled: its conditions are not class ids`,
    );
  if (!classes && model.lowResolution)
    throw new UsageError(
      "classes",
      `the classes of ${model.name} are noise levels of the low-resolution picture: choose one, such as 20`,
    );
  const cycle =
    classes ??
    Array.from({ length: embeddings }, (_, i) => i).filter(
      (i) => i !== model.nullClass && i < (model.labels?.length ?? embeddings),
    );
  if (cycle.length === 0) throw new UsageError("classes", "classes must name at least one class");
  for (const id of cycle) checkClass(model, id);
  return Array.from({ length: count }, (_, i) => cycle[(firstImage + i) % cycle.length] as number);
}

/** The scale of every image. @throws UsageError */
export function scalesOf({ guidance = 1, firstImage = 0 }: GenerateOptions, count: number): readonly number[] {
  const list = typeof guidance === "number" ? [guidance] : guidance;
  if (list.length === 0) throw new UsageError("guidance", "guidance must hold at least one number");
  for (const w of list)
    if (!Number.isFinite(w)) throw new UsageError("guidance", `guidance must be a number, got ${w}`);
  return Array.from({ length: count }, (_, i) => list[(firstImage + i) % list.length] as number);
}

/** Options that say what guidance leads away from, or where. */
const AWAY = [
  ...["guidanceRescale", "guidanceInterval", "negativeClass", "negativeContext"],
  ...["negativeTextEmbeds", "negativeTimeIds"],
] as readonly (keyof GenerateOptions)[];

/**
 * The guidance scale of every image as a network with `time_cond_proj_dim` takes it: sinusoids of 1000 (w - 1), as
 * diffusers' get_guidance_scale_embedding has them. Such networks are evaluated once whatever the scale.
 * @returns [count, width]; undefined where the network takes no scale
 * @throws UsageError
 */
export function guidanceEmbedding(model: Model, options: GenerateOptions, count: number): Float32Array | undefined {
  const { cond: width } = model.config.time;
  if (width === undefined) return undefined;
  const given = AWAY.find((option) => options[option] !== undefined);
  if (given)
    throw new UsageError(
      given,
      `${given} means nothing here: ${model.name} takes the guidance scale itself, and is not evaluated without its conditions`,
    );
  const out = new Float32Array(count * width);
  for (const [i, w] of scalesOf(options, count).entries())
    out.set(timestepSinusoid(1000 * (w - 1), width, { flip_sin_to_cos: false, freq_shift: 1 }), i * width);
  return out;
}

/** @returns undefined where no image needs a second evaluation. @throws UsageError */
export function resolveGuidance(model: Model, options: GenerateOptions, count: number): Guidance | undefined {
  if (model.config.time.cond !== undefined) return undefined;
  const { guidanceRescale: rescale = 0, guidanceInterval, negativeClass } = options;
  const scales = scalesOf(options, count);
  if (!(rescale >= 0 && rescale <= 1))
    throw new UsageError("guidanceRescale", `guidance rescale must be from 0 to 1, got ${rescale}`);
  const [low, high] = guidanceInterval ?? [0, 0];
  if (!(low <= high))
    throw new UsageError("guidanceInterval", `guidance interval ${low}, ${high}: the lower timestep comes first`);
  const { guidance = 1 } = options;
  const shown = [guidance].flat().find((w) => w !== 1);
  if (shown === undefined) {
    for (const option of ["guidanceRescale", "guidanceInterval", "negativeClass"] as const)
      if (options[option] !== undefined)
        throw new UsageError(option, `${option} means nothing while guidance is 1; choose a guidance scale`);
    return undefined;
  }
  const { classes, context_dim } = model.config;
  if (classCount(model) === 0 && context_dim === null)
    throw new UsageError("guidance", `guidance ${shown} needs a class-conditional model, ${model.name} is not`);
  // Classes that are only looked up to become the context give way to a context.
  const looksUp = model.classEmbedder !== null && options.context === undefined;
  const byClass = classes.kind === "embedding" || looksUp;
  if (negativeClass !== undefined && !byClass)
    throw new UsageError(
      "negativeClass",
      "a negative class needs classes, but the context is given; give a negative one",
    );
  // Guidance leads away from a context then, and the class, such as an upscaler's noise level, is that of the image.
  const keepsClass = classes.kind === "embedding" && context_dim !== null && !looksUp;
  if (byClass && negativeClass === undefined && model.nullClass === null && !keepsClass)
    throw new UsageError(
      "guidance",
      `guidance ${shown} needs a null class, and the model_index.json of ${model.name} names no null_class; or choose a negative class`,
    );
  const freeClass = negativeClass === undefined ? model.nullClass : checkClass(model, negativeClass, "negativeClass");
  return {
    scales,
    rescale,
    freeClass: byClass ? freeClass : null,
  };
}
