/** A model before any GPU: what is read from its folder, in which layouts, and its hash. */
import { describe, expect, test } from "vitest";
import { toNodeSource } from "../../src/node/source.ts";
import { createPipeline } from "../../src/pipeline/load.ts";
import { type Model, openModel } from "../../src/pipeline/model.ts";
import { modelHash, modelId } from "../../src/pipeline/modelId.ts";
import { resolveRun } from "../../src/pipeline/run.ts";
import { ConfigError } from "../../src/runtime/errors.ts";
import { nmse } from "../reference/tensor.ts";
import { testDevice } from "../support/gpu.ts";
import {
  goldenPath,
  load,
  readEvaluation,
  readFolder,
  shippedPath,
  sourceOf,
  splitSafetensors,
  WEIGHTS,
} from "../support/models.ts";
import { memorySource, rawSafetensors } from "../weights/memory-source.ts";

const AVATARS = shippedPath("pixel-avatars-16");
const open = (from: Parameters<typeof toNodeSource>[0]): Promise<Model> => openModel(toNodeSource(from));
const text = (bytes: Uint8Array | undefined) => JSON.parse(new TextDecoder().decode(bytes));

describe("classes", () => {
  test("have names, and one of them stands for none", async () => {
    const { name, labels, classCount, nullClass, config } = await open(AVATARS);
    expect(name).toBe("pixel-avatars-16");
    expect(labels).toEqual(["plain", "glasses", "hat", "hat and glasses"]);
    expect({ classCount, nullClass, classes: config.classes }).toEqual({
      classCount: 4,
      nullClass: 4,
      classes: { kind: "embedding", count: 5 },
    });
  });

  test("without a model_index.json are every embedding", async () => {
    const model = await openModel(sourceOf(AVATARS, { "model_index.json": undefined }));
    expect(model).toMatchObject({ labels: null, nullClass: null, classCount: 5 });
    expect(resolveRun(model, { count: 6 }).classes).toEqual([0, 1, 2, 3, 4, 0]);
  });

  test("without names leave the null class out", async () => {
    const model = await openModel(sourceOf(AVATARS, { "model_index.json": JSON.stringify({ null_class: 1 }) }));
    expect(model).toMatchObject({ labels: null, nullClass: 1, classCount: 4 });
    expect(resolveRun(model, { count: 4 }).classes).toEqual([0, 2, 3, 4]);
  });

  test("names that do not fit the embeddings are refused", async () => {
    for (const id2label of [{ 0: "a", 2: "c" }, { 0: 1 }, { 0: "a", 1: "b", 2: "c", 3: "d", 4: "e", 5: "f" }]) {
      const source = sourceOf(AVATARS, { "model_index.json": JSON.stringify({ id2label }) });
      await expect(openModel(source)).rejects.toThrow(ConfigError);
      await expect(openModel(source)).rejects.toThrow(/model_index\.json: id2label/);
    }
  });
});

describe("layouts", () => {
  const folder = goldenPath("models/ddpm");

  async function expectSameNetwork(from: Parameters<typeof load>[0], options?: Parameters<typeof load>[1]) {
    using pipe = await load(from, options);
    const { inputs, output } = await readEvaluation(`${folder}/io.safetensors`);
    expect(nmse((await pipe.network.forward(inputs)).data, output.data)).toBeLessThanOrEqual(1e-10);
  }

  test("the folder of the network alone", () => expectSameNetwork(`${folder}/unet`));
  test("a file: URL", () => expectSameNetwork(`file://${folder}`));
  test("a caller's reader", () => {
    const files = readFolder(folder);
    return expectSameNetwork({ read: async (path: string) => files[path] });
  });
  test("File[] of an <input webkitdirectory>", () => {
    const files = Object.entries(readFolder(folder)).map(([path, bytes]) => {
      const file = new File([bytes as Uint8Array<ArrayBuffer>], path.split("/").at(-1)!);
      return Object.defineProperty(file, "webkitRelativePath", { value: `ddpm/${path}` });
    });
    return expectSameNetwork(files);
  });
  test("a variant beside the plain weights", async () => {
    const half = readFolder(goldenPath("models/ddpm_fp16"))["unet/diffusion_pytorch_model.fp16.safetensors"]!;
    const source = sourceOf(folder, { "unet/diffusion_pytorch_model.fp16.safetensors": half });
    const plain = await openModel(source);
    const variant = await openModel(source, { variant: "fp16" });
    expect(variant.checkpoint.totalBytes * 2).toBe(plain.checkpoint.totalBytes);
    await expectSameNetwork(source);
  });
  test("a flat folder samples", async () => {
    const files = readFolder(AVATARS);
    const flat = memorySource({
      "config.json": files["unet/config.json"]!,
      "model.safetensors": files[WEIGHTS]!,
      "scheduler_config.json": files["scheduler/scheduler_config.json"]!,
      "model_index.json": files["model_index.json"]!,
    });
    using pipe = await load(flat);
    using whole = await load(AVATARS);
    const options = { steps: 2, seed: 1 };
    expect((await pipe.generate(options)).images).toEqual((await whole.generate(options)).images);
  });
});

