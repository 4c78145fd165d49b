/** Configurations of networks that nobody has: refused by their key before anything is put together. */
import { describe, expect, test } from "vitest";
import { parseAutoencoderConfig } from "../../src/autoencoder/config.ts";
import { parseLdmAutoencoder } from "../../src/autoencoder/ldmConfig.ts";
import { openAutoencoder, openModel } from "../../src/node/model.ts";
import { ConfigError } from "../../src/runtime/errors.ts";
import { parseSchedulerConfig } from "../../src/sampler/schedulerConfig.ts";
import { parseConditionalConfig } from "../../src/unet/conditionalConfig.ts";
import { parseUNet2DConfig } from "../../src/unet/config.ts";
import { layouts } from "../../src/unet/layouts/detect.ts";
import { goldenPath, readFolder, sourceOf } from "../support/models.ts";
import { readOrigin } from "../support/origins.ts";
import { expectRefusal } from "../support/refusal.ts";

type Json = Record<string, unknown>;

const jsonOf = (folder: string, path: string): Json =>
  JSON.parse(new TextDecoder().decode(readFolder(goldenPath(folder))[path]));
const many = (value: unknown) => Array.from({ length: 17 }, () => value);

/** A deep copy with a key changed, in a section by its path. */
function changed(json: Json, key: string, value: unknown, ...inside: string[]): Json {
  const copy = structuredClone(json);
  let place = copy;
  for (const name of inside) place = place[name] as Json;
  place[key] = value;
  return copy;
}

const layout = (id: string) => (json: Json) =>
  layouts.find((each) => each.id === id)?.parse(json, "config.json", "plain");
const NETWORK = ["model", "params", "unet_config", "params"];
const STAGE = ["model", "params", "first_stage_config", "params", "ddconfig"];
const noattn = jsonOf("models/noattn", "unet/config.json");
const sd1 = jsonOf("models/sd1", "unet/config.json");
const kl = jsonOf("autoencoders/kl", "vae/config.json");
const cin = jsonOf("autoencoders/ldm-cin256", "config.json");

