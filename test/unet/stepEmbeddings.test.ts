/** Which entries of the time embeddings a step reads, over runs that one filling of them does not hold. */
import { expect, test } from "vitest";
import { Graph } from "../../src/kernels/graph.ts";
import { lowerGraph } from "../../src/kernels/lower.ts";
import { arrayOf, createValueArray, type GpuArray, uploadBuffer } from "../../src/runtime/memory.ts";
import { Program } from "../../src/runtime/program.ts";
import { makeValue, type Value } from "../../src/runtime/values.ts";
import type { Network } from "../../src/unet/build.ts";
import { StepEmbeddings } from "../../src/unet/stepEmbeddings.ts";
import { readValue, targets, testDevice } from "../support/gpu.ts";

const WIDTH = 3;
/** So many images that 32,768 entries hold four steps. */
const IMAGES = 8192;

test.each([
  [10, (await targets())[0]],
  [4, (await targets())[0]],
  [10, (await targets()).find(({ name }) => name === "direct")],
])("%d steps in stretches of four ($name)", async (steps, made) => {
  const { target } = made as NonNullable<typeof made>;
  const device = await testDevice();
  const listed = (name: string, dtype: "u32" | "f32", width: number) =>
    makeValue({ name, shape: dtype === "u32" ? [1] : [1, width], batched: false, dtype, storage: "buffer" });
  const [timesteps, byStep, byImage] = [
    listed("timesteps", "f32", WIDTH),
    listed("by_step", "u32", 1),
    listed("by_image", "u32", 1),
  ];
  const embed = new Graph("f32", target.storage);
  const projections = embed.output(embed.take("embed", timesteps, byStep));
  const table: Value = makeValue({ ...projections, name: "table" });
  const network = { timesteps, byStep, byImage, projections, table, classes: null } as unknown as Network;
  const owned: GpuArray[] = [];
  const keep = (array: GpuArray) => {
    owned.push(array);
    return array;
  };
  const embeddings = new StepEmbeddings(network, {
    batch: IMAGES,
    steps,
    timesteps: Float32Array.from({ length: steps * WIDTH }, (_, i) => i),
    create: (value, batch) => keep(createValueArray(device, value, batch)),
    upload: (name, data) => keep(arrayOf(uploadBuffer(device, name, data))),
  });
  const { calls } = lowerGraph(embed, target);
  const { entries: batch, arrays } = embeddings;
  const program = await Program.create(device, { label: "embed", calls, batch, external: arrays });
  const order = [...Array.from({ length: steps }, (_, step) => step), 1, steps - 1];
  for (const step of order) {
    const encoder = device.gpu.createCommandEncoder();
    embeddings.begin(encoder, step, program);
    device.submit([encoder.finish()]);
    const { data } = await readValue(device, table, arrays.get(table) as GpuArray, IMAGES);
    const wrong = data.findIndex((value, i) => value !== step * WIDTH + (i % WIDTH));
    expect([step, wrong]).toEqual([step, -1]);
  }
  program.dispose();
  for (const { object } of owned) device.release(object);
});