test("a DDPM pipeline is sampled with DDIM, and says so", async () => {
  const scheduler = text(readFolder(AVATARS)["scheduler/scheduler_config.json"]);
  const ddpm = { ...scheduler, _class_name: "DDPMScheduler", variance_type: "fixed_small" };
  using pipe = await load(sourceOf(AVATARS, { "scheduler/scheduler_config.json": JSON.stringify(ddpm) }));
  using plain = await load(AVATARS);
  const options = { steps: 3, seed: 1 };
  const run = await pipe.generate(options);
  const reference = await plain.generate(options);
  expect(run.images).toEqual(reference.images);
  expect(run.warnings.join()).toMatch(/DDPMScheduler.*DDIM/);
  expect(reference.warnings.join()).not.toContain("DDPM");
});

const damaged = (at: number) => {
  const { header, data } = splitSafetensors(readFolder(AVATARS)[WEIGHTS]!);
  data[at]! ^= 1;
  return sourceOf(AVATARS, { [WEIGHTS]: rawSafetensors(header, data) });
};

describe("modelId", () => {
  test("is another after any flipped bit, wherever the model lies the same", async () => {
    const id = await modelId(await open(AVATARS));
    expect(id).toMatch(/^[0-9a-f]{32}$/);
    expect(await modelId(await openModel(sourceOf(AVATARS, {}, "elsewhere")))).toBe(id);
    const { data } = splitSafetensors(readFolder(AVATARS)[WEIGHTS]!);
    const ids = new Set([id]);
    const places = Array.from({ length: 8 }, (_, i) => Math.floor(((i + 0.7) / 8) * data.length));
    for (const at of places) ids.add(await modelId(await openModel(damaged(at))));
    expect(ids.size).toBe(1 + places.length);
    // The beginnings of tensors do not tell as much.
    const hashes = await Promise.all(places.map(async (at) => modelHash(await openModel(damaged(at)))));
    expect(new Set(hashes).size).toBeLessThan(places.length);
  });

  test("is another for other configurations and schedules", async () => {
    const config = text(readFolder(AVATARS)["unet/config.json"]);
    const scheduler = text(readFolder(AVATARS)["scheduler/scheduler_config.json"]);
    const models = [
      sourceOf(AVATARS),
      sourceOf(AVATARS, { "unet/config.json": JSON.stringify({ ...config, norm_eps: 1e-5 }) }),
      sourceOf(AVATARS, { "scheduler/scheduler_config.json": JSON.stringify({ ...scheduler, beta_end: 0.03 }) }),
    ];
    const ids = await Promise.all(models.map(async (source) => modelId(await openModel(source))));
    expect(new Set(ids).size).toBe(models.length);
  });

  test("costs no reading once the model is loaded", async () => {
    const source = sourceOf(AVATARS);
    const model = await openModel(source);
    using _ = await createPipeline(model, { device: await testDevice() });
    source.reads.length = 0;
    expect(await modelId(model)).toBe(await modelId(await open(AVATARS)));
    expect(source.reads).toEqual([]);
  });
});

describe("modelHash", () => {
  test("is the same wherever the model lies, and twelve digits of hex", async () => {
    const hash = await modelHash(await open(AVATARS));
    expect(hash).toMatch(/^[0-9a-f]{12}$/);
    expect(await modelHash(await open(AVATARS))).toBe(hash);
    expect(await modelHash(await openModel(sourceOf(AVATARS, {}, "elsewhere")))).toBe(hash);
  });

  test("is another for other weights, configurations and schedules", async () => {
    const config = text(readFolder(AVATARS)["unet/config.json"]);
    const scheduler = text(readFolder(AVATARS)["scheduler/scheduler_config.json"]);
    const models = [
      sourceOf(AVATARS),
      damaged(0),
      sourceOf(AVATARS, { "unet/config.json": JSON.stringify({ ...config, norm_eps: 1e-5 }) }),
      sourceOf(AVATARS, { "scheduler/scheduler_config.json": JSON.stringify({ ...scheduler, beta_end: 0.03 }) }),
      toNodeSource(shippedPath("crawl-tiles-32")),
    ];
    const hashes = await Promise.all(models.map(async (source) => modelHash(await openModel(source))));
    expect(new Set(hashes).size).toBe(models.length);
  });

  test("reads little of a model", async () => {
    const source = sourceOf(AVATARS);
    const model = await openModel(source);
    source.reads.length = 0;
    await modelHash(model);
    const bytes = source.reads.reduce((sum, read) => sum + read.bytes, 0);
    expect(bytes).toBeLessThan(model.checkpoint.tensors.size * 1024 + 1);
  });
});
