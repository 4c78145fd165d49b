/**
 * diffusers' `config.json` of a UNet2DModel, checked. Keys keep the file's spelling. A key that is unknown, or a value
 * that would change the computation in a way that is not implemented, is an error that names it.
 */

import { ACTIVATION_NAMES } from "../kernels/parts/activations.ts";
import { ConfigError } from "../runtime/errors.ts";
import type { Activation } from "../runtime/graph.ts";

export interface ImageSize {
  height: number;
  width: number;
}

/** One level of the UNet, going down or up. */
export interface BlockType {
  /** Self-attention after every resnet. */
  attention: boolean;
  /** How the level changes resolution: a convolution, or a resnet that resamples. */
  sampler: "conv" | "resnet";
}

export interface UNet2DConfig {
  sample_size: ImageSize | null;
  in_channels: number;
  out_channels: number;
  center_input_sample: boolean;
  time_embedding_type: "positional" | "learned";
  time_embedding_dim: number;
  freq_shift: number;
  flip_sin_to_cos: boolean;
  down_blocks: readonly BlockType[];
  up_blocks: readonly BlockType[];
  mid_block: boolean;
  block_out_channels: readonly number[];
  layers_per_block: number;
  mid_block_scale_factor: number;
  downsample_padding: number;
  act_fn: Activation;
  /** Channels per head; null: one head as wide as the block. */
  attention_head_dim: number | null;
  norm_num_groups: number;
  /** Groups of the mid block's attention norm; null: no such norm. */
  mid_norm_groups: number | null;
  norm_eps: number;
  scale_shift: boolean;
  /** Attention in the mid block. */
  add_attention: boolean;
  class_embed_type: "none" | "embedding" | "timestep" | "identity";
  num_class_embeds: number;
  num_train_timesteps: number;
}

/** Reads keys with checks; remembers which were asked for, so that the rest can be refused. */
class Reader {
  readonly #known = new Set<string>();

  constructor(
    private readonly json: Readonly<Record<string, unknown>>,
    readonly file: string,
  ) {}

  fail(key: string, problem: string): never {
    throw new ConfigError(this.file, key, problem);
  }

  get(key: string): unknown {
    this.#known.add(key);
    return this.json[key];
  }

  #typed<T>(key: string, fallback: T, fits: (v: unknown) => boolean, expected: string): T {
    const value = this.get(key);
    if (value === undefined) return fallback;
    if (!fits(value)) this.fail(key, `expected ${expected}, got ${JSON.stringify(value)}`);
    return value as T;
  }

  flag = (key: string, fallback: boolean) => this.#typed(key, fallback, (v) => typeof v === "boolean", "true or false");

  count(key: string, fallback: number, least = 1): number {
    return this.#typed(
      key,
      fallback,
      (v) => Number.isInteger(v) && (v as number) >= least,
      `a whole number from ${least}`,
    );
  }

  countOrNull(key: string, fallback: number | null): number | null {
    const fits = (v: unknown) => v === null || (Number.isInteger(v) && (v as number) >= 1);
    return this.#typed<number | null>(key, fallback, fits, "null or a whole number from 1");
  }

  positive(key: string, fallback: number): number {
    const fits = (v: unknown) => typeof v === "number" && Number.isFinite(v) && v > 0;
    return this.#typed(key, fallback, fits, "a number above 0");
  }

  choice<T extends string>(key: string, fallback: T, values: readonly T[]): T {
    return this.#typed(key, fallback, (v) => values.includes(v as T), `one of ${values.join(", ")}`);
  }

  list<T>(key: string, fallback: readonly T[], fits: (v: unknown) => boolean, expected: string): readonly T[] {
    return this.#typed(
      key,
      fallback,
      (v) => Array.isArray(v) && v.length > 0 && v.every(fits),
      `a list of ${expected}`,
    );
  }

  refuseRest(): void {
    const rest = Object.keys(this.json).filter((key) => !key.startsWith("_") && !this.#known.has(key));
    if (rest.length === 0) return;
    const values = rest.map((key) => JSON.stringify(this.json[key])).join(", ");
    this.fail(rest.join(", "), `unknown key, here ${values}: it may change what the network computes`);
  }
}

/** diffusers' class names of blocks (get_down_block, get_up_block), without their "UNetRes" prefix. */
function blockTypes(r: Reader, key: "down_block_types" | "up_block_types", fallback: readonly string[]): BlockType[] {
  const direction = key === "down_block_types" ? "Down" : "Up";
  const typeKey = key === "down_block_types" ? "downsample_type" : "upsample_type";
  const own = r.choice(typeKey, "conv", ["conv", "resnet"]);
  const types: Record<string, BlockType> = {
    // Plain blocks always resample by convolution, whatever the type key says.
    [`${direction}Block2D`]: { attention: false, sampler: "conv" },
    [`Attn${direction}Block2D`]: { attention: true, sampler: own },
    [`Resnet${direction}sampleBlock2D`]: { attention: false, sampler: "resnet" },
  };
  return r
    .list<string>(key, fallback, (v) => typeof v === "string", "block names")
    .map((name) => {
      const type = types[name.replace(/^UNetRes/, "")];
      return type ?? r.fail(key, `${name} is not supported; supported are ${Object.keys(types).join(", ")}`);
    });
}

function imageSize(r: Reader): ImageSize | null {
  const value = r.get("sample_size");
  if (value === undefined || value === null) return null;
  const sides = Array.isArray(value) ? value : [value, value];
  if (sides.length !== 2 || !sides.every((v) => Number.isInteger(v) && v >= 1))
    r.fail("sample_size", `expected a whole number or [height, width], got ${JSON.stringify(value)}`);
  return { height: sides[0], width: sides[1] };
}

