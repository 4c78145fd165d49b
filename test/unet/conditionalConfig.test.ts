/** config.json of a UNet2DConditionModel: every key of diffusers' class, its default, published networks, what is refused. */
import { describe, expect, test } from "vitest";
import { buildUNet } from "../../src/unet/build.ts";
import { parseConditionalConfig } from "../../src/unet/conditionalConfig.ts";
import { isConditional } from "../../src/unet/layouts/diffusers.ts";
import type { Level, Mid, SelfAttention, Transformer, UNetSpec } from "../../src/unet/spec.ts";
import { COMMON, FILE, testDefaults, testRefusals, timeOf } from "./configTests.ts";

const parse = (json: Record<string, unknown>): UNetSpec => parseConditionalConfig(json, FILE);

/** Every argument of diffusers' UNet2DConditionModel with its default (models/unets/unet_2d_condition.py, 0.42.1). */
const DEFAULTS = {
  sample_size: null,
  in_channels: 4,
  out_channels: 4,
  center_input_sample: false,
  flip_sin_to_cos: true,
  freq_shift: 0,
  down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
  mid_block_type: "UNetMidBlock2DCrossAttn",
  up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
  only_cross_attention: false,
  block_out_channels: [320, 640, 1280, 1280],
  layers_per_block: 2,
  downsample_padding: 1,
  mid_block_scale_factor: 1,
  dropout: 0,
  act_fn: "silu",
  norm_num_groups: 32,
  norm_eps: 1e-5,
  cross_attention_dim: 1280,
  transformer_layers_per_block: 1,
  reverse_transformer_layers_per_block: null,
  encoder_hid_dim: null,
  encoder_hid_dim_type: null,
  attention_head_dim: 8,
  num_attention_heads: null,
  dual_cross_attention: false,
  use_linear_projection: false,
  class_embed_type: null,
  addition_embed_type: null,
  addition_time_embed_dim: null,
  num_class_embeds: null,
  upcast_attention: false,
  resnet_time_scale_shift: "default",
  resnet_skip_time_act: false,
  resnet_out_scale_factor: 1,
  time_embedding_type: "positional",
  time_embedding_dim: null,
  time_embedding_act_fn: null,
  timestep_post_act: null,
  time_cond_proj_dim: null,
  conv_in_kernel: 3,
  conv_out_kernel: 3,
  projection_class_embeddings_input_dim: null,
  attention_type: "default",
  class_embeddings_concat: false,
  mid_block_only_cross_attention: null,
  cross_attention_norm: null,
  addition_embed_type_num_heads: 64,
};

const transformer = (heads: number, head_dim: number, ...depths: number[]): Transformer => ({
  kind: "transformer",
  heads,
  head_dim,
  depths,
  linear_projection: false,
  only_cross: false,
});
const level = (channels: number, resnets: number, attention: Level["attention"], last = false): Level => ({
  channels,
  resnets,
  attention,
  resample: last ? "none" : "conv",
});

const TIME = timeOf(320);
const DOWN = [
  level(320, 2, transformer(8, 40, 1, 1)),
  level(640, 2, transformer(8, 80, 1, 1)),
  level(1280, 2, transformer(8, 160, 1, 1)),
  level(1280, 2, null, true),
];
const UP = [
  level(1280, 3, null),
  level(1280, 3, transformer(8, 160, 1, 1, 1)),
  level(640, 3, transformer(8, 80, 1, 1, 1)),
  level(320, 3, transformer(8, 40, 1, 1, 1), true),
];
const MID: Mid = { resnets: 2, attention: transformer(8, 160, 1), scale_factor: 1 };

/** The levels, with every transformer changed; `entry` is its level going down. */
function levels(change: (t: Transformer, entry: number, down: boolean) => Partial<Transformer>): Partial<UNetSpec> {
  const changed = (own: Level, entry: number, down: boolean): Level => {
    const t = own.attention;
    return t?.kind === "transformer" ? { ...own, attention: { ...t, ...change(t, entry, down) } } : own;
  };
  const mid = MID.attention as Transformer;
  return {
    down: DOWN.map((own, i) => changed(own, i, true)),
    up: UP.map((own, i) => changed(own, 3 - i, false)),
    mid: { ...MID, attention: { ...mid, ...change(mid, 3, true) } },
  };
}

