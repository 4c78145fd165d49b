/** `pipe.network.forward` beyond the goldens: batches, repeated inputs, old names, odd requests. */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { DiffusionPipeline } from "../../src/pipeline/pipeline.ts";
import type { ForwardInputs, Tensor } from "../../src/pipeline/types.ts";
import { ShapeError, UsageError } from "../../src/runtime/errors.ts";
import { nmse, randomTensor } from "../reference/tensor.ts";
import { testDevice } from "../support/gpu.ts";
import {
  goldenPath,
  load,
  readEvaluation,
  readFolder,
  sourceOf,
  splitSafetensors,
  WEIGHTS,
} from "../support/models.ts";
import { rawSafetensors } from "../weights/memory-source.ts";

let pipe: DiffusionPipeline;
beforeAll(async () => {
  pipe = await load(goldenPath("corners/learned"));
});
afterAll(() => pipe.dispose());

const random = (shape: readonly number[], seed: number): Tensor => ({
  shape,
  data: Float32Array.from(randomTensor(shape, seed).data),
});
const image = ({ shape, data }: Tensor, i: number, count = 1): Tensor => {
  const size = data.length / (shape[0] as number);
  return { shape: [count, ...shape.slice(1)], data: data.slice(i * size, (i + count) * size) };
};

test("an image's output does not depend on its neighbours, bit by bit", async () => {
  const inputs = { sample: random([7, 5, 8, 10], 1), timestep: [0, 49, 7, 7, 30, 1, 48] };
  const classLabels = [8, 0, 3, 3, 1, 2, 5];
  const all = await pipe.network.forward({ ...inputs, classLabels });
  for (const [from, count] of [
    [0, 1],
    [3, 1],
    [6, 1],
    [2, 3],
  ] as const) {
    const part = await pipe.network.forward({
      sample: image(inputs.sample, from, count),
      timestep: inputs.timestep.slice(from, from + count),
      classLabels: classLabels.slice(from, from + count),
    });
    expect(part).toEqual(image(all, from, count));
  }
});

test("one timestep and one label serve a whole batch", async () => {
  const sample = random([3, 5, 8, 8], 2);
  const once = await pipe.network.forward({ sample, timestep: [9], classLabels: [4] });
  expect(once).toEqual(await pipe.network.forward({ sample, timestep: [9, 9, 9], classLabels: [4, 4, 4] }));
});

test("checkpoints with the attention layers' old names", async () => {
  const folder = goldenPath("models/ddpm");
  const { header, data } = splitSafetensors(readFolder(folder)[WEIGHTS]!);
  const old = { to_q: "query", to_k: "key", to_v: "value", "to_out.0": "proj_attn" };
  const rename = (_: string, path: string, part: keyof typeof old) => path + old[part];
  const json = JSON.stringify(header).replace(/(attentions\.\d\.)(to_q|to_k|to_v|to_out\.0)/g, rename);
  expect(json).toContain("mid_block.attentions.0.proj_attn.bias");
  using renamed = await load(sourceOf(folder, { [WEIGHTS]: rawSafetensors(json, data) }));
  const { inputs, output } = await readEvaluation(`${folder}/io.safetensors`);
  expect(nmse((await renamed.network.forward(inputs)).data, output.data)).toBeLessThanOrEqual(1e-10);
});

test("other inputs than the network's are refused before anything is allocated", async () => {
  const device = await testDevice();
  const sample = random([2, 5, 8, 8], 3);
  const good: ForwardInputs = { sample, timestep: [1], classLabels: [0] };
  const refusals: [Partial<ForwardInputs>, new (...args: never[]) => Error, RegExp][] = [
    [{ sample: random([5, 8, 8], 3) }, ShapeError, /sample has shape \[5, 8, 8\], expected \[N, 5, H, W\]/],
    [{ sample: random([2, 4, 8, 8], 3) }, ShapeError, /sample has shape \[2, 4, 8, 8\]/],
    [{ sample: { shape: [0, 5, 8, 8], data: new Float32Array() } }, ShapeError, /sample has shape \[0, /],
    [{ sample: { shape: [2, 5, 8, 8], data: new Float32Array(9) } }, ShapeError, /sample .* expected 640 values/],
    [{ sample: random([1, 5, 8, 9], 3) }, UsageError, /size 8×9: width must be a multiple of 2/],
    [{ sample: sample.data as never }, UsageError, /sample must be a tensor, an object with shape and data/],
    [{ sample: undefined as never }, UsageError, /sample must be a tensor/],
    [{ timestep: 5 as never }, UsageError, /timestep must be a list with a number for each image/],
    [{ classLabels: 1 as never }, UsageError, /class_labels must be a list/],
    [{ timestep: [1, 2, 3] }, ShapeError, /timestep has shape \[3\], expected \[2\] or \[1\]/],
    [{ timestep: [] }, ShapeError, /timestep/],
    [{ timestep: [Number.NaN] }, UsageError, /timestep must be a number, got NaN/],
    [{ timestep: [50] }, UsageError, /timestep 50 is out of range: the learned embedding has rows 0\.\.49/],
    [{ timestep: [0.5] }, UsageError, /timestep 0\.5/],
    [{ classLabels: undefined }, UsageError, /learned is class-conditional and needs class_labels/],
    [{ classLabels: [9] }, UsageError, /class 9 is out of range: learned has classes 0\.\.8/],
    [{ classLabels: [-1] }, UsageError, /class -1/],
    [{ classLabels: [0, 1, 2] }, ShapeError, /class_labels has shape \[3\]/],
  ];
  const { created } = device.counters;
  for (const [change, kind, says] of refusals) {
    const error = await pipe.network.forward({ ...good, ...change }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(kind);
    expect((error as Error).message).toMatch(says);
  }
  expect(device.counters.created).toBe(created);
});

test("conditions that a network does not take, or takes in another form", async () => {
  const sample = random([2, 3, 8, 8], 4);
  const classVectors = random([2, 31], 5);
  using identity = await load(goldenPath("models/classidentity"));
  await expect(identity.network.forward({ sample, timestep: [1], classLabels: [0] })).rejects.toThrow(
    /class_labels of shape/,
  );
  await expect(identity.network.forward({ sample, timestep: [1], classVectors })).rejects.toThrow(
    /class_labels has shape \[2, 31\], expected \[2, 32\]/,
  );
  using plain = await load(goldenPath("models/noattn"));
  const two = random([1, 2, 8, 8], 6);
  await expect(plain.network.forward({ sample: two, timestep: [1], classLabels: [0] })).rejects.toThrow(
    /noattn has no class embedding/,
  );
});

test("labels beyond a learned embedding name themselves, not the timestep", async () => {
  using model = await load(goldenPath("corners/learned_class"));
  const sample = random([1, 2, 6, 6], 7);
  await expect(model.network.forward({ sample, timestep: [1], classLabels: [20] })).rejects.toThrow(
    /^class_labels 20 is out of range/,
  );
});
