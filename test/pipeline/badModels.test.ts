/** Models that cannot be right: one sentence each, before anything is allocated. */
import { describe, expect, test } from "vitest";
import { ConfigError, FileError, ShapeError, WeightError } from "../../src/runtime/errors.ts";
import { testDevice } from "../support/gpu.ts";
import {
  goldenPath,
  load,
  readFolder,
  type SafetensorsHeader,
  sourceOf,
  splitSafetensors,
  WEIGHTS,
} from "../support/models.ts";
import { type ErrorClass, expectRefusal } from "../support/refusal.ts";
import { rawSafetensors } from "../weights/memory-source.ts";

describe("models that cannot be right:", () => {
  const folder = goldenPath("models/noattn");
  const sharded = goldenPath("models/ddpm_sharded");
  const weights = () => readFolder(folder)[WEIGHTS]!;
  const config = (change: object) =>
    JSON.stringify({ ...JSON.parse(new TextDecoder().decode(readFolder(folder)["unet/config.json"])), ...change });
  const damaged = (change: (header: SafetensorsHeader) => void) => {
    const { header, data } = splitSafetensors(weights());
    change(header);
    return sourceOf(folder, { [WEIGHTS]: rawSafetensors(header, data) });
  };

  const cases: [string, () => Parameters<typeof load>[0], ErrorClass, RegExp][] = [
    ["no weights", () => sourceOf(folder, { [WEIGHTS]: undefined }), FileError, /unet/],
    ["no config", () => sourceOf(folder, { "unet/config.json": undefined }), FileError, /config\.json/],
    ["half a config", () => sourceOf(folder, { "unet/config.json": "{" }), FileError, /config\.json/],
    ["half the weights", () => sourceOf(folder, { [WEIGHTS]: weights().slice(0, 80_000) }), FileError, /safetensors: /],
    ["half a header", () => sourceOf(folder, { [WEIGHTS]: weights().slice(0, 100) }), FileError, /safetensors: /],
    [
      "a missing shard",
      () => sourceOf(sharded, { "unet/diffusion_pytorch_model-00002-of-00003.safetensors": undefined }),
      FileError,
      /00002-of-00003\.safetensors: this shard is missing/,
    ],
    [
      "an unknown key",
      () => sourceOf(folder, { "unet/config.json": config({ cross_attention_dim: 768 }) }),
      ConfigError,
      /unet\/config\.json: cross_attention_dim: unknown key, here 768/,
    ],
    [
      "a network of another kind",
      () => sourceOf(folder, { "unet/config.json": config({ _class_name: "UNet3DConditionModel" }) }),
      ConfigError,
      /_class_name: "UNet3DConditionModel"/,
    ],
    [
      "a scheduler that is none",
      () => sourceOf(folder, { "scheduler/scheduler_config.json": JSON.stringify({ beta_schedule: "wavy" }) }),
      ConfigError,
      /scheduler_config\.json: beta_schedule: .*wavy/,
    ],
    [
      "a missing, a surplus and a mis-shaped tensor, all at once",
      () =>
        damaged((header) => {
          header["conv_middle.bias"] = header["conv_in.bias"]!;
          delete header["conv_in.bias"];
          header["conv_out.weight"]!.shape.reverse();
        }),
      WeightError,
      /missing conv_in\.bias; unexpected conv_middle\.bias; wrong shape conv_out\.weight \[3, 3, 8, 2\] \(expected \[2, 8, 3, 3\]\)/,
    ],
    [
      "a configuration of another size than its weights",
      () => sourceOf(folder, { "unet/config.json": config({ block_out_channels: [8, 24] }) }),
      WeightError,
      /down_blocks\.1\.resnets\.0\.conv1\.weight \[16, 8, 3, 3\] \(expected \[24, 8, 3, 3\]\).*, … and 48 more/,
    ],
    [
      "a downsampling whose output fits no skip connection",
      () => sourceOf(folder, { "unet/config.json": config({ downsample_padding: 2 }) }),
      ShapeError,
      /skip connection/,
    ],
    [
      "a null class that the network does not have",
      () => sourceOf(folder, { "model_index.json": JSON.stringify({ null_class: 3 }) }),
      ConfigError,
      /model_index\.json: null_class: .*3/,
    ],
  ];
  for (const [name, source, kind, says] of cases)
    test(name, async () => {
      const { counters } = await testDevice();
      const { created } = counters;
      await expectRefusal(load(source()), kind, says);
      expect(counters.created).toBe(created);
    });
});
