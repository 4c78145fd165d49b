/** Configurations that can be run but deserve a word: every trap of them is told when a model is opened or a run resolved. */
import { describe, expect, test } from "vitest";
import { openModel } from "../../src/node/model.ts";
import { resolveRun } from "../../src/pipeline/run.ts";
import type { GenerateOptions } from "../../src/pipeline/types.ts";
import { latentModel } from "../support/latents.ts";

type Json = Record<string, unknown>;

/** Stable Diffusion's scheduler on a network of pixels or of latents; what is warned of. */
async function warnings(changes: Json, options: GenerateOptions = { steps: 20 }, latents = false) {
  const scheduler = {
    ...{ _class_name: "DDIMScheduler", num_train_timesteps: 1000, beta_schedule: "scaled_linear", clip_sample: false },
    ...{ beta_start: 0.00085, beta_end: 0.012, timestep_spacing: "trailing" },
    ...changes,
  };
  const source = latentModel("ddpm", "vq", { "scheduler/scheduler_config.json": JSON.stringify(scheduler) });
  const model = await openModel(source, { firstStage: latents });
  return resolveRun(model, { seed: 1, ...options }).warnings;
}

test("a configuration without traps says nothing", async () => {
  expect(await warnings({})).toEqual([]);
  expect(await warnings({}, { steps: 20 }, true)).toEqual([]);
});

describe("is warned of", () => {
  test.each<[string, Json, GenerateOptions, boolean, RegExp]>([
    ["bounds in latent space", { clip_sample: true }, {}, true, /latents have no bounds/],
    [
      "epsilon at zero terminal SNR",
      { rescale_betas_zero_snr: true },
      { start: 990 },
      false,
      /learned nothing at the noisiest/,
    ],
    [
      "an offset with more than half the timesteps",
      { timestep_spacing: "leading", steps_offset: 1 },
      { steps: 700 },
      false,
      /steps_offset 1 with more than 500 steps/,
    ],
    [
      "a start with too much noise left out",
      { timestep_spacing: "leading" },
      { steps: 4 },
      false,
      /starts at t = 750 of 999/,
    ],
    [
      "an old name that nobody reads",
      { timesteps: 1000 },
      {},
      false,
      /timesteps 1000 has no effect.*num_train_timesteps/,
    ],
    ["another sampler than is named", { _class_name: "PNDMScheduler" }, {}, false, /names PNDMScheduler/],
  ])("%s", async (_, changes, options, latents, message) => {
    const said = await warnings(changes, options, latents);
    expect(said.join("\n")).toMatch(message);
  });

  test("a codebook's model without a scaling factor", async () => {
    const plain = latentModel("ddpm", "vq");
    const { scaling_factor: _, ...rest } = JSON.parse(new TextDecoder().decode(await plain.read("vqvae/config.json")));
    const source = latentModel("ddpm", "vq", { "vqvae/config.json": JSON.stringify(rest) });
    const model = await openModel(source);
    expect(model.warnings.join()).toMatch(/vqvae\/config\.json: scaling_factor is missing: taken as 1/);
    expect(model.firstStage?.spec.scaling_factor).toBe(1);
    expect((await openModel(plain)).warnings).toEqual([]);
  });

  test("a middle attention that loses its norm", async () => {
    const adm = latentModel("adm", "vq");
    const config = JSON.parse(new TextDecoder().decode(await adm.read("unet/config.json")));
    const open = (changes: Json) => {
      const json = JSON.stringify({ ...config, ...changes });
      return openModel(latentModel("adm", "vq", { "unet/config.json": json }), { randomWeights: 1n });
    };
    const message = /unet\/config\.json: attn_norm_num_groups is missing/;
    expect(config.resnet_time_scale_shift).toBe("scale_shift");
    expect((await open({ attn_norm_num_groups: null })).warnings.join()).toMatch(message);
    for (const changes of [
      { attn_norm_num_groups: config.norm_num_groups },
      { attn_norm_num_groups: null, add_attention: false },
      { attn_norm_num_groups: null, resnet_time_scale_shift: "default" },
    ])
      expect((await open(changes)).warnings.join()).not.toMatch(message);
  });
});

test("a key that nobody knows is an error, not a warning", async () => {
  await expect(warnings({ beta_shape: "round" })).rejects.toThrow("beta_shape: unknown key, it may change the result");
});
