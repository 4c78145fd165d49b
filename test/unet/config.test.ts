/** config.json of a UNet2DModel: every key of diffusers' class, its default, and what is refused. */
import { describe, expect, test } from "vitest";
import { parseUNet2DConfig } from "../../src/unet/config.ts";
import type { Level, UNetSpec } from "../../src/unet/spec.ts";
import { COMMON, FILE, type Refusal, refusalOf, testDefaults, testRefusals, timeOf } from "./configTests.ts";

const parse = (json: Record<string, unknown>): UNetSpec => parseUNet2DConfig(json, FILE);
const refusal = (json: Record<string, unknown>) => refusalOf(parse, json);

/** Every argument of diffusers' UNet2DModel with its default (models/unets/unet_2d.py, 0.42.1). */
const DEFAULTS = {
  sample_size: null,
  in_channels: 3,
  out_channels: 3,
  center_input_sample: false,
  time_embedding_type: "positional",
  time_embedding_dim: null,
  freq_shift: 0,
  flip_sin_to_cos: true,
  down_block_types: ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
  mid_block_type: "UNetMidBlock2D",
  up_block_types: ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
  block_out_channels: [224, 448, 672, 896],
  layers_per_block: 2,
  mid_block_scale_factor: 1,
  downsample_padding: 1,
  downsample_type: "conv",
  upsample_type: "conv",
  dropout: 0,
  act_fn: "silu",
  attention_head_dim: 8,
  norm_num_groups: 32,
  attn_norm_num_groups: null,
  norm_eps: 1e-5,
  resnet_time_scale_shift: "default",
  add_attention: true,
  class_embed_type: null,
  num_class_embeds: null,
  num_train_timesteps: null,
};

interface Shape {
  widths?: readonly number[];
  head_dim?: number | null;
  groups?: number;
  layers?: number;
  /** Levels: A attends, other letters do not; R at the end resamples by a resnet. */
  down?: string;
  up?: string;
}

/** The levels that a configuration means, written down another way than the parser finds them. */
function levels({ widths = [224, 448, 672, 896], head_dim = 8, groups = 32, layers = 2, ...types }: Shape) {
  const self = (channels: number) => ({ kind: "self", head_dim: head_dim ?? channels, norm_groups: groups }) as const;
  const build = (codes: string, channels: readonly number[], resnets: number): Level[] =>
    codes.split(" ").map((code, i) => ({
      channels: channels[i]!,
      resnets,
      attention: code.startsWith("A") ? self(channels[i]!) : null,
      resample: i === 3 ? "none" : code.endsWith("R") ? "resnet" : "conv",
    }));
  return {
    down: build(types.down ?? "D A A A", widths, layers),
    up: build(types.up ?? "A A A D", [...widths].reverse(), layers + 1),
    mid: { resnets: 2, attention: self(widths[3]!), scale_factor: 1 } as UNetSpec["mid"],
  };
}

const TIME = timeOf(224);
const MID = { resnets: 2, attention: { kind: "self", head_dim: 8, norm_groups: 32 }, scale_factor: 1 } as const;

testDefaults(parse, DEFAULTS, {
  ...COMMON,
  in_channels: 3,
  out_channels: 3,
  time: TIME,
  channels: 224,
  ...levels({}),
  odd_sizes: false,
  context_dim: null,
});

