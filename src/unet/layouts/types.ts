/**
 * What a layout is: one publisher's way to write down a UNet. A network's parameters keep diffusers' names everywhere
 * else; a layout says where each is in the checkpoint, and reads the configuration that belongs to it.
 */
import type { UnknownOptions } from "../../network/configReader.ts";
import type { Naming } from "../../network/naming.ts";
import type { Checkpoint } from "../../weights/checkpoint.ts";
import type { UNetSpec } from "../spec.ts";

/** Which of a checkpoint's sets of weights. */
export type WeightSet = "plain" | "ema";

/** Turns class ids into the context that a network attends to: a table in the checkpoint, one entry per class. */
export interface ClassEmbedder {
  readonly tensor: string;
  readonly count: number;
  readonly width: number;
  /** The class that stands for "no class"; null: not known. */
  readonly nullClass: number | null;
}

/** A configuration, read. */
export interface Parsed {
  readonly spec: UNetSpec;
  readonly naming: Naming;
  /** What it says about noise levels and sampling, under the keys of diffusers' schedulers; null: nothing. */
  readonly scheduler: Readonly<Record<string, unknown>> | null;
  readonly classEmbedder: ClassEmbedder | null;
  /** Latent-diffusion's conditioning_key, where what the network reads beside its state is in it. */
  readonly conditioning?: "concat" | "hybrid";
  /** What else decides which numbers the network gets from the same file; "" where nothing does. */
  readonly reading: string;
  /** Sentences about what was assumed. */
  readonly warnings: readonly string[];
  /** The checkpoint with its tensors as the network computes with them, where that is not as they are stored. */
  prepare?(checkpoint: Checkpoint): Checkpoint;
}

/** A checkpoint's tensors by name. */
export type TensorShapes = ReadonlyMap<string, { readonly shape: readonly number[] }>;

export interface Layout {
  readonly id: "diffusers" | "ermongroup" | "openai" | "ldm" | "denoising";
  /** For messages, after "in". */
  readonly title: string;
  /** Tensors of a UNet in this layout and in no other. */
  readonly tensors: RegExp;
  /** Tensors that its checkpoints may hold beside the UNet's. */
  readonly besides?: RegExp;
  /** Tensors of the moving average of the weights, where such checkpoints can have one. */
  readonly ema?: RegExp;
  /** Whether a configuration is of this layout's family. */
  configures(json: Readonly<Record<string, unknown>>): boolean;
  /**
   * @param file named in errors
   * @param weights which of the checkpoint's sets the naming finds
   * @param options what to do about keys that nobody knows
   * @param tensors of the checkpoint, where there is one
   * @throws ConfigError
   */
  parse(
    json: Readonly<Record<string, unknown>>,
    file: string,
    weights: WeightSet,
    options?: UnknownOptions,
    tensors?: TensorShapes,
  ): Parsed | Promise<Parsed>;
}

export interface DetectedLayout {
  readonly layout: Layout;
  /** For messages: the layout's title and what told it. */
  readonly reason: string;
}
