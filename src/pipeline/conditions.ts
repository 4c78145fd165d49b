/** Classes and guidance of a run: what the network is told about every image. */
import { ConfigError, UsageError } from "../runtime/errors.ts";
import { classEmbeddings } from "../unet/spec.ts";
import type { Model } from "./model.ts";
import type { GenerateOptions } from "./types.ts";

/** Guidance where the network runs twice. */
export interface Guidance {
  /** A scale per image. */
  readonly scales: readonly number[];
  /** φ of the rescaling, 0 without. */
  readonly rescale: number;
  /** The class that guidance leads away from; null where it is a context. */
  readonly freeClass: number | null;
}

/** Classes that have a row in the network's table or in the class embedder's. */
const classRows = ({ config, classEmbedder }: Model): number => classEmbeddings(config) || (classEmbedder?.count ?? 0);

function checkClass(model: Model, id: number, option = "classes"): number {
  const embeddings = classRows(model);
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
  const embeddings = classRows(model);
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
  const cycle =
    classes ??
    Array.from({ length: embeddings }, (_, i) => i).filter(
      (i) => i !== model.nullClass && i < (model.labels?.length ?? embeddings),
    );
  if (cycle.length === 0) throw new UsageError("classes", "classes must name at least one class");
  for (const id of cycle) checkClass(model, id);
  return Array.from({ length: count }, (_, i) => cycle[(firstImage + i) % cycle.length] as number);
}

/** @returns undefined where no image needs a second evaluation. @throws UsageError */
export function resolveGuidance(model: Model, options: GenerateOptions, count: number): Guidance | undefined {
  const { guidance = 1, guidanceRescale: rescale = 0, guidanceInterval, negativeClass, firstImage = 0 } = options;
  const list = typeof guidance === "number" ? [guidance] : guidance;
  if (list.length === 0) throw new UsageError("guidance", "guidance must hold at least one number");
  for (const w of list)
    if (!Number.isFinite(w)) throw new UsageError("guidance", `guidance must be a number, got ${w}`);
  if (!(rescale >= 0 && rescale <= 1))
    throw new UsageError("guidanceRescale", `guidance rescale must be from 0 to 1, got ${rescale}`);
  const [low, high] = guidanceInterval ?? [0, 0];
  if (!(low <= high))
    throw new UsageError("guidanceInterval", `guidance interval ${low}, ${high}: the lower timestep comes first`);
  const shown = list.find((w) => w !== 1);
  if (shown === undefined) {
    for (const option of ["guidanceRescale", "guidanceInterval", "negativeClass"] as const)
      if (options[option] !== undefined)
        throw new UsageError(option, `${option} means nothing while guidance is 1; choose a guidance scale`);
    return undefined;
  }
  const { classes, context_dim } = model.config;
  if (classRows(model) === 0 && context_dim === null)
    throw new UsageError("guidance", `guidance ${shown} needs a class-conditional model, ${model.name} is not`);
  // Classes that are only looked up to become the context give way to a context.
  const looksUp = model.classEmbedder !== null && options.context === undefined;
  const byClass = classes.kind === "embedding" || looksUp;
  if (negativeClass !== undefined && !byClass)
    throw new UsageError(
      "negativeClass",
      "a negative class needs classes, but the context is given; give a negative one",
    );
  if (byClass && negativeClass === undefined && model.nullClass === null)
    throw new UsageError(
      "guidance",
      `guidance ${shown} needs a null class, and the model_index.json of ${model.name} names no null_class; or choose a negative class`,
    );
  const freeClass = negativeClass === undefined ? model.nullClass : checkClass(model, negativeClass, "negativeClass");
  return {
    scales: Array.from({ length: count }, (_, i) => list[(firstImage + i) % list.length] as number),
    rescale,
    freeClass: byClass ? freeClass : null,
  };
}
