/** What a call of `generate` means for a model: every option checked and resolved, without a GPU. */
import { ConfigError, ShapeError, UsageError } from "../runtime/errors.ts";
import { coefficientTable, makeSchedule } from "../sampler/schedule.ts";
import type { Schedule } from "../sampler/scheduleTypes.ts";
import type { ImageSize } from "../unet/config.ts";
import type { Model } from "./model.ts";
import type { GenerateOptions, Tensor } from "./types.ts";

export interface ResolvedRun extends ImageSize {
  readonly count: number;
  /** Images per batch as asked for; undefined: what fits. */
  readonly batch: number | undefined;
  readonly seed: bigint;
  readonly rng: "philox" | "torch";
  /** Class of every image; null for unconditional models. */
  readonly classes: readonly number[] | null;
  /** Guidance scale where the network runs twice. */
  readonly guidance: number | undefined;
  readonly schedule: Schedule;
  /** The schedule's steps as the GPU takes them. */
  readonly coefficients: Float32Array;
  readonly noise: Tensor | undefined;
  readonly warnings: readonly string[];
}

function wholeNumber(option: string, value: number, least: number): number {
  if (!Number.isInteger(value) || value < least)
    throw new UsageError(option, `${option} must be a whole number from ${least}, got ${value}`);
  return value;
}

/** 32 random bits: short enough to type again. */
function randomSeed(): bigint {
  return BigInt((crypto.getRandomValues(new Uint32Array(1)) as Uint32Array)[0] as number);
}

function resolveSeed(seed: number | bigint | undefined): bigint {
  if (seed === undefined) return randomSeed();
  if (typeof seed === "number" && !Number.isSafeInteger(seed))
    throw new UsageError("seed", `seed must be a whole number, got ${seed}; larger ones as bigint`);
  const value = BigInt(seed);
  if (value < 0n || value > 0xffffffffffffffffn)
    throw new UsageError("seed", `seed must be within 0..2^64-1, got ${value}`);
  return value;
}

/** Every level but the last halves the image; with an odd size a skip connection would not fit its partner. */
export function checkSize(model: Model, size: ImageSize): ImageSize {
  const multiple = 2 ** (model.config.down_blocks.length - 1);
  for (const side of ["height", "width"] as const) {
    const value = wholeNumber("size", size[side], 1);
    if (value % multiple !== 0)
      throw new UsageError(
        "size",
        `size ${size.height}×${size.width}: ${side} must be a multiple of ${multiple}, because ${model.name} halves it ${Math.log2(multiple)} times`,
      );
  }
  return { height: size.height, width: size.width };
}

function resolveSize(model: Model, { noise, size }: GenerateOptions): ImageSize {
  const [, , height, width] = noise?.shape ?? [];
  const chosen = size ?? (noise ? { height: height as number, width: width as number } : model.config.sample_size);
  if (!chosen) throw new UsageError("size", `${model.name} names no sample_size, so a size must be given`);
  return checkSize(model, chosen);
}

function checkPixels({ size, usage }: GPUBuffer, bytes: number): void {
  if (size < bytes) throw new UsageError("pixels", `pixels holds ${size} bytes, the pictures need ${bytes}`);
  if ((usage & GPUBufferUsage.COPY_DST) === 0) throw new UsageError("pixels", "pixels lacks the usage COPY_DST");
}

/** @returns the number of images */
function checkNoise(model: Model, { shape, data }: Tensor, size: Partial<ImageSize> = {}): number {
  const [count = 0, , h = 0, w = 0] = shape;
  const { height = h, width = w } = size;
  const { in_channels: channels } = model.config;
  if (shape.length !== 4 || count < 1 || shape.some((v, i) => v !== [count, channels, height, width][i]))
    throw new ShapeError(
      "generate",
      "noise x_T",
      `[N, ${channels}, ${size.height ?? "H"}, ${size.width ?? "W"}]`,
      shape,
    );
  const wanted = count * channels * height * width;
  if (data.length !== wanted) throw new ShapeError("generate", "noise x_T", `${wanted} values`, [data.length]);
  const bad = data.findIndex((v) => !Number.isFinite(v));
  if (bad >= 0)
    throw new UsageError("noise", `noise x_T holds ${data[bad]} in image ${Math.floor((bad * count) / wanted)}`);
  return count;
}

function resolveClasses(model: Model, options: GenerateOptions, count: number): readonly number[] | null {
  const { classes } = options;
  const { class_embed_type: type, num_class_embeds: embeddings } = model.config;
  if (type === "none") {
    if (classes) throw new UsageError("classes", `${model.name} is unconditional and takes no class`);
    return null;
  }
  if (type !== "embedding")
    throw new ConfigError(
      model.checkpoint.file,
      "class_embed_type",
      `a model of type ${type} can be evaluated, not sampled: its conditions are not class ids`,
    );
  const cycle =
    classes ??
    Array.from({ length: embeddings }, (_, i) => i).filter(
      (i) => i !== model.nullClass && i < (model.labels?.length ?? embeddings),
    );
  if (cycle.length === 0) throw new UsageError("classes", "classes must name at least one class");
  for (const id of cycle)
    if (!Number.isInteger(id) || id < 0 || id >= embeddings)
      throw new UsageError("classes", `class ${id} is out of range: ${model.name} has classes 0..${embeddings - 1}`);
  return Array.from({ length: count }, (_, i) => cycle[i % cycle.length] as number);
}

function resolveGuidance(model: Model, guidance = 1): number | undefined {
  if (!Number.isFinite(guidance)) throw new UsageError("guidance", `guidance must be a number, got ${guidance}`);
  if (guidance === 1) return undefined;
  if (model.config.class_embed_type !== "embedding")
    throw new UsageError("guidance", `guidance ${guidance} needs a class-conditional model, ${model.name} is not`);
  if (model.nullClass === null)
    throw new UsageError(
      "guidance",
      `guidance ${guidance} needs a null class, and the model_index.json of ${model.name} names no null_class`,
    );
  return guidance;
}

/** @throws UsageError, ConfigError, ShapeError naming the option; nothing is allocated before */
export function resolveRun(model: Model, options: GenerateOptions = {}): ResolvedRun {
  if (!model.scheduler)
    throw new ConfigError(
      model.checkpoint.file,
      "scheduler_config.json",
      "the model has none, so it can be evaluated but not sampled",
    );
  const { noise } = options;
  const count = noise ? checkNoise(model, noise, options.size) : wholeNumber("count", options.count ?? 1, 1);
  const size = resolveSize(model, options);
  if (noise && options.count !== undefined && options.count !== count)
    throw new UsageError("count", `count ${options.count} differs from the ${count} images of the given noise`);
  const { steps, spacing, timesteps, eta, compat, clip } = options;
  const given = Object.fromEntries(
    Object.entries({ steps, spacing, timesteps, eta, compat, clip }).filter(([, v]) => v !== undefined),
  );
  const schedule = makeSchedule({ ...model.scheduler, ...given });
  const rng = options.rng ?? "philox";
  if (rng !== "philox" && rng !== "torch")
    throw new UsageError("rng", `rng must be philox or torch, got ${String(rng)}`);
  if (options.pixels) checkPixels(options.pixels, count * size.height * size.width * 4);
  return {
    ...size,
    count,
    batch: options.batch === undefined ? undefined : wholeNumber("batch", options.batch, 1),
    seed: resolveSeed(options.seed),
    rng,
    classes: resolveClasses(model, options, count),
    guidance: resolveGuidance(model, options.guidance),
    schedule,
    coefficients: coefficientTable(schedule),
    noise,
    warnings: schedule.warnings,
  };
}