describe("beyond the bounds", () => {
  const cases: [string, (json: Json) => unknown, Json, string, unknown, ...string[]][] = [
    ["scheduler", (json) => parseSchedulerConfig(json, "f"), {}, "num_train_timesteps", 100_001],
    ["scheduler", (json) => parseSchedulerConfig(json, "f"), {}, "trained_betas", Array(100_001).fill(0.1)],
    ["scheduler", (json) => parseSchedulerConfig(json, "f"), {}, "steps_offset", 100_001],
    ...(["in_channels", "out_channels", "layers_per_block", "num_class_embeds", "norm_num_groups"] as const).map(
      (key): (typeof cases)[number] => ["UNet2DModel", (json) => parseUNet2DConfig(json, "f"), noattn, key, 100_001],
    ),
    ["UNet2DModel", (json) => parseUNet2DConfig(json, "f"), noattn, "layers_per_block", 1001],
    ["UNet2DModel", (json) => parseUNet2DConfig(json, "f"), noattn, "block_out_channels", many(32)],
    ["UNet2DModel", (json) => parseUNet2DConfig(json, "f"), noattn, "block_out_channels", [100_032, 32]],
    ["UNet2DConditionModel", (json) => parseConditionalConfig(json, "f"), sd1, "layers_per_block", 1001],
    ["UNet2DConditionModel", (json) => parseConditionalConfig(json, "f"), sd1, "transformer_layers_per_block", 1001],
    ["UNet2DConditionModel", (json) => parseConditionalConfig(json, "f"), sd1, "cross_attention_dim", 1e9],
    ["UNet2DConditionModel", (json) => parseConditionalConfig(json, "f"), sd1, "block_out_channels", many(32)],
    ["AutoencoderKL", (json) => parseAutoencoderConfig(json, "f"), kl, "latent_channels", 1e6],
    ["AutoencoderKL", (json) => parseAutoencoderConfig(json, "f"), kl, "layers_per_block", 1001],
    ["AutoencoderKL", (json) => parseAutoencoderConfig(json, "f"), kl, "block_out_channels", many(32)],
    ["ldm's autoencoder", (json) => parseLdmAutoencoder(json, "f"), cin, "num_res_blocks", 1001, ...STAGE],
    ["ldm's autoencoder", (json) => parseLdmAutoencoder(json, "f"), cin, "ch_mult", [50_000, 1], ...STAGE],
    ["ermongroup", layout("ermongroup"), readOrigin("ddim-ch32").config, "ch_mult", many(1), "model"],
    ["ermongroup", layout("ermongroup"), readOrigin("ddim-ch32").config, "ch_mult", [1, 90_000], "model"],
    ["ermongroup", layout("ermongroup"), readOrigin("ddim-ch32").config, "num_res_blocks", 1001, "model"],
    ["openai", layout("openai"), readOrigin("improved-cosine").config, "num_res_blocks", 1001],
    ["openai", layout("openai"), readOrigin("improved-cosine").config, "channel_mult", many(1).join(",")],
    ["openai", layout("openai"), readOrigin("improved-cosine").config, "channel_mult", "1,1e7"],
    ["openai", layout("openai"), readOrigin("improved-cosine").config, "diffusion_steps", 100_001],
    ["ldm", layout("ldm"), readOrigin("ldm-uncond-ema").config, "timesteps", 100_001, "model", "params"],
    ["ldm", layout("ldm"), readOrigin("ldm-uncond-ema").config, "num_res_blocks", 1001, ...NETWORK],
    ["ldm", layout("ldm"), readOrigin("ldm-uncond-ema").config, "channel_mult", many(1), ...NETWORK],
  ];
  for (const [name, parse, json, key, value, ...inside] of cases)
    test(`${name}: ${key} ${JSON.stringify(value).slice(0, 20)}`, () => {
      let caught: unknown;
      try {
        parse(changed(json, key, value, ...inside));
      } catch (error) {
        caught = error;
      }
      expect(caught).toBeInstanceOf(ConfigError);
      expect((caught as ConfigError).key).toBe(key);
      expect((caught as ConfigError).message).toMatch(/limit of \d+$/);
    });

  test("a network whose blocks are too many in all, or whose size takes more than can be counted", async () => {
    const unet = (change: Json) =>
      openModel(
        sourceOf(goldenPath("models/noattn"), { "unet/config.json": JSON.stringify({ ...noattn, ...change }) }),
      );
    await expectRefusal(
      unet({ layers_per_block: 1000 }),
      ConfigError,
      /layers_per_block: \d+ blocks in all are beyond/,
    );
    await expectRefusal(unet({ sample_size: 1e9 }), ConfigError, /sample_size: .* take more than 2\^53 bytes/);
    await expectRefusal(unet({ sample_size: [1, 1e300] }), ConfigError, /sample_size: .* take more than 2\^53 bytes/);
    const stage = (change: Json) =>
      openAutoencoder(
        sourceOf(goldenPath("autoencoders/kl"), { "vae/config.json": JSON.stringify({ ...kl, ...change }) }),
      );
    await expectRefusal(stage({ layers_per_block: 1000 }), ConfigError, /layers_per_block: \d+ blocks in all/);
    await expectRefusal(stage({ sample_size: 1e9 }), ConfigError, /sample_size: .* take more than 2\^53 bytes/);
  });

  test("at the bounds nothing is refused", () => {
    expect(parseSchedulerConfig({ num_train_timesteps: 100_000 }, "f").num_train_timesteps).toBe(100_000);
    expect(parseUNet2DConfig({ ...noattn, layers_per_block: 1000, in_channels: 100_000 }, "f").in_channels).toBe(1e5);
  });
});
