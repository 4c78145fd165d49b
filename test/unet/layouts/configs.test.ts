/** What the originals' configurations mean: the network's normal form, the schedule, and what is assumed or refused. */
import { describe, expect, test } from "vitest";
import { configuredTensors } from "../../../src/pipeline/madeUp.ts";
import { layouts } from "../../../src/unet/layouts/detect.ts";
import type { Layout, Parsed } from "../../../src/unet/layouts/types.ts";
import { readOrigin } from "../../support/origins.ts";

type Json = Record<string, unknown>;
const layout = (id: Layout["id"]) => layouts.find((each) => each.id === id) as Layout;
const parse = (id: Layout["id"], json: Json) => layout(id).parse(json, "config.json", "plain") as Parsed;

/** A configuration with one value replaced; the path's last key, undefined takes it away. */
function changed(config: Json, path: string, value: unknown): Json {
  const [key, ...rest] = path.split(".") as [string, ...string[]];
  return { ...config, [key]: rest.length > 0 ? changed(config[key] as Json, rest.join("."), value) : value };
}

/** latent-diffusion's yaml around a network of 64 x 64 latents. */
const latent = (params: Json, cond_stage_config: unknown = "__is_unconditional__"): Json => ({
  model: {
    base_learning_rate: 2e-6,
    target: "ldm.models.diffusion.ddpm.LatentDiffusion",
    params: {
      ...{ linear_start: 0.0015, linear_end: 0.0195, num_timesteps_cond: 1, log_every_t: 200, timesteps: 1000 },
      ...{ first_stage_key: "image", cond_stage_key: "class_label", image_size: 64, channels: 3, concat_mode: false },
      ...{ cond_stage_trainable: false, monitor: "val/loss_simple_ema", first_stage_config: {}, cond_stage_config },
      unet_config: { target: "ldm.modules.diffusionmodules.openaimodel.UNetModel", params },
    },
  },
  data: {},
  lightning: {},
});
const ddpm = (image_size: number, ch_mult: number[]): Json => ({
  data: { dataset: "CIFAR10", image_size, channels: 3, logit_transform: false, random_flip: true, rescaled: true },
  model: {
    ...{ type: "simple", in_channels: 3, out_ch: 3, ch: 128, ch_mult, num_res_blocks: 2, attn_resolutions: [16] },
    ...{ dropout: 0.1, var_type: "fixedlarge", ema_rate: 0.9999, ema: true, resamp_with_conv: true },
  },
  diffusion: { beta_schedule: "linear", beta_start: 0.0001, beta_end: 0.02, num_diffusion_timesteps: 1000 },
});
const adm256 = {
  ...{ attention_resolutions: "32,16,8", class_cond: false, diffusion_steps: 1000, image_size: 256, learn_sigma: true },
  ...{ noise_schedule: "linear", num_channels: 256, num_head_channels: 64, num_res_blocks: 2, resblock_updown: true },
  ...{ use_fp16: true, use_scale_shift_norm: true },
};
const transformer = { use_spatial_transformer: true, transformer_depth: 1 };

test.each<[string, Layout["id"], Json, number]>([
  ["DDPM CIFAR-10", "ermongroup", ddpm(32, [1, 2, 2, 2]), 35_746_307],
  ["DDPM CelebA-HQ 256", "ermongroup", ddpm(256, [1, 1, 2, 2, 4, 4]), 113_673_219],
  ["ADM 256, unconditional", "openai", adm256, 552_814_086],
  [
    "latent-diffusion celeba256",
    "ldm",
    latent({
      ...{ image_size: 64, in_channels: 3, out_channels: 3, model_channels: 224, attention_resolutions: [8, 4, 2] },
      ...{ num_res_blocks: 2, channel_mult: [1, 2, 3, 4], num_head_channels: 32 },
    }),
    274_056_163,
  ],
  [
    "latent-diffusion cin256-v2",
    "ldm",
    latent({
      ...{ image_size: 64, in_channels: 3, out_channels: 3, model_channels: 192, attention_resolutions: [8, 4, 2] },
      ...{ num_res_blocks: 2, channel_mult: [1, 2, 3, 5], num_heads: 1, ...transformer, context_dim: 512 },
    }),
    400_920_579,
  ],
  [
    "Stable Diffusion 1.5",
    "ldm",
    latent(
      {
        ...{ image_size: 32, in_channels: 4, out_channels: 4, model_channels: 320, attention_resolutions: [4, 2, 1] },
        ...{ num_res_blocks: 2, channel_mult: [1, 2, 4, 4], num_heads: 8, ...transformer, context_dim: 768 },
        ...{ use_checkpoint: true, legacy: false },
      },
      { target: "ldm.modules.encoders.modules.FrozenCLIPEmbedder" },
    ),
    859_520_964,
  ],
])("%s has its published number of parameters", async (_, id, json, parameters) => {
  expect(layout(id).configures(json)).toBe(true);
  const tensors = await configuredTensors(json, "config.json");
  expect(tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)).toBe(parameters);
});

