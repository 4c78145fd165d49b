/** Weights that are made from a seed: a file like any other, the same everywhere, of a size that keeps activations. */
import { describe, expect, test } from "vitest";
import { openCheckpoint } from "../../src/weights/checkpoint.ts";
import { withRandomWeights } from "../../src/weights/random.ts";
import type { ModelSource } from "../../src/weights/source.ts";
import { memorySource } from "./memory-source.ts";

const tensors = [
  { name: "conv.weight", shape: [64, 32, 3, 3] },
  { name: "conv.bias", shape: [4096] },
  { name: "norm.weight", shape: [4096] },
  { name: "other.weight", shape: [64, 32, 3, 3] },
  { name: "one", shape: [1] },
];
const files = { "unet/config.json": "{}", "unet/model.safetensors": "not read", "unet/x.safetensors.index.json": "{}" };
const make = (seed = 7n, source: ModelSource = memorySource(files)) => withRandomWeights(source, "unet", tensors, seed);
const read = async (name: string, seed?: bigint) => (await openCheckpoint(make(seed), "unet")).read(name);

function moments(values: Float32Array): { mean: number; deviation: number } {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length;
  return { mean, deviation: Math.sqrt(variance) };
}

test("holds the tensors asked for, and hides other weights but no other file", async () => {
  const source = make();
  const checkpoint = await openCheckpoint(source, "unet");
  expect([...checkpoint.tensors.values()].map(({ name, shape }) => ({ name, shape }))).toEqual(tensors);
  expect((await source.list?.("unet"))?.sort()).toEqual(["config.json", "diffusion_pytorch_model.safetensors"]);
  expect(await source.exists("unet/model.safetensors")).toBe(false);
  expect(new TextDecoder().decode(await source.read("unet/config.json"))).toBe("{}");
  expect(await source.size("unet/config.json")).toBe(2);
});

test("a source that cannot list its files finds them all the same", async () => {
  const { list: _, ...blind } = memorySource(files);
  expect((await openCheckpoint(make(7n, blind), "unet")).tensors.size).toBe(tensors.length);
});

// Worked out by another implementation of the formula.
test("the numbers are these, today and on every machine", async () => {
  expect([...(await read("conv.weight")).subarray(0, 4)]).toEqual([
    -0.03823170065879822, 0.025232641026377678, -0.07898824661970139, 0.08311019092798233,
  ]);
  expect([...(await read("one", 2n ** 40n + 7n))]).toEqual([-0.14522279798984528]);
});

test("another seed, or another tensor, means other numbers", async () => {
  const plain = await read("conv.weight");
  for (const other of [
    await read("other.weight"),
    await read("conv.weight", 8n),
    await read("conv.weight", 7n + 2n ** 32n),
  ]) {
    const product = plain.reduce((sum, v, i) => sum + v * (other[i] as number), 0) / plain.length;
    const { deviation } = moments(plain);
    expect(Math.abs(product / deviation ** 2)).toBeLessThan(4 / Math.sqrt(plain.length));
  }
});

describe("distribution", () => {
  for (const [name, mean, deviation] of [
    ["conv.weight", 0, 0.9 / Math.sqrt(32 * 9)],
    ["conv.bias", 0, 0.1],
    ["norm.weight", 1, 0.2],
  ] as const)
    test(name, async () => {
      const values = await read(name);
      const found = moments(values);
      expect(Math.abs(found.mean - mean)).toBeLessThan((4 * deviation) / Math.sqrt(values.length));
      expect(found.deviation / deviation).toBeCloseTo(1, 1);
    });

  test("neighbours have nothing in common", async () => {
    const values = await read("conv.weight");
    const { deviation } = moments(values);
    for (const lag of [1, 2, 3, 9, 32, 288]) {
      let product = 0;
      for (let i = lag; i < values.length; i++) product += (values[i] as number) * (values[i - lag] as number);
      expect(Math.abs(product / (values.length - lag) / deviation ** 2)).toBeLessThan(4 / Math.sqrt(values.length));
    }
  });
});

test("any range of the file is the same bytes as in the whole", async () => {
  const source = make();
  const path = "unet/diffusion_pytorch_model.safetensors";
  const whole = await source.read(path);
  expect(whole.byteLength).toBe(await source.size(path));
  for (const [start, end] of [
    [0, 8],
    [5, 1001],
    [1001, 1003],
    [70_001, 120_006],
    [whole.byteLength - 3, whole.byteLength],
    [12, 12],
  ] as const) {
    const target = new Uint8Array(end - start);
    await source.readInto?.(path, start, target);
    for (const bytes of [await source.read(path, { start, end }), target])
      expect(Buffer.compare(bytes, whole.subarray(start, end))).toBe(0);
  }
  await expect(source.read(path, { start: 0, end: whole.byteLength + 1 })).rejects.toThrow(/is cut off/);
});
