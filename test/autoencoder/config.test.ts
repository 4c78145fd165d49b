/** Configurations of autoencoders, diffusers' and latent-diffusion's: what they come to, and what is refused. */
import { describe, expect, test } from "vitest";
import { parseAutoencoderConfig } from "../../src/autoencoder/config.ts";
import { parseLdmAutoencoder } from "../../src/autoencoder/ldmConfig.ts";
import { type AutoencoderSpec, latentScale } from "../../src/autoencoder/spec.ts";
import { ConfigError } from "../../src/runtime/errors.ts";

type Json = Record<string, unknown>;

function refusal(parse: () => unknown): string {
  try {
    parse();
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  throw new Error("was accepted");
}

const levels = (list: AutoencoderSpec["down"]) =>
  list.map((l) => `${l.channels}×${l.resnets}${l.attention ? "A" : ""}${l.resample ? "R" : ""}`).join(" ");

describe("diffusers", () => {
  const parse = (json: Json) => parseAutoencoderConfig(json, "vae/config.json");
  const kl = { _class_name: "AutoencoderKL" };
  const vq = { _class_name: "VQModel" };

  test("AutoencoderKL's defaults", () => {
    expect(parse({ ...kl, norm_num_groups: 32 })).toEqual({
      kind: "kl",
      sample_size: null,
      in_channels: 3,
      out_channels: 3,
      latent_channels: 4,
      z_channels: 4,
      channels: 64,
      norm_num_groups: 32,
      act_fn: "silu",
      down: [{ channels: 64, resnets: 1, attention: false, resample: false }],
      up: [{ channels: 64, resnets: 2, attention: false, resample: false }],
      mid_block_add_attention: true,
      use_quant_conv: true,
      use_post_quant_conv: true,
      num_vq_embeddings: 0,
      scaling_factor: 0.18215,
      shift_factor: 0,
      latents_mean: null,
      latents_std: null,
    });
  });

  test("VQModel's own keys", () => {
    const spec = parse({ ...vq, vq_embed_dim: 5, num_vq_embeddings: 100, scaling_factor: 1 });
    expect(spec).toMatchObject({ kind: "vq", z_channels: 3, latent_channels: 5, num_vq_embeddings: 100 });
    expect(parse(vq)).toMatchObject({ latent_channels: 3, num_vq_embeddings: 256 });
  });

  test("levels in the order of execution, with attention where it is", () => {
    const spec = parse({
      ...kl,
      block_out_channels: [32, 64, 96],
      layers_per_block: 2,
      down_block_types: ["DownEncoderBlock2D", "AttnDownEncoderBlock2D", "DownEncoderBlock2D"],
      up_block_types: ["AttnUpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
      sample_size: [64, 96],
      shift_factor: 0.1159,
    });
    expect(levels(spec.down)).toBe("32×2R 64×2AR 96×2");
    expect(levels(spec.up)).toBe("96×3AR 64×3R 32×3");
    expect(latentScale(spec)).toBe(4);
    expect(spec).toMatchObject({ sample_size: { height: 64, width: 96 }, shift_factor: 0.1159 });
  });

  test.each<[Json, RegExp]>([
    [{ _class_name: "AutoencoderTiny" }, /_class_name: AutoencoderTiny is not supported: its network is another/],
    [{}, /_class_name: undefined is not supported; VQModel and AutoencoderKL are/],
    [{ ...kl, tiling: true }, /tiling: unknown key, here true/],
    [{ ...kl, num_vq_embeddings: 8 }, /num_vq_embeddings: unknown key/],
    [{ ...vq, latents_mean: [1] }, /latents_mean: unknown key/],
    [{ ...vq, lookup_from_codebook: true }, /lookup_from_codebook: only false/],
    [{ ...vq, norm_type: "spatial" }, /norm_type: only group/],
    [
      { ...kl, down_block_types: ["DownBlock2D"] },
      /down_block_types: DownBlock2D is not supported; supported are Down/,
    ],
    [{ ...kl, block_out_channels: [32, 32] }, /down_block_types: has 1 entries, block_out_channels 2/],
    [{ ...kl, norm_num_groups: 30 }, /norm_num_groups: 30 groups do not divide 64 channels/],
    [{ ...kl, latents_std: [1, 2] }, /latents_std: has 2 entries, latents 4 channels/],
    [{ ...kl, scaling_factor: 0 }, /scaling_factor: expected a number above 0, got 0/],
    [{ ...kl, shift_factor: "x" }, /shift_factor: expected a number, got "x"/],
    [{ ...kl, act_fn: "tanh" }, /act_fn: expected one of silu/],
  ])("%j is refused", (json, message) => {
    expect(refusal(() => parse(json))).toMatch(message);
  });
});

describe("latent-diffusion", () => {
  const ddconfig = {
    double_z: false,
    z_channels: 3,
    resolution: 256,
    in_channels: 3,
    out_ch: 3,
    ch: 128,
    ch_mult: [1, 2, 4],
    num_res_blocks: 2,
    attn_resolutions: [],
    dropout: 0,
  };
  const target = "ldm.models.autoencoder.VQModelInterface";
  const params = { embed_dim: 3, n_embed: 8192, ddconfig, lossconfig: { target: "torch.nn.Identity" } };
  /** Undefined takes a key away. */
  const alone = (own: Json, dd: Json = {}, name = target): Json =>
    JSON.parse(
      JSON.stringify({ model: { target: name, params: { ...params, ...own, ddconfig: { ...ddconfig, ...dd } } } }),
    );
  const parse = (json: Json) => parseLdmAutoencoder(json, "config.yaml");

  test("the first stage of cin256-v2", () => {
    const whole = { model: { params: { first_stage_config: alone({}).model, scale_factor: 0.5 } } };
    const spec = parse(whole);
    expect(levels(spec.down)).toBe("128×2R 256×2R 512×2");
    expect(levels(spec.up)).toBe("512×3R 256×3R 128×3");
    expect(spec).toMatchObject({ kind: "vq", num_vq_embeddings: 8192, channels: 128, latent_channels: 3 });
    expect(spec).toMatchObject({ scaling_factor: 0.5, norm_num_groups: 32, mid_block_add_attention: true });
    expect(parse(alone({}))).toEqual({ ...spec, scaling_factor: 1 });
  });

  test("attention by resolution, a first convolution narrower than the first level, embed_dim beside z_channels", () => {
    const dd = { double_z: true, ch: 32, ch_mult: [2, 1, 3], attn_resolutions: [128, 64], attn_type: "vanilla" };
    const spec = parse(alone({ embed_dim: 6, n_embed: undefined }, dd, "ldm.models.autoencoder.AutoencoderKL"));
    expect(levels(spec.down)).toBe("64×2R 32×2AR 96×2A");
    expect(levels(spec.up)).toBe("96×3AR 32×3AR 64×3");
    expect(spec).toMatchObject({ kind: "kl", channels: 32, latent_channels: 6, z_channels: 3, num_vq_embeddings: 0 });
  });

  test("attn_type none leaves out the middle's attention too", () => {
    const spec = parse(alone({}, { attn_type: "none", attn_resolutions: [64] }));
    expect(spec.mid_block_add_attention).toBe(false);
    expect(levels(spec.down)).toBe("128×2R 256×2R 512×2");
  });

  test.each<[Json, RegExp]>([
    [
      alone({}, {}, "taming.models.vqgan.GumbelVQ"),
      /model.target: taming.models.vqgan.GumbelVQ is not supported; Autoenc/,
    ],
    [alone({ remap: "used.npy" }), /model.params: remap: only null is supported/],
    [alone({ embed_dim: undefined }), /model.params: embed_dim: is missing/],
    [alone({ embed_dim: 0 }), /model.params: embed_dim: expected a whole number from 1, got 0/],
    [alone({ use_quantize: false }), /model.params: use_quantize: unknown key/],
    [alone({}, { double_z: true }), /ddconfig: double_z: must be false for VQModelInterface/],
    [alone({}, { resamp_with_conv: false }), /ddconfig: resamp_with_conv: only true is supported/],
    [alone({}, { tanh_out: true }), /ddconfig: tanh_out: only false is supported/],
    [alone({}, { attn_type: "linear" }), /ddconfig: attn_type: expected one of vanilla/],
    [alone({}, { ch: 40 }), /ddconfig: ch: 32 groups do not divide 40 channels/],
    [alone({}, { ch_mult: "1,2" }), /ddconfig: ch_mult: expected a list/],
    [alone({}, { fir: true }), /ddconfig: fir: unknown key, here true/],
    [{ model: { params: { first_stage_config: "vq" } } }, /first_stage_config: must hold keys and values/],
  ])("%# is refused", (json, message) => {
    expect(refusal(() => parse(json))).toMatch(message);
  });
});
