import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { folderSource, openSafetensorsFile } from "../../src/node/folder.ts";
import { type Checkpoint, openCheckpoint, openSafetensors } from "../../src/weights/checkpoint.ts";
import { encodeSafetensors } from "../../src/weights/encode.ts";
import { failure, memorySource } from "./memory-source.ts";

const golden = (path: string) => new URL(`../golden/${path}`, import.meta.url).pathname;
const weights = (path: string) => new URL(`../../weights/${path}`, import.meta.url).pathname;
const FILE = "diffusion_pytorch_model.safetensors";

/** A file of tensors of one element each, the n-th of which is n. */
function file(names: string[], metadata?: Record<string, string>) {
  const tensor = (n: number) => ({ dtype: "F32" as const, shape: [1], data: Float32Array.of(n) });
  return encodeSafetensors(Object.fromEntries(names.map((name, n) => [name, tensor(n)])), metadata);
}

async function contents(checkpoint: Checkpoint) {
  const all: Record<string, Float32Array> = {};
  for (const name of [...checkpoint.tensors.keys()].sort()) all[name] = await checkpoint.read(name);
  return all;
}

describe("the goldens", () => {
  test("three shards hold what the single file holds", async () => {
    const single = await openCheckpoint(folderSource(golden("models/ddpm")), "unet");
    const sharded = await openCheckpoint(folderSource(golden("models/ddpm_sharded")), "unet");
    expect(single.tensors.size).toBe(328);
    expect(single.totalBytes).toBe(573068);
    expect(sharded.totalBytes).toBe(573068);
    expect(await contents(sharded)).toEqual(await contents(single));
    expect(single.file).toBe(golden(`models/ddpm/unet/${FILE}`));
    expect(sharded.file).toBe(golden(`models/ddpm_sharded/unet/${FILE}.index.json`));
  });

  test("the only variant in a folder needs no asking for", async () => {
    const source = folderSource(golden("models/ddpm_fp16"));
    for (const variant of [undefined, "fp16"]) {
      const checkpoint = await openCheckpoint(source, "unet", { variant });
      expect(checkpoint.file.endsWith("unet/diffusion_pytorch_model.fp16.safetensors")).toBe(true);
      expect(checkpoint.info("conv_in.weight")).toMatchObject({ dtype: "F16", shape: [8, 3, 3, 3] });
    }
  });

  test("the folder of a component opens as well as the pipeline's", async () => {
    const checkpoint = await openCheckpoint(folderSource(golden("models/ddpm/unet")), "");
    expect(checkpoint.tensors.size).toBe(328);
  });

  test("numbers agree with a reading of the bytes by hand", async () => {
    const raw = readFileSync(golden("pipelines/eps_clip/x_T.safetensors"));
    const length = Number(raw.readBigUInt64LE(0));
    const expected = Array.from({ length: (raw.length - 8 - length) / 4 }, (_, i) =>
      raw.readFloatLE(8 + length + 4 * i),
    );
    const checkpoint = await openSafetensorsFile(golden("pipelines/eps_clip/x_T.safetensors"));
    expect(checkpoint.info("x_T").shape).toEqual([2, 3, 16, 16]);
    expect([...(await checkpoint.read("x_T"))]).toEqual(expected);
  });

  test("inputs of other types", async () => {
    const images = await openSafetensorsFile(golden("pipelines/eps_clip/images.safetensors"));
    expect([...(await images.read("timesteps"))]).toEqual([875, 750, 625, 500, 375, 250, 125, 0]);
    const asFloats = await images.read("images");
    const asBytes = await images.readBytes("images_uint8_nhwc");
    expect(asBytes.length).toBe(asFloats.length);
    expect(Math.abs(asBytes[0]! - 255 * asFloats[0]!)).toBeLessThanOrEqual(0.51);
  });

  test.each([
    ["pixel-avatars-16", 1_064_291],
    ["crawl-tiles-32", 3_941_699],
  ])("the shipped %s has %i parameters", async (name, parameters) => {
    const checkpoint = await openCheckpoint(folderSource(weights(name)), "unet");
    expect(checkpoint.totalBytes).toBe(2 * parameters);
    for await (const { values } of checkpoint.floats(checkpoint.tensors.keys()))
      expect(values.every(Number.isFinite)).toBe(true);
  });
});