/** For each key another value, with what it needs beside it, and what changes then. */
const CHANGES: Record<keyof typeof DEFAULTS, [change: Record<string, unknown>, effect: Partial<UNetSpec>]> = {
  sample_size: [{ sample_size: 32 }, { sample_size: { height: 32, width: 32 } }],
  in_channels: [{ in_channels: 1 }, { in_channels: 1 }],
  out_channels: [{ out_channels: 6 }, { out_channels: 6 }],
  center_input_sample: [{ center_input_sample: true }, { center_input_sample: true }],
  time_embedding_type: [
    { time_embedding_type: "learned", num_train_timesteps: 10 },
    { time: { ...TIME, type: "learned", num_train_timesteps: 10 } },
  ],
  time_embedding_dim: [{ time_embedding_dim: 17 }, { time: { ...TIME, dim: 17 } }],
  freq_shift: [{ freq_shift: 1 }, { time: { ...TIME, freq_shift: 1 } }],
  flip_sin_to_cos: [{ flip_sin_to_cos: false }, { time: { ...TIME, flip_sin_to_cos: false } }],
  down_block_types: [
    { down_block_types: ["AttnDownBlock2D", "DownBlock2D", "ResnetDownsampleBlock2D", "UNetResDownBlock2D"] },
    levels({ down: "A D R D" }),
  ],
  mid_block_type: [{ mid_block_type: null }, { mid: null }],
  up_block_types: [
    { up_block_types: ["UNetResAttnUpBlock2D", "UpBlock2D", "ResnetUpsampleBlock2D", "UpBlock2D"] },
    levels({ up: "A D R D" }),
  ],
  block_out_channels: [
    { block_out_channels: [32, 64, 64, 96] },
    { channels: 32, time: { ...TIME, inputs: 32, dim: 128 }, ...levels({ widths: [32, 64, 64, 96] }) },
  ],
  layers_per_block: [{ layers_per_block: 3 }, levels({ layers: 3 })],
  mid_block_scale_factor: [{ mid_block_scale_factor: Math.SQRT2 }, { mid: { ...MID, scale_factor: Math.SQRT2 } }],
  downsample_padding: [{ downsample_padding: 0 }, { downsample_padding: 0 }],
  // The plain first level keeps its convolution.
  downsample_type: [{ downsample_type: "resnet" }, levels({ down: "D AR AR AR" })],
  upsample_type: [{ upsample_type: "resnet" }, levels({ up: "AR AR AR D" })],
  dropout: [{ dropout: 0.1 }, {}],
  act_fn: [{ act_fn: "gelu" }, { act_fn: "gelu" }],
  attention_head_dim: [{ attention_head_dim: null }, levels({ head_dim: null })],
  norm_num_groups: [{ norm_num_groups: 16 }, { norm_num_groups: 16, ...levels({ groups: 16 }) }],
  attn_norm_num_groups: [
    { attn_norm_num_groups: 16 },
    { mid: { ...MID, attention: { ...MID.attention, norm_groups: 16 } } },
  ],
  norm_eps: [{ norm_eps: 1e-6 }, { norm_eps: 1e-6 }],
  // Without groups of its own the mid block's attention then has no norm.
  resnet_time_scale_shift: [
    { resnet_time_scale_shift: "scale_shift" },
    { scale_shift: true, mid: { ...MID, attention: { ...MID.attention, norm_groups: null } } },
  ],
  add_attention: [{ add_attention: false }, { mid: { ...MID, attention: null } }],
  class_embed_type: [{ class_embed_type: "identity" }, { classes: { kind: "identity" } }],
  num_class_embeds: [{ num_class_embeds: 7 }, { classes: { kind: "embedding", count: 7 } }],
  // Read by learned embeddings alone.
  num_train_timesteps: [{ num_train_timesteps: 1000 }, {}],
};

describe("each key", () => {
  for (const [key, [change, effect]] of Object.entries(CHANGES))
    test(key, () => expect(parse(change)).toEqual({ ...parse({}), ...effect }));

  test("sample_size as [height, width]", () => {
    expect(parse({ sample_size: [24, 16] }).sample_size).toEqual({ height: 24, width: 16 });
  });

  test("act_fn: diffusers' names", () => {
    const names = ["silu", "swish", "relu", "gelu", "mish"];
    expect(names.map((act_fn) => parse({ act_fn }).act_fn)).toEqual(["silu", "silu", "relu", "gelu", "mish"]);
  });

  test("class_embed_type goes before num_class_embeds", () => {
    const { classes } = parse({ class_embed_type: "timestep", num_class_embeds: 7 });
    expect(classes).toEqual({ kind: "timestep" });
  });

  test("what save_pretrained adds is skipped", () => {
    const extra = { _class_name: "UNet2DModel", _diffusers_version: "0.42.1", _name_or_path: "somewhere" };
    expect(parse(extra)).toEqual(parse({}));
  });
});