function classEmbedding(r: Reader): Pick<UNet2DConfig, "class_embed_type" | "num_class_embeds"> {
  const count = r.countOrNull("num_class_embeds", null);
  const type = r.get("class_embed_type") ?? null;
  if (type === null) return { class_embed_type: count === null ? "none" : "embedding", num_class_embeds: count ?? 0 };
  if (type !== "timestep" && type !== "identity")
    r.fail("class_embed_type", `${JSON.stringify(type)} is not supported`);
  return { class_embed_type: type as "timestep" | "identity", num_class_embeds: 0 };
}

/** A network needs every norm to divide its channels. */
function checkGroups(r: Reader, config: UNet2DConfig): void {
  const { block_out_channels: widths, norm_num_groups: groups, mid_norm_groups: mid } = config;
  const bad = widths.find((c) => c % groups !== 0);
  if (bad !== undefined)
    r.fail("norm_num_groups", `${groups} groups do not divide ${bad} channels of block_out_channels`);
  const last = widths.at(-1) as number;
  if (mid !== null && last % mid !== 0) r.fail("attn_norm_num_groups", `${mid} groups do not divide ${last} channels`);
}

/** Attention wherever it occurs needs at least one head. */
function checkHeads(r: Reader, config: UNet2DConfig): void {
  const { attention_head_dim: head, block_out_channels: widths, down_blocks, up_blocks } = config;
  if (head === null) return;
  const levels = widths.filter(
    (_, i) =>
      down_blocks[i]?.attention ||
      up_blocks[widths.length - 1 - i]?.attention ||
      (config.mid_block && config.add_attention && i === widths.length - 1),
  );
  const narrow = levels.find((c) => c < head);
  if (narrow !== undefined)
    r.fail("attention_head_dim", `${head} channels per head leave no head in a block of ${narrow} channels`);
}

/**
 * @param json the parsed file, `_class_name` UNet2DModel or absent
 * @param file named in errors
 * @throws ConfigError
 */
export function parseUNet2DConfig(json: Readonly<Record<string, unknown>>, file: string): UNet2DConfig {
  const r = new Reader(json, file);
  const className = json._class_name ?? "UNet2DModel";
  if (className !== "UNet2DModel")
    r.fail("_class_name", `${JSON.stringify(className)} is not supported; UNet2DModel is`);
  const block_out_channels = r.list<number>(
    "block_out_channels",
    [224, 448, 672, 896],
    (v) => Number.isInteger(v) && (v as number) >= 1,
    "channel counts",
  );
  const down_blocks = blockTypes(r, "down_block_types", [
    "DownBlock2D",
    "AttnDownBlock2D",
    "AttnDownBlock2D",
    "AttnDownBlock2D",
  ]);
  const up_blocks = blockTypes(r, "up_block_types", ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"]);
  for (const [key, list] of [
    ["down_block_types", down_blocks],
    ["up_block_types", up_blocks],
  ] as const)
    if (list.length !== block_out_channels.length)
      r.fail(key, `has ${list.length} entries, block_out_channels ${block_out_channels.length}`);
  const shift = r.choice("resnet_time_scale_shift", "default", ["default", "scale_shift"]);
  const norm_num_groups = r.count("norm_num_groups", 32);
  const midGroups = r.countOrNull("attn_norm_num_groups", null);
  const act = r.choice("act_fn", "silu", Object.keys(ACTIVATION_NAMES));
  const time_embedding_type = r.choice("time_embedding_type", "positional", ["positional", "learned"]);
  const steps = r.countOrNull("num_train_timesteps", null);
  if (time_embedding_type === "learned" && steps === null)
    r.fail("num_train_timesteps", "is required by learned time embeddings");
  r.get("dropout");
  const midType = r.get("mid_block_type");
  if (midType !== undefined && midType !== null && typeof midType !== "string")
    r.fail("mid_block_type", `expected a name or null, got ${JSON.stringify(midType)}`);
  const config: UNet2DConfig = {
    sample_size: imageSize(r),
    in_channels: r.count("in_channels", 3),
    out_channels: r.count("out_channels", 3),
    center_input_sample: r.flag("center_input_sample", false),
    time_embedding_type,
    time_embedding_dim: r.countOrNull("time_embedding_dim", null) ?? (block_out_channels[0] as number) * 4,
    freq_shift: r.count("freq_shift", 0, 0),
    flip_sin_to_cos: r.flag("flip_sin_to_cos", true),
    down_blocks,
    up_blocks,
    // diffusers takes any name here for its one kind of mid block.
    mid_block: midType !== null,
    block_out_channels,
    layers_per_block: r.count("layers_per_block", 2),
    mid_block_scale_factor: r.positive("mid_block_scale_factor", 1),
    downsample_padding: r.count("downsample_padding", 1, 0),
    act_fn: ACTIVATION_NAMES[act] as Activation,
    attention_head_dim: r.countOrNull("attention_head_dim", 8),
    norm_num_groups,
    mid_norm_groups: midGroups ?? (shift === "default" ? norm_num_groups : null),
    norm_eps: r.positive("norm_eps", 1e-5),
    scale_shift: shift === "scale_shift",
    add_attention: r.flag("add_attention", true),
    ...classEmbedding(r),
    num_train_timesteps: steps ?? 0,
  };
  r.refuseRest();
  checkGroups(r, config);
  checkHeads(r, config);
  return config;
}