testDefaults(parse, DEFAULTS, {
  ...COMMON,
  in_channels: 4,
  out_channels: 4,
  time: TIME,
  channels: 320,
  down: DOWN,
  mid: MID,
  up: UP,
  odd_sizes: true,
  context_dim: 1280,
});

const RESNET = "ResnetDownsampleBlock2D";
const self = (head_dim: number): SelfAttention => ({ kind: "self", head_dim, norm_groups: 32 });
const projected = { projection_class_embeddings_input_dim: 2816 };
const heads = (...counts: number[]) =>
  levels((t, i) => ({ heads: counts[i]!, head_dim: (t.heads * t.head_dim) / counts[i]! }));

/** For each key other values, with what they need beside them, and what changes then. */
const CHANGES: [key: keyof typeof DEFAULTS, change: Record<string, unknown>, effect: Partial<UNetSpec>][] = [
  ["sample_size", { sample_size: [24, 16] }, { sample_size: { height: 24, width: 16 } }],
  ["in_channels", { in_channels: 9 }, { in_channels: 9 }],
  ["out_channels", { out_channels: 8 }, { out_channels: 8 }],
  ["center_input_sample", { center_input_sample: true }, { center_input_sample: true }],
  ["flip_sin_to_cos", { flip_sin_to_cos: false }, { time: { ...TIME, flip_sin_to_cos: false } }],
  ["freq_shift", { freq_shift: 1 }, { time: { ...TIME, freq_shift: 1 } }],
  [
    "down_block_types",
    { down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "AttnDownBlock2D", "UNetResDownBlock2D"] },
    { down: [level(320, 2, null), DOWN[1]!, level(1280, 2, self(8)), DOWN[3]!] },
  ],
  // What resamples by a resnet, or attends without a context going up, cannot take odd sizes.
  [
    "up_block_types",
    { up_block_types: ["ResnetUpsampleBlock2D", "AttnUpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"] },
    {
      up: [{ ...UP[0]!, resample: "resnet" }, level(1280, 3, self(8)), level(640, 3, null), UP[3]!],
      odd_sizes: false,
    },
  ],
  ["mid_block_type", { mid_block_type: null }, { mid: null }],
  ["mid_block_type", { mid_block_type: "UNetMidBlock2D" }, { mid: { ...MID, resnets: 1, attention: null } }],
  ["only_cross_attention", { only_cross_attention: true }, { ...levels(() => ({ only_cross: true })), mid: MID }],
  [
    "only_cross_attention",
    { only_cross_attention: [true, false, false, false] },
    { ...levels((_, i) => ({ only_cross: i === 0 })), mid: MID },
  ],
  [
    "block_out_channels",
    { block_out_channels: [32, 64, 128, 128] },
    {
      ...levels((t) => ({ head_dim: t.head_dim / 10 })),
      down: [],
      up: [],
      channels: 32,
      time: { ...TIME, inputs: 32, dim: 128 },
    },
  ],
  [
    "layers_per_block",
    { layers_per_block: [1, 2, 2, 3] },
    {
      down: [level(320, 1, transformer(8, 40, 1)), ...DOWN.slice(1, 3), level(1280, 3, null, true)],
      up: [level(1280, 4, null), ...UP.slice(1, 3), level(320, 2, transformer(8, 40, 1, 1), true)],
    },
  ],
  ["downsample_padding", { downsample_padding: 0 }, { downsample_padding: 0, odd_sizes: false }],
  ["mid_block_scale_factor", { mid_block_scale_factor: 2 }, { mid: { ...MID, scale_factor: 2 } }],
  ["dropout", { dropout: 0.1 }, {}],
  ["act_fn", { act_fn: "gelu" }, { act_fn: "gelu", out_act: "gelu", time: { ...TIME, act: "gelu" } }],
  ["norm_num_groups", { norm_num_groups: 16 }, { norm_num_groups: 16 }],
  ["norm_eps", { norm_eps: 1e-6 }, { norm_eps: 1e-6 }],
  ["cross_attention_dim", { cross_attention_dim: 768 }, { context_dim: 768 }],
  // The last level has no transformer, but the middle takes its entry.
  ["cross_attention_dim", { cross_attention_dim: [768, 768, 768, 768] }, { context_dim: 768 }],
  [
    "transformer_layers_per_block",
    { transformer_layers_per_block: [1, 2, 10, 3] },
    levels((t, i) => ({ depths: t.depths.map(() => [1, 2, 10, 3][i]!) })),
  ],
  // The middle takes the last entry, the way up begins with it.
  [
    "transformer_layers_per_block",
    { transformer_layers_per_block: [0, 2, 3, 4, 5, 6] },
    {
      down: [
        level(320, 2, transformer(8, 40, 0, 0)),
        level(640, 2, transformer(8, 80, 2, 2)),
        level(1280, 2, transformer(8, 160, 3, 3)),
        DOWN[3]!,
      ],
      mid: { ...MID, attention: transformer(8, 160, 6) },
      up: [
        UP[0]!,
        level(1280, 3, transformer(8, 160, 5, 5, 5)),
        level(640, 3, transformer(8, 80, 4, 4, 4)),
        level(320, 3, transformer(8, 40, 3, 3, 3), true),
      ],
    },
  ],
  [
    "reverse_transformer_layers_per_block",
    {
      transformer_layers_per_block: [[1, 2], 3, [4, 5], [6, 7]],
      reverse_transformer_layers_per_block: [9, [8, 7, 6], 2, [1, 2, 3]],
    },
    {
      down: [
        level(320, 2, transformer(8, 40, 1, 2)),
        level(640, 2, transformer(8, 80, 3, 3)),
        level(1280, 2, transformer(8, 160, 4, 5)),
        DOWN[3]!,
      ],
      mid: { ...MID, attention: transformer(8, 160, 6) },
      up: [
        UP[0]!,
        level(1280, 3, transformer(8, 160, 8, 7, 6)),
        level(640, 3, transformer(8, 80, 2, 2, 2)),
        level(320, 3, transformer(8, 40, 1, 2, 3), true),
      ],
    },
  ],
  ["encoder_hid_dim", {}, {}],
  ["encoder_hid_dim_type", {}, {}],
  // Number of heads, whatever the key is called.
  ["attention_head_dim", { attention_head_dim: 10 }, heads(10, 10, 10, 10)],
  ["attention_head_dim", { attention_head_dim: [5, 10, 20, 20] }, heads(5, 10, 20, 20)],
  ["num_attention_heads", {}, {}],
  ["dual_cross_attention", {}, {}],
  ["use_linear_projection", { use_linear_projection: true }, levels(() => ({ linear_projection: true }))],
  [
    "class_embed_type",
    { class_embed_type: "timestep", num_class_embeds: 7 },
    { classes: { kind: "timestep", concat: false } },
  ],
  ["class_embed_type", { class_embed_type: "identity" }, { classes: { kind: "identity", concat: false } }],
  [
    "class_embed_type",
    { class_embed_type: "projection", ...projected },
    { classes: { kind: "projection", width: 2816, concat: false } },
  ],
  [
    "projection_class_embeddings_input_dim",
    { class_embed_type: "simple_projection", ...projected },
    { classes: { kind: "simple_projection", width: 2816, concat: false } },
  ],
  ["projection_class_embeddings_input_dim", projected, {}],
  [
    "addition_embed_type",
    { addition_embed_type: "text_time", addition_time_embed_dim: 256, ...projected },
    { added: { kind: "text_time", width: 2816, time_dim: 256 } },
  ],
  ["addition_time_embed_dim", { addition_time_embed_dim: 256 }, {}],
  ["num_class_embeds", { num_class_embeds: 7 }, { classes: { kind: "embedding", count: 7, concat: false } }],
  [
    "class_embeddings_concat",
    { class_embeddings_concat: true, num_class_embeds: 7 },
    { classes: { kind: "embedding", count: 7, concat: true } },
  ],
  // All arithmetic is in float32 as it is.
  ["upcast_attention", { upcast_attention: true }, {}],
  ["resnet_time_scale_shift", { resnet_time_scale_shift: "scale_shift" }, { scale_shift: true }],
  // Only blocks that resample by resnets read these, the last one too.
  ["resnet_skip_time_act", { resnet_skip_time_act: true }, {}],
  ["resnet_out_scale_factor", { resnet_out_scale_factor: 2 }, {}],
  [
    "resnet_skip_time_act",
    { resnet_skip_time_act: true, down_block_types: [...DEFAULTS.down_block_types.slice(0, 3), RESNET] },
    { down: [...DOWN.slice(0, 3), { ...level(1280, 2, null, true), skip_time_act: true }], odd_sizes: false },
  ],
  [
    "resnet_out_scale_factor",
    { resnet_out_scale_factor: 2, down_block_types: [...DEFAULTS.down_block_types.slice(0, 3), RESNET] },
    { down: [...DOWN.slice(0, 3), { ...level(1280, 2, null, true), scale_factor: 2 }], odd_sizes: false },
  ],
  ["time_embedding_type", {}, {}],
  ["time_embedding_dim", { time_embedding_dim: 512 }, { time: { ...TIME, dim: 512 } }],
  ["time_embedding_act_fn", { time_embedding_act_fn: "swish" }, { time: { ...TIME, sum_act: "silu" } }],
  ["timestep_post_act", { timestep_post_act: "mish" }, { time: { ...TIME, post_act: "mish" } }],
  ["time_cond_proj_dim", { time_cond_proj_dim: 256 }, { time: { ...TIME, cond: 256 } }],
  ["conv_in_kernel", { conv_in_kernel: 5 }, { conv_in_kernel: 5 }],
  ["conv_out_kernel", { conv_out_kernel: 1 }, { conv_out_kernel: 1 }],
  ["attention_type", {}, {}],
  ["mid_block_only_cross_attention", { mid_block_only_cross_attention: true }, {}],
  ["cross_attention_norm", { cross_attention_norm: "layer_norm" }, {}],
  ["addition_embed_type_num_heads", { addition_embed_type_num_heads: 1 }, {}],
];