const REFUSALS: Refusal[] = [
  ["_class_name", { _class_name: "UNet2DConditionModel" }, /"UNet2DConditionModel" is not supported/],
  ["time_embedding_type", { time_embedding_type: "fourier" }, /"fourier"/],
  ["resnet_time_scale_shift", { resnet_time_scale_shift: "spatial" }, /"spatial"/],
  ["resnet_time_scale_shift", { resnet_time_scale_shift: "ada_group" }, /"ada_group"/],
  ["class_embed_type", { class_embed_type: "projection" }, /"projection" is not supported/],
  ["act_fn", { act_fn: "tanh" }, /"tanh"/],
  ["downsample_type", { downsample_type: "fir" }, /"fir"/],
  ["upsample_type", { upsample_type: 1 }, /got 1/],
  ["sample_size", { sample_size: [8, 8, 8] }, /\[8,8,8\]/],
  ["sample_size", { sample_size: 0 }, /got 0/],
  ["in_channels", { in_channels: 0 }, /got 0/],
  ["out_channels", { out_channels: 1.5 }, /got 1\.5/],
  ["center_input_sample", { center_input_sample: 1 }, /true or false, got 1/],
  ["flip_sin_to_cos", { flip_sin_to_cos: "no" }, /got "no"/],
  ["add_attention", { add_attention: null }, /got null/],
  ["freq_shift", { freq_shift: -1 }, /got -1/],
  ["time_embedding_dim", { time_embedding_dim: 0 }, /got 0/],
  ["layers_per_block", { layers_per_block: [2, 2, 2, 2] }, /got \[2,2,2,2\]/],
  ["layers_per_block", { layers_per_block: 0 }, /got 0/],
  ["block_out_channels", { block_out_channels: [] }, /got \[\]/],
  ["block_out_channels", { block_out_channels: [32, "64"] }, /"64"/],
  ["mid_block_type", { mid_block_type: 3 }, /got 3/],
  ["mid_block_scale_factor", { mid_block_scale_factor: 0 }, /got 0/],
  ["downsample_padding", { downsample_padding: -1 }, /got -1/],
  ["attention_head_dim", { attention_head_dim: 0 }, /got 0/],
  ["attention_head_dim", { attention_head_dim: [8, 8, 8, 8] }, /got \[8,8,8,8\]/],
  ["norm_num_groups", { norm_num_groups: null }, /got null/],
  ["norm_eps", { norm_eps: 0 }, /got 0/],
  ["attn_norm_num_groups", { attn_norm_num_groups: 2.5 }, /got 2\.5/],
  ["num_class_embeds", { num_class_embeds: 0 }, /got 0/],
  ["num_train_timesteps", { num_train_timesteps: -1 }, /got -1/],
  ["down_block_types", { down_block_types: "DownBlock2D" }, /"DownBlock2D"/],
];
for (const name of [
  "CrossAttnDownBlock2D",
  "SimpleCrossAttnDownBlock2D",
  "SkipDownBlock2D",
  "AttnSkipDownBlock2D",
  "KDownBlock2D",
  "KCrossAttnDownBlock2D",
  "DownEncoderBlock2D",
  "AttnDownEncoderBlock2D",
  "DownBlock3D",
  "UpBlock2D",
]) {
  const blocks = (wrong: string) => ["DownBlock2D", wrong, "DownBlock2D", "DownBlock2D"];
  REFUSALS.push(["down_block_types", { down_block_types: blocks(name) }, new RegExp(`${name} is not supported`)]);
}
for (const name of ["CrossAttnUpBlock2D", "SkipUpBlock2D", "KUpBlock2D", "UpDecoderBlock2D", "DownBlock2D"]) {
  const blocks = ["UpBlock2D", "UpBlock2D", name, "UpBlock2D"];
  REFUSALS.push(["up_block_types", { up_block_types: blocks }, new RegExp(`${name} is not supported`)]);
}
testRefusals(parse, REFUSALS);

describe("refused, saying what disagrees:", () => {
  test("an unknown key, with its value", () => {
    const error = refusal({ cross_attention_dim: 768, dual_cross_attention: false });
    expect(error.message).toMatch(/^unet\/config\.json: cross_attention_dim, dual_cross_attention: unknown key/);
    expect(error.message).toContain("768");
  });

  test("lists of different lengths", () => {
    const blocks = ["DownBlock2D", "DownBlock2D"];
    const error = refusal({ block_out_channels: [32, 64, 64], down_block_types: blocks });
    expect(error.message).toContain("down_block_types: has 2 entries, block_out_channels 3");
    const up = refusal({ block_out_channels: [32, 64], down_block_types: blocks });
    expect(up.message).toContain("up_block_types: has 4 entries, block_out_channels 2");
  });

  test("groups that divide no block", () => {
    expect(refusal({ norm_num_groups: 33 }).message).toContain("norm_num_groups: 33 groups do not divide 224 channels");
    const error = refusal({ attn_norm_num_groups: 5 });
    expect(error.message).toContain("attn_norm_num_groups: 5 groups do not divide 896 channels");
  });

  test("heads wider than a block that attends", () => {
    const widths = { block_out_channels: [32, 64, 64, 64] };
    expect(refusal({ ...widths, attention_head_dim: 65 }).message).toMatch(/attention_head_dim: 65 .* block of 64/);
    expect(parse({ ...widths, attention_head_dim: 64 }).down[1]?.attention).toMatchObject({ head_dim: 64 });
  });

  test("learned time embeddings without their number", () => {
    expect(refusal({ time_embedding_type: "learned" }).message).toContain("num_train_timesteps: is required");
  });
});
