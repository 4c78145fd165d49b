/**
 * The levels of a UNet2DConditionModel, from the keys that give a value for all of them or a list with one for each.
 *
 * `attention_head_dim` is the number of heads of transformers, a mistake that diffusers keeps for the sake of published
 * configurations (huggingface/diffusers#2011); of plain attention it is what its name says.
 */
import { type ConfigReader, MOST } from "../network/configReader.ts";
import { shown } from "../runtime/printable.ts";
import { readBlocks } from "./configLevels.ts";
import type { Attention, Level, Mid, Resample, SelfAttention, Transformer, UNetSpec } from "./spec.ts";

const isCount = (v: unknown): v is number => Number.isInteger(v) && (v as number) >= 1;

interface BlockType {
  attends: Attention["kind"] | null;
  resample: Exclude<Resample, "none">;
}

function blockTypes(r: ConfigReader, direction: "Down" | "Up", fallback: readonly string[], count: number) {
  const types: Record<string, BlockType> = {
    [`${direction}Block2D`]: { attends: null, resample: "conv" },
    [`CrossAttn${direction}Block2D`]: { attends: "transformer", resample: "conv" },
    [`Attn${direction}Block2D`]: { attends: "self", resample: "conv" },
    [`Resnet${direction}sampleBlock2D`]: { attends: null, resample: "resnet" },
  };
  return readBlocks(r, direction, types, fallback, count);
}

/** A value for all levels, or a list with one for each: a function of the level, which checks what it returns. */
function perLevel<T>(
  r: ConfigReader,
  key: string,
  fallback: T,
  count: number,
  fits: (v: unknown) => boolean,
  most: number = MOST.channels,
): (level: number) => T {
  const given = r.get(key);
  const value = given === undefined ? fallback : given;
  const list = Array.isArray(value) ? value : Array.from({ length: count }, () => value);
  if (list.length !== count) r.fail(key, `has ${list.length} entries, block_out_channels ${count}`);
  return (level) => {
    const entry: unknown = list[level];
    if (!fits(entry)) r.fail(key, `${shown(entry)} is not supported`);
    if (typeof entry === "number") r.within(key, entry, most);
    return entry as T;
  };
}

/** Blocks of the transformers: of a level's, one after each of so many resnets. */
interface Depths {
  down(level: number, resnets: number): number[];
  mid(): number[];
  up(level: number, resnets: number): number[];
}

/**
 * A number of blocks for a level, or a list with one for each of its resnets. Surplus entries are allowed, and entries of
 * levels without transformers may be anything; but the middle takes the last entry, and without a list of its own the way
 * up the entries from the last on, surplus or not.
 */
function depths(r: ConfigReader, count: number): Depths {
  const [key, reverse] = ["transformer_layers_per_block", "reverse_transformer_layers_per_block"] as const;
  const read = (name: string): unknown[] => {
    const value = r.get(name) ?? 1;
    const list = Array.isArray(value) ? value : Array.from({ length: count }, () => value);
    if (list.length < count) r.fail(name, `has ${list.length} entries, block_out_channels ${count}`);
    return list;
  };
  const isDepth = (v: unknown): v is number => Number.isInteger(v) && (v as number) >= 0;
  const spread = (name: string, depth: unknown, resnets: number): number[] => {
    const list: unknown[] = Array.isArray(depth) ? depth : Array.from({ length: resnets }, () => depth);
    if (list.length < resnets) r.fail(name, `has ${list.length} entries for a level of ${resnets} resnets`);
    return list
      .slice(0, resnets)
      .map((v) => (isDepth(v) ? r.within(name, v, MOST.layers) : r.fail(name, `${shown(v)} is not supported`)));
  };
  const own = read(key);
  const reversed = (r.get(reverse) ?? null) !== null;
  if (!reversed && own.some(Array.isArray)) r.fail(reverse, `is required where ${key} holds lists`);
  const up = reversed ? read(reverse) : [...own].reverse();
  return {
    down: (level, resnets) => spread(key, own[level], resnets),
    mid: () => spread(key, own.at(-1), 1),
    up: (level, resnets) => spread(reversed ? reverse : key, up[level], resnets),
  };
}

/** Makes the attention of a level, by its place going down. */
class Attentions {
  readonly #heads: (level: number) => number | null;
  readonly #onlyCross: (level: number) => boolean;
  readonly #contexts: (level: number) => number;
  readonly #linear: boolean;
  readonly #used = new Set<number>();

  constructor(
    private readonly r: ConfigReader,
    private readonly widths: readonly number[],
    private readonly groups: number,
  ) {
    const count = widths.length;
    this.#heads = perLevel<number | null>(r, "attention_head_dim", 8, count, (v) => v === null || isCount(v));
    this.#contexts = perLevel(r, "cross_attention_dim", 1280, count, isCount);
    this.#onlyCross = perLevel(r, "only_cross_attention", false, count, (v) => typeof v === "boolean");
    this.#linear = r.flag("use_linear_projection", false);
  }