describe("each key", () => {
  test("is tried", () => {
    expect(new Set(CHANGES.map(([key]) => key))).toEqual(new Set(Object.keys(DEFAULTS)));
  });

  for (const [key, change, effect] of CHANGES)
    test(`${key} ${JSON.stringify(change)}`, () => {
      const { down, up, ...rest } = { ...parse({}), ...effect };
      const { down: ownDown, up: ownUp, ...own } = parse(change);
      expect(own).toEqual(rest);
      if (key === "block_out_channels") expect(ownDown.map((l) => l.channels)).toEqual([32, 64, 128, 128]);
      else expect([ownDown, ownUp]).toEqual([down, up]);
    });

  test("heads that do not divide the channels leave some out", () => {
    const { down } = parse({ attention_head_dim: 3 });
    expect(down[0]?.attention).toMatchObject({ heads: 3, head_dim: 106 });
  });

  test("attention_head_dim of plain attention: channels, and going up not in reverse", () => {
    const plain = {
      down_block_types: Array(4).fill("AttnDownBlock2D"),
      up_block_types: Array(4).fill("AttnUpBlock2D"),
    };
    const { down, up, context_dim } = parse({ ...plain, attention_head_dim: [4, 8, 16, null], mid_block_type: null });
    const widths = (path: readonly Level[]) => path.map(({ attention }) => attention?.head_dim);
    expect({ down: widths(down), up: widths(up) }).toEqual({ down: [4, 8, 16, 1280], up: [4, 8, 16, 320] });
    expect(context_dim).toBeNull();
  });
});