describe("OpenAI's flags", () => {
  const flags = readOrigin("guided-adm-neworder").config;

  test("the published 512 model has a first level of half the width", () => {
    const { spec } = parse("openai", {
      ...changed(flags, "channel_mult", ""),
      ...{ image_size: 512, num_channels: 256, num_res_blocks: 2, num_head_channels: 64 },
      ...{ attention_resolutions: "32, 16, 8" },
    });
    expect(spec.down.map(({ channels }) => channels)).toEqual([128, 256, 256, 512, 512, 1024, 1024]);
    expect(spec.down.map(({ attention }) => attention?.kind === "self" && attention.head_dim)).toEqual([
      false,
      false,
      false,
      false,
      64,
      64,
      64,
    ]);
    expect(spec.up.map(({ attention }) => attention !== null)).toEqual([true, true, true, false, false, false, false]);
    expect(spec).toMatchObject({ channels: 128, time: { inputs: 256, dim: 1024 }, scale_shift: true });
    expect(spec.down.map(({ resample }) => resample)).toEqual([...Array(6).fill("resnet"), "none"]);
    expect(spec.up.map(({ resnets }) => resnets)).toEqual(Array(7).fill(3));
  });

  test("heads on the way up can differ", () => {
    const { spec } = parse("openai", { ...flags, num_heads_upsample: 4 });
    expect(spec.down[1]?.attention).toMatchObject({ head_dim: 16 });
    expect(spec.mid?.attention).toMatchObject({ head_dim: 16 });
    expect(spec.up[0]?.attention).toMatchObject({ head_dim: 8 });
  });

  test("what the tensors cannot show is told when it is assumed", () => {
    const { num_heads, use_new_attention_order, rescale_timesteps, ...rest } = flags;
    const { warnings } = parse("openai", { ...rest, diffusion_steps: 4000 });
    expect(warnings).toEqual([
      expect.stringContaining("num_heads is not given"),
      expect.stringContaining("use_new_attention_order is not given"),
      expect.stringContaining("rescale_timesteps is not given: guided-diffusion's default false is assumed"),
    ]);
    expect(parse("openai", { ...rest, num_head_channels: 16, use_new_attention_order: true }).warnings).toEqual([]);
  });

  test("improved-diffusion, told by its flags, rescales timesteps by default and has one order of q, k and v", () => {
    const { rescale_timesteps, ...improved } = readOrigin("improved-cosine").config;
    const { scheduler, warnings, reading } = parse("openai", improved);
    expect(scheduler).toMatchObject({ rescale_timesteps: true, num_train_timesteps: 4000 });
    expect(warnings).toEqual([expect.stringContaining("improved-diffusion's default true")]);
    expect(reading).toBe("legacy");
  });

  test("the diffusion's flags become a scheduler", () => {
    expect(parse("openai", flags).scheduler).toEqual({
      num_train_timesteps: 1000,
      beta_schedule: "openai_linear",
      prediction_type: "epsilon",
      variance_type: "learned_range",
      rescale_timesteps: false,
      clip_sample: true,
    });
    const other = { ...flags, learn_sigma: false, predict_xstart: true, noise_schedule: "cosine" };
    expect(parse("openai", other)).toMatchObject({
      spec: { out_channels: 3 },
      scheduler: { beta_schedule: "squaredcos_cap_v2", prediction_type: "sample", variance_type: "fixed_large" },
    });
    expect(parse("openai", { ...other, sigma_small: true }).scheduler).toMatchObject({ variance_type: "fixed_small" });
  });

  test.each<[Json, RegExp]>([
    [{ image_size: 48, channel_mult: "" }, /channel_mult: is needed: there is no usual one for images of 48 pixels/],
    [{ num_heads: 3 }, /num_heads: 3 heads do not divide a block of 32 channels/],
    [{ num_head_channels: 24 }, /num_head_channels: 24 channels per head do not divide a block of 32 channels/],
    [{ num_channels: 48 }, /the norms' 32 groups do not divide 48 channels/],
    [{ channel_mult: "1,two" }, /channel_mult: expected numbers between commas, got "1,two"/],
    [{ small_size: 64, large_size: 256 }, /large_size: super-resolution models are not supported/],
    [{ use_attention_sinks: true }, /use_attention_sinks: unknown key/],
    [{ learn_sigma: "True" }, /learn_sigma: expected true or false, got "True"/],
  ])("%j is refused", (change, message) => {
    expect(() => parse("openai", { ...flags, ...change })).toThrow(message);
  });
});

describe("ermongroup's sections", () => {
  const { config } = readOrigin("ddim-ch32");

  test("the network of the DDPM authors", () => {
    const { spec, scheduler } = parse("ermongroup", config);
    expect(spec).toMatchObject({ norm_eps: 1e-6, downsample_padding: 0, scale_shift: false, channels: 32 });
    expect(spec.time).toMatchObject({ freq_shift: 1, flip_sin_to_cos: false, inputs: 32, dim: 128 });
    expect(spec.mid?.attention).toEqual({ kind: "self", head_dim: 64, norm_groups: 32 });
    expect(spec.down.map(({ attention }) => attention !== null)).toEqual([false, true, false]);
    expect(scheduler).toMatchObject({ beta_schedule: "linear", variance_type: "fixed_large", clip_sample: null });
  });

  test("resampling without weights, other variances and betas, sections of the scripts", () => {
    const other = {
      ...changed(changed(config, "model.resamp_with_conv", false), "model.var_type", "fixedsmall"),
      diffusion: { beta_schedule: "quad", beta_start: 0.001, beta_end: 0.01, num_diffusion_timesteps: 100 },
      optim: { lr: 1 },
    };
    const { spec, scheduler } = parse("ermongroup", other);
    expect(spec.down.map(({ resample }) => resample)).toEqual(["pool", "pool", "none"]);
    expect(scheduler).toMatchObject({ beta_schedule: "scaled_linear", num_train_timesteps: 100 });
    expect(scheduler).toMatchObject({ variance_type: "fixed_small", beta_start: 0.001, beta_end: 0.01 });
  });

  test("images outside -1..1 are warned of", () => {
    expect(parse("ermongroup", changed(config, "data.rescaled", false)).warnings).toHaveLength(1);
  });

  test.each<[string, unknown, RegExp]>([
    ["model.ch_mult", [1, 1.5], /config\.json: model: ch_mult: expected a list of whole numbers/],
    ["model.ch", 48, /norms' 32 groups do not divide 48 channels/],
    ["model.conditional", true, /conditional: unknown key/],
    ["diffusion", undefined, /diffusion: is missing/],
    ["diffusion.beta_schedule", "cosine", /beta_schedule: expected one of linear, quad/],
  ])("%s %j is refused", (path, value, message) => {
    expect(() => parse("ermongroup", changed(config, path, value))).toThrow(message);
  });
});

describe("latent-diffusion's yaml", () => {
  const { config } = readOrigin("ldm-cin256");
  const network = "model.params.unet_config.params";

  test("class-conditional: a transformer per attending resnet, and a table of classes", () => {
    const { spec, classEmbedder, scheduler } = parse("ldm", config);
    expect(spec.down.map(({ attention }) => attention)).toEqual([
      null,
      { kind: "transformer", heads: 1, head_dim: 32, depths: [1], linear_projection: false, only_cross: false },
    ]);
    expect(spec.up[0]?.attention).toMatchObject({ depths: [1, 1] });
    expect(spec).toMatchObject({ context_dim: 48, sample_size: { height: 16, width: 16 }, norm_eps: 1e-5 });
    expect(classEmbedder).toEqual({
      tensor: "cond_stage_model.embedding.weight",
      count: 1001,
      width: 48,
      nullClass: 1000,
    });
    expect(scheduler).toMatchObject({ beta_schedule: "scaled_linear", beta_start: 0.0015, clip_sample: false });
    expect(scheduler).toMatchObject({ set_alpha_to_one: false, steps_offset: 1, prediction_type: "epsilon" });
  });

  test("Stable Diffusion's: heads by channels, linear projections, v-prediction, a text encoder of the caller's", () => {
    const sd = { num_heads: -1, num_head_channels: 16, use_linear_in_transformer: true, transformer_depth: 2 };
    let json = changed(config, network, { ...networkOf(config), ...sd, legacy: false, use_checkpoint: true });
    json = changed(json, "model.params.parameterization", "v");
    json = changed(json, "model.params.cond_stage_config", {
      target: "ldm.modules.encoders.modules.FrozenCLIPEmbedder",
    });
    const { spec, classEmbedder, scheduler } = parse("ldm", json);
    expect(spec.mid?.attention).toMatchObject({ heads: 2, head_dim: 16, depths: [2], linear_projection: true });
    expect(classEmbedder).toBeNull();
    expect(scheduler).toMatchObject({ prediction_type: "v_prediction" });
  });

  test.each<[string, unknown, RegExp]>([
    ["model.params.cond_stage_config.params.embed_dim", 0, /embed_dim: expected a whole number from 1, got 0/],
    ["model.params.cond_stage_config.params.embed_dim", undefined, /embed_dim: is missing/],
    ["model.params.cond_stage_config.params.embed_dim", 32, /embed_dim: is 32, but the network's context_dim is 48/],
    [`${network}.context_dim`, undefined, /context_dim: is needed by use_spatial_transformer/],
    [`${network}.num_heads`, undefined, /num_heads: either num_heads or num_head_channels is needed/],
    [`${network}.dims`, 3, /dims: only 2 is supported/],
    [`${network}.n_embed`, 16, /n_embed: networks that predict codebook ids/],
    [`${network}.adm_in_channels`, 2048, /unet_config\.params: adm_in_channels: unknown key/],
    ["model.params.beta_schedule", "quad", /model\.params: beta_schedule: expected one of linear, cosine/],
    ["model.params.linear_middle", 1, /linear_middle: unknown key/],
    ["model.params.unet_config", undefined, /model\.params\.unet_config: is missing/],
  ])("%s %j is refused", (path, value, message) => {
    expect(() => parse("ldm", changed(config, path, value))).toThrow(message);
  });
});

const networkOf = (config: Json) =>
  (config as { model: { params: { unet_config: { params: Json } } } }).model.params.unet_config.params;
