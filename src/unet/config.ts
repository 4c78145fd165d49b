/**
 * diffusers' `config.json` of a UNet2DModel (models/unets/unet_2d.py), checked and brought into the normal form. A key
 * that is unknown, or a value that would change the computation in a way that is not implemented, is an error that
 * names it.
 */

import { readActivation } from "../kernels/parts/activations.ts";
import { ConfigReader, imageSize, MOST, type UnknownOptions } from "../network/configReader.ts";
import { shown } from "../runtime/printable.ts";
import { checkGroups, readBlocks } from "./configLevels.ts";
import type { ClassEmbedding, Level, SelfAttention, UNetSpec } from "./spec.ts";

type Direction = "Down" | "Up";

/** One name of a block: whether it attends, and how it resamples. */
interface BlockType {
  attends: boolean;
  resample: "conv" | "resnet";
}

/** Plain blocks always resample by convolution, whatever the type key says. */
function blockTypes(r: ConfigReader, direction: Direction, fallback: readonly string[], count: number): BlockType[] {
  const own = r.choice(`${direction.toLowerCase()}sample_type`, "conv", ["conv", "resnet"]) as BlockType["resample"];
  const types = {
    [`${direction}Block2D`]: { attends: false, resample: "conv" },
    [`Attn${direction}Block2D`]: { attends: true, resample: own },
    [`Resnet${direction}sampleBlock2D`]: { attends: false, resample: "resnet" },
  } as const;
  return readBlocks<BlockType>(r, direction, types, fallback, count);
}

function classEmbedding(r: ConfigReader): ClassEmbedding {
  const count = r.countOrNull("num_class_embeds", null);
  const type = r.get("class_embed_type") ?? null;
  if (type === null) return count === null ? { kind: "none" } : { kind: "embedding", count };
  if (type !== "timestep" && type !== "identity") r.fail("class_embed_type", `${shown(type)} is not supported`);
  return { kind: type as "timestep" | "identity" };
}

/** @returns attention over blocks of some width; null in attention_head_dim: one head as wide as the block */
function attentionReader(r: ConfigReader): (channels: number, norm_groups: number | null) => SelfAttention {
  const key = r.countOrNull("attention_head_dim", 8);
  return (channels, norm_groups) => {
    const head_dim = key ?? channels;
    if (head_dim > channels)
      r.fail("attention_head_dim", `${head_dim} channels per head leave no head in a block of ${channels} channels`);
    return { kind: "self", head_dim, norm_groups };
  };
}

/**
 * @param json the parsed file, `_class_name` UNet2DModel or absent
 * @param file named in errors
 * @throws ConfigError
 */
export function parseUNet2DConfig(
  json: Readonly<Record<string, unknown>>,
  file: string,
  options?: UnknownOptions,
): UNetSpec {
  const r = new ConfigReader(json, file, "diffusers", options);
  const className = json._class_name ?? "UNet2DModel";
  if (className !== "UNet2DModel") r.fail("_class_name", `${shown(className)} is not supported; UNet2DModel is`);
  const widths = r.levels("block_out_channels", [224, 448, 672, 896], "channel counts");
  const [down, up] = ["AttnDownBlock2D", "AttnUpBlock2D"];
  const downTypes = blockTypes(r, "Down", ["DownBlock2D", down, down, down], widths.length);
  const upTypes = blockTypes(r, "Up", [up, up, up, "UpBlock2D"], widths.length);
  const shift = r.choice("resnet_time_scale_shift", "default", ["default", "scale_shift"]);
  const groups = r.count("norm_num_groups", 32);
  const midGroups = r.countOrNull("attn_norm_num_groups", null) ?? (shift === "default" ? groups : null);
  const act_fn = readActivation(r, "act_fn");
  const timeType = r.choice("time_embedding_type", "positional", ["positional", "learned"]);
  const steps = r.countOrNull("num_train_timesteps", null);
  if (timeType === "learned" && steps === null) r.fail("num_train_timesteps", "is required by learned time embeddings");
  const midType = r.get("mid_block_type");
  if (midType !== undefined && midType !== null && typeof midType !== "string")
    r.fail("mid_block_type", `expected a name or null, got ${shown(midType)}`);
  const midAttention = r.flag("add_attention", true) && midType !== null;
  checkGroups(r, widths, groups);
  if (midAttention && midGroups !== null && (widths.at(-1) as number) % midGroups !== 0)
    r.fail("attn_norm_num_groups", `${midGroups} groups do not divide ${widths.at(-1)} channels`);
  const attention = attentionReader(r);
  const layers = r.count("layers_per_block", 2, 1, MOST.layers);
  const levels = (types: readonly BlockType[], channels: readonly number[], resnets: number): Level[] =>
    types.map(({ attends, resample }, i) => ({
      channels: channels[i] as number,
      resnets,
      attention: attends ? attention(channels[i] as number, groups) : null,
      resample: i < types.length - 1 ? resample : "none",
    }));
  const [first, last] = [widths[0] as number, widths.at(-1) as number];
  const scale_factor = r.positive("mid_block_scale_factor", 1);
  const spec: UNetSpec = {
    sample_size: imageSize(r),
    in_channels: r.count("in_channels", 3),
    out_channels: r.count("out_channels", 3),
    center_input_sample: r.flag("center_input_sample", false),
    conv_in_kernel: 3,
    conv_out_kernel: 3,
    norm_num_groups: groups,
    norm_eps: r.positive("norm_eps", 1e-5),
    act_fn,
    out_act: "silu",
    scale_shift: shift === "scale_shift",
    time: {
      type: timeType,
      inputs: first,
      dim: r.countOrNull("time_embedding_dim", null) ?? first * 4,
      freq_shift: r.count("freq_shift", 0, 0),
      flip_sin_to_cos: r.flag("flip_sin_to_cos", true),
      num_train_timesteps: timeType === "learned" ? (steps as number) : 0,
      act: "silu",
      post_act: "none",
      sum_act: "none",
    },
    classes: classEmbedding(r),
    added: { kind: "none" },
    channels: first,
    down: levels(downTypes, widths, layers),
    // diffusers takes any name in mid_block_type for its one kind of mid block.
    mid:
      midType === null
        ? null
        : { resnets: 2, attention: midAttention ? attention(last, midGroups) : null, scale_factor },
    up: levels(upTypes, [...widths].reverse(), layers + 1),
    downsample_padding: r.count("downsample_padding", 1, 0),
    odd_sizes: false,
    context_dim: null,
  };
  r.refuseRest();
  return spec;
}