  transformer(level: number, depths: readonly number[], only_cross = this.#onlyCross(level)): Transformer {
    const [channels, heads] = [this.widths[level] as number, this.#heads(level)];
    if (heads === null) return this.r.fail("attention_head_dim", "null is not supported: it is a number of heads here");
    if (heads > channels)
      this.r.fail("attention_head_dim", `${heads} heads do not fit a block of ${channels} channels`);
    this.#used.add(this.#contexts(level));
    const head_dim = Math.floor(channels / heads);
    return { kind: "transformer", heads, head_dim, depths, linear_projection: this.#linear, only_cross };
  }

  /** @param entry of attention_head_dim */
  self(level: number, entry: number): SelfAttention {
    const channels = this.widths[level] as number;
    const head_dim = this.#heads(entry) ?? channels;
    if (head_dim > channels)
      this.r.fail(
        "attention_head_dim",
        `${head_dim} channels per head leave no head in a block of ${channels} channels`,
      );
    return { kind: "self", head_dim, norm_groups: this.groups };
  }

  /** Of the context that all transformers made so far read; null: there are none. */
  contextWidth(): number | null {
    const widths = [...this.#used];
    if (widths.length > 1)
      this.r.fail("cross_attention_dim", `${widths.join(" and ")}: one context cannot have several widths`);
    return widths[0] ?? null;
  }
}

function middle(r: ConfigReader, attentions: Attentions, last: number, depth: Depths["mid"]): Mid | null {
  const types = ["UNetMidBlock2DCrossAttn", "UNetMidBlock2D"] as const;
  const scale_factor = r.positive("mid_block_scale_factor", 1);
  if (r.get("mid_block_type") === null) return null;
  // In this model nothing but the first resnet is left of a UNetMidBlock2D.
  if (r.choice("mid_block_type", types[0], types) === types[1]) return { resnets: 1, attention: null, scale_factor };
  return { resnets: 2, attention: attentions.transformer(last, depth(), false), scale_factor };
}

/** Of the levels whose blocks resample by resnets, all resnets take these keys; all others ignore them. */
function resnetKeys(r: ConfigReader): (type: BlockType) => Pick<Level, "scale_factor" | "skip_time_act"> {
  const scale_factor = r.positive("resnet_out_scale_factor", 1);
  const skip_time_act = r.flag("resnet_skip_time_act", false);
  const own = { ...(scale_factor === 1 ? {} : { scale_factor }), ...(skip_time_act ? { skip_time_act } : {}) };
  return ({ resample }) => (resample === "resnet" ? own : {});
}

/** @throws ConfigError */
export function readLevels(
  r: ConfigReader,
  widths: readonly number[],
  groups: number,
): Pick<UNetSpec, "down" | "mid" | "up" | "downsample_padding" | "odd_sizes" | "context_dim"> {
  const count = widths.length;
  const [crossDown, crossUp] = ["CrossAttnDownBlock2D", "CrossAttnUpBlock2D"];
  const downTypes = blockTypes(r, "Down", [crossDown, crossDown, crossDown, "DownBlock2D"], count);
  const upTypes = blockTypes(r, "Up", ["UpBlock2D", crossUp, crossUp, crossUp], count);
  const keys = resnetKeys(r);
  const attentions = new Attentions(r, widths, groups);
  const resnets = perLevel(r, "layers_per_block", 2, count, isCount, MOST.layers);
  const depth = depths(r, count);
  const level = (type: BlockType, i: number, direction: "down" | "up"): Level => {
    const place = direction === "down" ? i : count - 1 - i;
    const own = resnets(place) + (direction === "down" ? 0 : 1);
    return {
      channels: widths[place] as number,
      resnets: own,
      attention:
        type.attends === "transformer"
          ? attentions.transformer(place, depth[direction](i, own))
          : // Going up, plain attention takes the entries in the order of going down, as diffusers does.
            type.attends && attentions.self(place, i),
      resample: i < count - 1 ? type.resample : "none",
      ...keys(type),
    };
  };
  const down = downTypes.map((type, i) => level(type, i, "down"));
  const up = upTypes.map((type, i) => level(type, i, "up"));
  const mid = middle(r, attentions, count - 1, depth.mid);
  const downsample_padding = r.count("downsample_padding", 1, 0);
  return {
    down,
    mid,
    up,
    downsample_padding,
    // Blocks of other kinds do not crop what they upsample.
    odd_sizes:
      downsample_padding === 1 &&
      [...downTypes, ...upTypes].every(({ resample }) => resample === "conv") &&
      upTypes.every(({ attends }) => attends !== "self"),
    context_dim: attentions.contextWidth(),
  };
}