describe("names", () => {
  test("old attention names are reached by today's", async () => {
    const old = ["mid_block.attentions.0.query.weight", "mid_block.attentions.0.proj_attn.bias"];
    const source = memorySource({ [FILE]: file(old) });
    const checkpoint = await openCheckpoint(source, "");
    const today = ["mid_block.attentions.0.to_out.0.bias", "mid_block.attentions.0.to_q.weight"];
    expect([...checkpoint.tensors.keys()].sort()).toEqual(today);
    expect(checkpoint.info(today[1]!).name).toBe(old[0]);
    expect([...(await checkpoint.read(today[1]!))]).toEqual([0]);
    expect([...(await checkpoint.read(today[0]!))]).toEqual([1]);
    // A file of any content keeps its names.
    expect([...(await openSafetensors(source, FILE)).tensors.keys()].sort()).toEqual([...old].sort());
  });

  test("a tensor under both its names is refused", async () => {
    const names = ["attentions.0.key.weight", "attentions.0.to_k.weight"];
    expect(await failure(openCheckpoint(memorySource({ [FILE]: file(names) }), ""))).toBe(
      `model/${FILE}: has both attentions.0.key.weight and attentions.0.to_k.weight, two names of one tensor`,
    );
  });
});

describe("shards", () => {
  const index = (map: Record<string, unknown>) => JSON.stringify({ metadata: {}, weight_map: map });
  const open = (files: Record<string, Uint8Array | string>) =>
    openCheckpoint(
      memorySource(Object.fromEntries(Object.entries(files).map(([name, data]) => [`unet/${name}`, data]))),
      "unet",
    );
  const INDEX = `${FILE}.index.json`;
  const map = { a: "1.safetensors", b: "2.safetensors", c: "2.safetensors" };

  test("hold exactly what the index says", async () => {
    const shards = { "1.safetensors": file(["a"]), "2.safetensors": file(["b", "c"]) };
    const checkpoint = await open({ [INDEX]: index(map), ...shards });
    expect([...checkpoint.tensors.keys()]).toEqual(["a", "b", "c"]);
    expect([...(await checkpoint.read("c"))]).toEqual([1]);
    const names: string[] = [];
    for await (const piece of checkpoint.floats(["c", "a"])) names.push(piece.name);
    expect(names).toEqual(["a", "c"]);
  });

  test.each([
    [
      "a missing shard",
      { "1.safetensors": file(["a"]) },
      "unet/2.safetensors: this shard is missing; model/unet/diffusion_pytorch_model.safetensors.index.json names it",
    ],
    [
      "a tensor missing",
      { "1.safetensors": file(["a"]), "2.safetensors": file(["c"]) },
      "unet/2.safetensors: lacks b, which ",
    ],
    [
      "a tensor too many",
      { "1.safetensors": file(["a", "z"]), "2.safetensors": file(["b", "c"]) },
      "unet/1.safetensors: holds z, which ",
    ],
    [
      "a tensor twice",
      { "1.safetensors": file(["a", "b"]), "2.safetensors": file(["b", "c"]) },
      "unet/1.safetensors: holds b, which ",
    ],
    [
      "a shard cut off",
      { "1.safetensors": file(["a"]), "2.safetensors": file(["b", "c"]).slice(0, -1) },
      "unet/2.safetensors: is cut off",
    ],
  ])("%s", async (_, shards, problem) => {
    expect(await failure(open({ [INDEX]: index(map), ...shards } as Record<string, Uint8Array | string>))).toContain(
      problem,
    );
  });

  test("an index that is none", async () => {
    expect(await failure(open({ [INDEX]: "{}" }))).toBe(`model/unet/${INDEX}: has no weight_map`);
    expect(await failure(open({ [INDEX]: index({ a: 1 }) }))).toBe(
      `model/unet/${INDEX}: weight_map gives no file for "a"`,
    );
    expect(await failure(open({ [INDEX]: `{"weight_map": {"a": "1", "a": "2"}}` }))).toContain(
      'the key "a" appears twice',
    );
  });

  test.each(["../1.safetensors", "/etc/passwd", "..\\1", "https://example.com/1.safetensors", "a/../../x"])(
    "a shard cannot be %s",
    async (shard) => {
      const message = await failure(open({ [INDEX]: index({ a: shard }) }));
      expect(message).toContain("does not stay inside the model's folder");
    },
  );
});

test("weights that Paddle saved as safetensors are refused: their matrices are transposed", async () => {
  const source = memorySource({ [FILE]: file(["a"], { format: "pd" }) });
  expect(await failure(openCheckpoint(source, ""))).toContain("was saved for Paddle");
});

test("every step can be aborted", async () => {
  const source = folderSource(golden("models/ddpm_sharded"));
  const signal = AbortSignal.abort();
  expect(await failure(openCheckpoint(source, "unet", { signal }), "AbortError")).toMatch(/abort/i);
  const checkpoint = await openCheckpoint(source, "unet");
  expect(await failure(checkpoint.read("conv_in.bias", signal), "AbortError")).toMatch(/abort/i);
  expect(await failure(checkpoint.readBytes("conv_in.bias", signal), "AbortError")).toMatch(/abort/i);
});
