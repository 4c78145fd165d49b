/**
 * The levels of a UNet2DConditionModel, from the keys that give a value for all of them or a list with one for each.
 *
 * `attention_head_dim` is the number of heads of transformers, a mistake that diffusers keeps for the sake of published
 * configurations (huggingface/diffusers#2011); of plain attention it is what its name says.
 */
import type { ConfigReader } from "../network/configReader.ts";
import type { Attention, Level, Mid, Resample, SelfAttention, Transformer, UNetSpec } from "./spec.ts";

export const isCount = (v: unknown): v is number => Number.isInteger(v) && (v as number) >= 1;

interface BlockType {
  attends: Attention["kind"] | null;
  resample: Exclude<Resample, "none">;
}

function blockTypes(r: ConfigReader, direction: "Down" | "Up", fallback: readonly string[], count: number) {
  const key = `${direction.toLowerCase()}_block_types`;
  const types: Record<string, BlockType> = {
    [`${direction}Block2D`]: { attends: null, resample: "conv" },
    [`CrossAttn${direction}Block2D`]: { attends: "transformer", resample: "conv" },
    [`Attn${direction}Block2D`]: { attends: "self", resample: "conv" },
    [`Resnet${direction}sampleBlock2D`]: { attends: null, resample: "resnet" },
  };
  const names = r.list<string>(key, fallback, (v) => typeof v === "string", "block names");
  if (names.length !== count) r.fail(key, `has ${names.length} entries, block_out_channels ${count}`);
  return names.map((name) => {
    const type = types[name.replace(/^UNetRes/, "")];
    return type ?? r.fail(key, `${name} is not supported; supported are ${Object.keys(types).join(", ")}`);
  });
}

/** A value for all levels, or a list with one for each. */
function perLevel<T>(r: ConfigReader, key: string, fallback: T, count: number, fits: (v: unknown) => boolean): T[] {
  const given = r.get(key);
  const value = given === undefined ? fallback : given;
  const list = Array.isArray(value) ? value : Array.from({ length: count }, () => value);
  if (list.length !== count) r.fail(key, `has ${list.length} entries, block_out_channels ${count}`);
  for (const v of list) if (!fits(v)) r.fail(key, `${JSON.stringify(v)} is not supported`);
  return list as T[];
}

/** Blocks of every transformer: a number for a level, or a list with one for each of its resnets. */
function depths(r: ConfigReader, down: readonly number[], up: readonly number[]): { down: number[][]; up: number[][] } {
  const [key, reverse] = ["transformer_layers_per_block", "reverse_transformer_layers_per_block"] as const;
  const read = (name: string) =>
    perLevel<number | number[]>(r, name, 1, down.length, (v) => isCount(v) || (Array.isArray(v) && v.every(isCount)));
  const spread = (name: string, given: readonly (number | number[])[], resnets: readonly number[]) =>
    resnets.map((count, level) => {
      const depth = given[level] as number | number[];
      if (!Array.isArray(depth)) return Array.from({ length: count }, () => depth);
      if (depth.length !== count) r.fail(name, `has ${depth.length} entries for a level of ${count} resnets`);
      return depth;
    });
  const own = read(key);
  if ((r.get(reverse) ?? null) !== null)
    return { down: spread(key, own, down), up: spread(reverse, read(reverse), up) };
  if (own.some(Array.isArray)) r.fail(reverse, `is required where ${key} holds lists`);
  return { down: spread(key, own, down), up: spread(key, [...own].reverse(), up) };
}

/** Makes the attention of a level, by its place going down. */
class Attentions {
  readonly #heads: readonly (number | null)[];
  readonly #onlyCross: readonly boolean[];
  readonly #contexts: readonly number[];
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

  transformer(level: number, depths: readonly number[], only_cross = this.#onlyCross[level] as boolean): Transformer {
    const [channels, heads] = [this.widths[level] as number, this.#heads[level] as number | null];
    if (heads === null) return this.r.fail("attention_head_dim", "null is not supported: it is a number of heads here");
    if (heads > channels)
      this.r.fail("attention_head_dim", `${heads} heads do not fit a block of ${channels} channels`);
    this.#used.add(this.#contexts[level] as number);
    const head_dim = Math.floor(channels / heads);
    return { kind: "transformer", heads, head_dim, depths, linear_projection: this.#linear, only_cross };
  }

  /** @param entry of attention_head_dim */
  self(level: number, entry: number): SelfAttention {
    const channels = this.widths[level] as number;
    const head_dim = this.#heads[entry] ?? channels;
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

function middle(r: ConfigReader, attentions: Attentions, last: number, depth: number): Mid | null {
  const types = ["UNetMidBlock2DCrossAttn", "UNetMidBlock2D"] as const;
  const scale_factor = r.positive("mid_block_scale_factor", 1);
  if (r.get("mid_block_type") === null) return null;
  // In this model nothing but the first resnet is left of a UNetMidBlock2D.
  if (r.choice("mid_block_type", types[0], types) === types[1]) return { resnets: 1, attention: null, scale_factor };
  return { resnets: 2, attention: attentions.transformer(last, [depth], false), scale_factor };
}

/** Resnets that resample take these keys; all others ignore them. */
function checkResampling(r: ConfigReader, types: readonly BlockType[]): void {
  const [skip, scale] = ["resnet_skip_time_act", "resnet_out_scale_factor"] as const;
  const given = { [skip]: r.flag(skip, false), [scale]: r.positive(scale, 1) };
  if (types.every(({ resample }) => resample === "conv")) return;
  if (given[skip]) r.fail(skip, "true is not supported");
  if (given[scale] !== 1) r.fail(scale, `${given[scale]} is not supported`);
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
  checkResampling(r, [...downTypes, ...upTypes]);
  const attentions = new Attentions(r, widths, groups);
  const resnets = perLevel(r, "layers_per_block", 2, count, isCount);
  const upResnets = [...resnets].reverse().map((n) => n + 1);
  const depth = depths(r, resnets, upResnets);
  const level = ({ attends, resample }: BlockType, i: number, place: number, blocks: readonly number[]): Level => ({
    channels: widths[place] as number,
    resnets: blocks.length,
    attention:
      attends === "transformer"
        ? attentions.transformer(place, blocks)
        : // Going up, plain attention takes the entries in the order of going down, as diffusers does.
          attends && attentions.self(place, i),
    resample: i < count - 1 ? resample : "none",
  });
  const down = downTypes.map((type, i) => level(type, i, i, depth.down[i] as number[]));
  const up = upTypes.map((type, i) => level(type, i, count - 1 - i, depth.up[i] as number[]));
  const mid = middle(r, attentions, count - 1, depth.down[count - 1]?.[0] as number);
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
