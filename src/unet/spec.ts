/**
 * The normal form of a 2-D UNet: what every family's configuration is parsed into and what the graph is built from, in
 * the order of execution. Nothing here belongs to one family; where a key means the same everywhere, it keeps diffusers'
 * spelling.
 */
import type { Graph } from "../kernels/graph.ts";
import type { Activation } from "../kernels/parts/activations.ts";
import type { ImageSize } from "../network/configReader.ts";
import type { Value } from "../runtime/values.ts";
import type { EmbeddingTable } from "./blocks.ts";

/** Attention over the pixels of an image, with a residual connection around it (diffusers' former AttentionBlock). */
export interface SelfAttention {
  kind: "self";
  /** Channels per head; there are as many heads as fit the block's channels. */
  head_dim: number;
  /** Groups of the norm before the projections; null: no such norm. */
  norm_groups: number | null;
}

/** Transformer2DModel: blocks of attention over the pixels, attention to the context, and a feed-forward. */
export interface Transformer {
  kind: "transformer";
  heads: number;
  /** Channels per head. */
  head_dim: number;
  /** Blocks of each transformer of the level, one transformer per resnet; in the middle there is one. */
  depths: readonly number[];
  /** Projections in and out by linear layers; else by 1×1 convolutions. They differ in their weights' shapes alone. */
  linear_projection: boolean;
  /** The first attention of a block reads the context too, instead of the pixels. */
  only_cross: boolean;
}

export type Attention = SelfAttention | Transformer;

/**
 * How a level changes resolution at its end: not at all, by a convolution (strided, or after nearest ×2), by a resnet
 * that resamples, or without weights (mean of 2×2 pixels, or nearest ×2).
 */
export type Resample = "none" | "conv" | "resnet" | "pool";

/** Resnets of one width, each followed by attention; going up, each reads one more skip connection. */
export interface Level {
  channels: number;
  resnets: number;
  attention: Attention | null;
  resample: Resample;
  /** Divides the sums of the resnets' branches, of those that resample too; 1 where absent. */
  scale_factor?: number;
  /** Its resnets project the time embedding without the activation before it. */
  skip_time_act?: boolean;
}

export interface Mid {
  /** The first resnet stands before the attention, the others after it. */
  resnets: 1 | 2;
  attention: Attention | null;
  /** Divides the sums of the resnets' and of self-attention's branches. */
  scale_factor: number;
}

export interface TimeEmbedding {
  /** Sinusoids, or entries of the table `time_proj.weight`; fourier: sinusoids of the frequencies that the table holds. */
  type: "positional" | "learned" | "fourier";
  /** Width of a timestep's sinusoids. */
  inputs: number;
  /** Width of the embedding. */
  dim: number;
  freq_shift: number;
  flip_sin_to_cos: boolean;
  /** What the sinusoids' frequencies are powers of; 10000 where absent. */
  theta?: number;
  /** What the network reads of a timestep, `inputs` wide, where it is neither. @param table `time_proj.weight`, if any */
  vector?(t: number, table: Float32Array | null): ArrayLike<number>;
  /** Entries of the learned table; 0 for sinusoids. */
  num_train_timesteps: number;
  /** Between the two linear layers, and after them. */
  act: Activation;
  post_act: Activation;
  /** On the sum of all embeddings, before the resnets take it. */
  sum_act: Activation;
  /** Width of a vector that is projected and added to the sinusoids (LCM's embedding of the guidance scale); else absent. */
  cond?: number;
}

/** What is added to the time embedding for a class; with `concat`, appended to it. */
export type ClassEmbedding = { concat?: boolean } & (
  | { kind: "none" }
  /** An entry of a table of `count` classes. */
  | { kind: "embedding"; count: number }
  /** Sinusoids of a number, through a network like the timestep's. */
  | { kind: "timestep" }
  /** The vector itself, as wide as the time embedding. */
  | { kind: "identity" }
  /** A vector of `width` through two layers with the activation between, or through one. */
  | { kind: "projection" | "simple_projection"; width: number }
);

/** What else is added to the time embedding. */
export type AddedEmbedding =
  | { kind: "none" }
  /** A pooled text embedding, then sinusoids of `time_dim` for every number of time_ids: together `width` wide. */
  | { kind: "text_time"; width: number; time_dim: number };

/** What a network of another build reads and makes. */
export interface BodyParts {
  readonly graph: Graph;
  readonly table: EmbeddingTable;
  /** The input, [H, W, in_channels]. */
  readonly x: Value;
  /** Whether outputs of modules are wanted that the network can do without. */
  readonly tapped: boolean;
  /** Modules that have no tensors, and whose outputs are there all the same; only where `tapped`. */
  readonly modules: Set<string>;
}

/** How the time embedding is made. */
export interface EmbeddingParts {
  readonly graph: Graph;
  /** What the projections take, and they themselves. */
  readonly activated: Value;
  readonly projections: Value;
  readonly table: EmbeddingTable;
  readonly modules: Set<string>;
}

export interface UNetSpec {
  /** What is computed of the input, f32 [H, W, out_channels], by networks of another build; levels then tell sizes alone. */
  body?(parts: BodyParts): Value;
  /** Adds outputs of modules that the table of embeddings makes unnecessary. */
  tapEmbeddings?(parts: EmbeddingParts): void;
  /** The second half of the input is the picture that the step before made out, or zeros. */
  self_condition?: boolean;
  sample_size: ImageSize | null;
  in_channels: number;
  out_channels: number;
  /** x ← 2x − 1 before the first convolution. */
  center_input_sample: boolean;
  /** Sides of the first and the last convolution's kernels, odd. */
  conv_in_kernel: number;
  conv_out_kernel: number;
  norm_num_groups: number;
  norm_eps: number;
  /** In resnets, and before their projections of the time embedding. */
  act_fn: Activation;
  /** Before the last convolution. */
  out_act: Activation;
  /** Resnets scale and shift by the time embedding, after their second norm; else they add it before. */
  scale_shift: boolean;
  time: TimeEmbedding;
  classes: ClassEmbedding;
  added: AddedEmbedding;
  /** Channels of the first convolution. */
  channels: number;
  down: readonly Level[];
  mid: Mid | null;
  up: readonly Level[];
  /** Of strided convolutions; 0: zeros at the right and bottom only. */
  downsample_padding: number;
  /** Where a level halved an odd size, going up drops the last line or column again; else sizes must divide evenly. */
  odd_sizes: boolean;
  /** Channels of the context that attention reads; null: there is none. */
  context_dim: number | null;
}

/** Classes that have an embedding; 0 where classes are no ids or there are none. */
export const classEmbeddings = ({ classes }: UNetSpec): number => (classes.kind === "embedding" ? classes.count : 0);

/** How often the image is halved. */
export const halvings = ({ down }: UNetSpec): number => down.filter(({ resample }) => resample !== "none").length;