test("networks are told apart by their class's name, else by their keys", () => {
  expect(isConditional({ _class_name: "UNet2DConditionModel" })).toBe(true);
  expect(isConditional({ _class_name: "UNet2DModel", cross_attention_dim: 768 })).toBe(false);
  expect(isConditional({ cross_attention_dim: 768 })).toBe(true);
  expect(isConditional({ up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D"] })).toBe(true);
  expect(isConditional({ down_block_types: ["AttnDownBlock2D"] })).toBe(false);
});

describe("parameters of published networks", () => {
  const xl = {
    block_out_channels: [320, 640, 1280],
    down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    attention_head_dim: [5, 10, 20],
    transformer_layers_per_block: [1, 2, 10],
    cross_attention_dim: 2048,
    use_linear_projection: true,
    addition_embed_type: "text_time",
    addition_time_embed_dim: 256,
    ...projected,
  };
  const cin = {
    in_channels: 3,
    out_channels: 3,
    block_out_channels: [192, 384, 576, 960],
    down_block_types: ["DownBlock2D", ...Array(3).fill("CrossAttnDownBlock2D")],
    up_block_types: [...Array(3).fill("CrossAttnUpBlock2D"), "UpBlock2D"],
    attention_head_dim: 1,
    cross_attention_dim: 512,
  };
  test.each([
    ["Stable Diffusion 1.5", { cross_attention_dim: 768 }, 859_520_964],
    [
      "Stable Diffusion 2.1",
      { cross_attention_dim: 1024, attention_head_dim: [5, 10, 20, 20], use_linear_projection: true },
      865_910_724,
    ],
    ["Stable Diffusion XL", xl, 2_567_463_684],
    ["cin256-v2", cin, 400_920_579],
  ])("%s", (_, config, count) => {
    const size = { height: 64, width: 64 };
    const { params } = buildUNet(parse(config), { size, dtype: "f32", storage: "buffer", timesteps: "step" });
    expect(params.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)).toBe(count);
  });
});

const blocks = (name: string) => ["DownBlock2D", name, "DownBlock2D", "DownBlock2D"];
testRefusals(parse, [
  ["num_attention_heads", { num_attention_heads: 8 }, /8 is not supported/],
  ["dual_cross_attention", { dual_cross_attention: true }, /true is not supported/],
  ["attention_type", { attention_type: "gated" }, /"gated"/],
  ["encoder_hid_dim", { encoder_hid_dim: 4096 }, /4096/],
  ["encoder_hid_dim_type", { encoder_hid_dim_type: "text_proj" }, /"text_proj"/],
  ["time_cond_proj_dim", { time_cond_proj_dim: 0 }, /got 0/],
  ["time_embedding_type", { time_embedding_type: "fourier" }, /"fourier"/],
  ["time_embedding_act_fn", { time_embedding_act_fn: "tanh" }, /"tanh"/],
  ["addition_embed_type", { addition_embed_type: "image_hint" }, /"image_hint"/],
  ["addition_time_embed_dim", { addition_embed_type: "text_time", ...projected }, /is required/],
  ["projection_class_embeddings_input_dim", { class_embed_type: "projection" }, /is required/],
  ["class_embed_type", { class_embed_type: "other" }, /"other"/],
  ["mid_block_type", { mid_block_type: "UNetMidBlock2DSimpleCrossAttn" }, /SimpleCrossAttn/],
  ["norm_num_groups", { norm_num_groups: null }, /got null/],
  ["norm_num_groups", { norm_num_groups: 33 }, /33 groups do not divide 320/],
  ["conv_in_kernel", { conv_in_kernel: 4 }, /4 is not supported/],
  ["attention_head_dim", { attention_head_dim: [8, 8] }, /has 2 entries, block_out_channels 4/],
  ["attention_head_dim", { attention_head_dim: null }, /null is not supported/],
  ["attention_head_dim", { attention_head_dim: 321 }, /321 heads do not fit a block of 320/],
  ["cross_attention_dim", { cross_attention_dim: [768, 1024, 768, 768] }, /768 and 1024/],
  ["cross_attention_dim", { cross_attention_dim: 0 }, /0 is not supported/],
  ["only_cross_attention", { only_cross_attention: "yes" }, /"yes"/],
  ["transformer_layers_per_block", { transformer_layers_per_block: [1, 2] }, /has 2 entries/],
  [
    "transformer_layers_per_block",
    { transformer_layers_per_block: [[1], 1, 1, 1], reverse_transformer_layers_per_block: [1, 1, 1, 1] },
    /has 1 entries for a level of 2 resnets/,
  ],
  [
    "reverse_transformer_layers_per_block",
    { transformer_layers_per_block: [[1, 2], 1, 1, 1] },
    /is required where transformer_layers_per_block holds lists/,
  ],
  ["resnet_skip_time_act", { resnet_skip_time_act: 1 }, /got 1/],
  ["resnet_out_scale_factor", { resnet_out_scale_factor: 0 }, /got 0/],
  ["transformer_layers_per_block", { transformer_layers_per_block: [1, -1, 1, 1] }, /-1 is not supported/],
  ["transformer_layers_per_block", { transformer_layers_per_block: [1, 1, 1, 1, 1.5] }, /1\.5 is not supported/],
  ["down_block_types", { down_block_types: blocks("SimpleCrossAttnDownBlock2D") }, /SimpleCrossAttn/],
  ["down_block_types", { down_block_types: blocks("KCrossAttnDownBlock2D") }, /KCrossAttn/],
  ["up_block_types", { up_block_types: ["UpBlock2D"] }, /has 1 entries, block_out_channels 4/],
  ["attn_norm_num_groups", { attn_norm_num_groups: 32 }, /unknown key, here 32/],
]);
