/** The originals' checkpoints by their tables of tensors: every tensor is found, and every damage is named. */
import { describe, expect, test } from "vitest";
import { openModel } from "../../../src/pipeline/model.ts";
import { modelHash } from "../../../src/pipeline/modelId.ts";
import { ConfigError, UsageError, WeightError } from "../../../src/runtime/errors.ts";
import { originSource, readOrigin } from "../../support/origins.ts";
import { failure, memorySource, rawSafetensors } from "../../weights/memory-source.ts";

const ORIGINS = {
  "ddim-ch32": "ermongroup",
  "improved-cosine": "openai",
  "guided-adm-neworder": "openai",
  "ldm-uncond-ema": "ldm",
  "ldm-cin256": "ldm",
};

/** The error with which a checkpoint does not open. */
async function misfit(origin: ReturnType<typeof readOrigin>): Promise<WeightError> {
  const error = await openModel(originSource(origin)).then(
    () => undefined,
    (e) => e,
  );
  expect(error).toBeInstanceOf(WeightError);
  return error;
}

describe("checkpoints of the originals", () => {
  test.each(Object.entries(ORIGINS))("%s opens, every tensor in its place", async (name, layout) => {
    const model = await openModel(originSource(readOrigin(name)));
    expect(model.layout).toBe(layout);
    expect(model.warnings).toEqual([]);
    expect(model.scheduler).not.toBeNull();
  });

  test.each(Object.keys(ORIGINS))("%s: what is missing, unexpected or of another shape is all named", async (name) => {
    const origin = readOrigin(name);
    const network = Object.keys(origin.tensors).filter((tensor) => !tensor.startsWith("first_stage_model"));
    const conv = network.find((tensor) => /\.conv2\.weight$|out_layers\.3\.weight$/.test(tensor)) as string;
    const bias = conv.replace("weight", "bias");
    const shape = origin.tensors[conv] as number[];
    origin.tensors[conv] = [...shape].reverse();
    delete origin.tensors[bias];
    origin.tensors[`${conv}.old`] = [3];
    const error = await misfit(origin);
    expect(error.missing).toEqual([bias]);
    expect(error.unexpected).toEqual([`${conv}.old`]);
    expect(error.mismatched).toEqual([{ name: conv, expected: shape, actual: [...shape].reverse() }]);
    expect(error.message).toMatch(/read in the layout of .+ because \d+ of \d+ tensors are named like /);
  });

  test("q, k and v in one tensor are missing as one", async () => {
    const origin = readOrigin("guided-adm-neworder");
    delete origin.tensors["middle_block.1.qkv.weight"];
    expect((await misfit(origin)).missing).toEqual(["middle_block.1.qkv.weight"]);
  });

  test("another configuration of the same family is not a fit", async () => {
    const origin = readOrigin("improved-cosine");
    const { message } = await misfit({ ...origin, config: { ...origin.config, num_res_blocks: 2 } });
    expect(message).toContain("input_blocks.2.0.emb_layers.1.weight");
  });

  test("tensors of two systems in one file", async () => {
    const { config, tensors } = readOrigin("ddim-ch32");
    const other = readOrigin("improved-cosine").tensors;
    const error = await misfit({ config, tensors: { ...tensors, "out.2.weight": other["out.2.weight"] as number[] } });
    expect(error.unexpected).toEqual(["out.2.weight"]);
    expect(error.layout).toMatch(/^the layout of ermongroup\/ddim because 264 of 269 tensors are named like /);
  });

  test("an EMA twin must be whole where it is asked for", async () => {
    const origin = readOrigin("ldm-uncond-ema");
    delete origin.tensors["model_ema.diffusion_modelout2bias"];
    await openModel(originSource(origin));
    const ema = openModel(originSource(origin), { weights: "ema" });
    await expect(ema).rejects.toMatchObject({ missing: ["model_ema.diffusion_modelout2bias"], unexpected: [] });
  });

  test("the model's hash tells one set of weights, and one order of q, k and v, from the other", async () => {
    const ema = originSource(readOrigin("ldm-uncond-ema"));
    const adm = readOrigin("guided-adm-neworder");
    const legacy = originSource({ ...adm, config: { ...adm.config, use_new_attention_order: false } });
    const models = [
      openModel(ema),
      openModel(ema, { weights: "ema" }),
      openModel(originSource(adm)),
      openModel(legacy),
    ];
    const hashes = await Promise.all(models.map(async (model) => modelHash(await model)));
    expect(new Set(hashes).size).toBe(4);
  });

  test("EMA weights are refused where there are none", async () => {
    for (const name of ["ldm-cin256", "ddim-ch32"]) {
      const opened = openModel(originSource(readOrigin(name)), { weights: "ema" });
      await expect(opened).rejects.toThrow(UsageError);
      await expect(opened).rejects.toThrow("has no EMA weights");
    }
  });

  test("a configuration of another family says so", async () => {
    const { tensors } = readOrigin("ddim-ch32");
    const { config } = readOrigin("improved-cosine");
    const opened = openModel(originSource({ config, tensors }));
    await expect(opened).rejects.toThrow(ConfigError);
    await expect(opened).rejects.toThrow(
      /config\.json: \(root\): belongs to the layout of OpenAI's .+, but the checkpoint beside it is in the layout of ermongroup\/ddim because 264 of 268/,
    );
  });

  test.each([
    ["all_modules.0.weight", "score_sde"],
    ["blocks.0.attn.qkv.weight", "a diffusion transformer"],
    ["encoder.conv_in.weight", "an autoencoder, not a UNet"],
    ["weight", "is in no layout that is known: it has weight"],
  ])("a checkpoint with %s is refused by name", async (name, what) => {
    const weights = rawSafetensors({ [name]: { dtype: "F32", shape: [0], data_offsets: [0, 0] } });
    const configs: Record<string, string>[] = [{}, { "config.json": "{}" }];
    for (const config of configs) {
      const source = memorySource({ ...config, "model.safetensors": weights });
      const message = await failure(openModel(source));
      expect(message).toContain(what);
      expect(message).toContain("supported are UNets in the layout of diffusers");
    }
  });

  test("YAML needs a reader in the core", async () => {
    const source = memorySource({ "config.yaml": "model: 1", "model.safetensors": rawSafetensors({}) });
    expect(await failure(openModel(source))).toContain("config.yaml: is YAML, which only ddim-webgpu/node reads");
  });
});
