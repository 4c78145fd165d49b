import { describe, expect, test } from "vitest";
import { locateWeights } from "../../src/weights/locate.ts";
import type { ModelSource } from "../../src/weights/source.ts";
import { failure, memorySource } from "./memory-source.ts";

const B = "diffusion_pytorch_model";

/** The same files in a source that can list folders, and in one that cannot, as a web server. */
function both(names: string[], folder = ""): ModelSource[] {
  const files = Object.fromEntries(names.map((name) => [folder ? `${folder}/${name}` : name, ""]));
  const { list: _, ...silent } = memorySource(files);
  return [memorySource(files), silent];
}

const locate = (source: ModelSource, variant?: string) => locateWeights(source, "", variant);

describe("locateWeights", () => {
  test.each([
    [[`${B}.safetensors`], undefined, `${B}.safetensors`],
    [["model.safetensors"], undefined, "model.safetensors"],
    [["model.safetensors", `${B}.safetensors`], undefined, `${B}.safetensors`],
    [[`${B}.safetensors.index.json`, `${B}-00001-of-00001.safetensors`], undefined, `${B}.safetensors.index.json`],
    [["model.safetensors.index.json"], undefined, "model.safetensors.index.json"],
    [[`${B}.fp16.safetensors`], undefined, `${B}.fp16.safetensors`],
    [[`${B}.bf16.safetensors`], undefined, `${B}.bf16.safetensors`],
    [[`${B}.fp16.safetensors`, `${B}.safetensors`], undefined, `${B}.safetensors`],
    [[`${B}.fp16.safetensors`, `${B}.safetensors`], "fp16", `${B}.fp16.safetensors`],
    [[`${B}.safetensors.index.fp16.json`, `${B}.safetensors`], "fp16", `${B}.safetensors.index.fp16.json`],
    [[`${B}.safetensors.fp16.index.json`], "fp16", `${B}.safetensors.fp16.index.json`],
    [
      [`${B}.safetensors.index.fp16.json`, `${B}.fp16-00001-of-00002.safetensors`],
      undefined,
      `${B}.safetensors.index.fp16.json`,
    ],
    [["model.non_ema.safetensors"], "non_ema", "model.non_ema.safetensors"],
    [[`${B}.bin`, `${B}.safetensors`], undefined, `${B}.safetensors`],
    [[`${B}.bin`, "model.safetensors"], undefined, "model.safetensors"],
    [[`${B}.bin`], undefined, `${B}.bin`],
    [[`${B}.bin`, `${B}.bin.index.json`], undefined, `${B}.bin.index.json`],
    [[`${B}.bin`, `${B}.fp16.bin`], "fp16", `${B}.fp16.bin`],
    [[`${B}.fp16.bin`], undefined, `${B}.fp16.bin`],
    [["pytorch_model.bin"], undefined, "pytorch_model.bin"],
    [["model.ckpt"], undefined, "model.ckpt"],
  ])("in %j, variant %s: %s", async (names, variant, expected) => {
    for (const source of both(names)) expect(await locate(source, variant)).toBe(expected);
  });

  test("a variant of any name is found where the source can list the folder", async () => {
    expect(await locate(memorySource({ [`${B}.non_ema.safetensors`]: "" }))).toBe(`${B}.non_ema.safetensors`);
  });

  test("a pickle of any name, where it is alone", async () => {
    expect(await locate(memorySource({ "weights.pt": "", "config.yml": "" }))).toBe("weights.pt");
    expect(await failure(locate(memorySource({ "a.pt": "", "b.ckpt": "" })))).toContain("has no weights");
  });

  test("in a component's folder", async () => {
    for (const source of both([`${B}.safetensors`], "unet"))
      expect(await locateWeights(source, "unet")).toBe(`unet/${B}.safetensors`);
  });

  test("says what there is instead of the variant asked for", async () => {
    for (const source of both([`${B}.safetensors`, `${B}.bf16.safetensors`]))
      expect(await failure(locate(source, "fp16"))).toBe(
        "model: has no weights of variant fp16; it has the plain weights, bf16",
      );
    for (const source of both([`${B}.bin`]))
      expect(await failure(locate(source, "fp16"))).toBe(
        "model: has no weights of variant fp16; it has the plain weights",
      );
    for (const source of both(["config.json"]))
      expect(await failure(locate(source, "fp16"))).toBe("model: has no weights of variant fp16");
    for (const source of both([`${B}.fp16.safetensors`, `${B}.bf16.safetensors`]))
      expect(await failure(locate(source))).toMatch(
        /^model: has several variants of the weights \(.*16, .*16\): choose one$/,
      );
    expect(await failure(locate(memorySource({}), "../fp16"), "UsageError")).toContain(
      'variant "../fp16" must be a word',
    );
  });

  test("says how to convert Paddle's files", async () => {
    for (const source of both(["model_state.pdparams", "config.json"]))
      expect(await failure(locate(source))).toMatch(
        /^model\/model_state\.pdparams: is Paddle's format: .*to_diffusers=True/,
      );
    for (const source of both(["diffusion_paddle_model.safetensors"]))
      expect(await failure(locate(source))).toContain("is Paddle's format");
  });

  test("says what it looked for when there is nothing", async () => {
    for (const source of both(["config.json"], "unet"))
      expect(await failure(locateWeights(source, "unet"))).toBe(
        "model/unet: has no weights: neither diffusion_pytorch_model.safetensors nor model.safetensors",
      );
  });
});
