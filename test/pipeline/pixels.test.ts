/** Pictures that stay on the GPU: a caller's buffer receives them, nothing but the status is read back. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { DiffusionPipeline } from "../../src/pipeline/pipeline.ts";
import { UsageError } from "../../src/runtime/errors.ts";
import { testDevice } from "../support/gpu.ts";
import { load, shippedPath } from "../support/models.ts";

let pipe: DiffusionPipeline;
beforeAll(async () => {
  pipe = await load(shippedPath("pixel-avatars-16"));
});
afterAll(() => pipe.dispose());

async function buffer(size: number, usage = GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC): Promise<GPUBuffer> {
  return (await testDevice()).createBuffer({ size, usage });
}

describe("a caller's pixel buffer", () => {
  test("receives the pictures that would have been read back, over several batches", async () => {
    const device = await testDevice();
    const options = { count: 5, batch: 2, steps: 3, seed: 11 };
    const { images } = await pipe.generate(options);
    const pixels = await buffer(5 * 16 * 16 * 4);
    const reads = device.counters.mapAsync;
    const result = await pipe.generate({ ...options, pixels });
    expect(device.counters.mapAsync - reads).toBe(3);
    expect(result.images).toEqual([]);
    expect(result.samples.data).toHaveLength(0);
    const bytes = new Uint8Array(await device.read(pixels, pixels.size));
    device.release(pixels);
    expect(bytes).toEqual(Uint8Array.from(images.flatMap(({ data }) => [...data])));
  });

  test("has to be large enough and writable", async () => {
    const small = await buffer(16 * 16 * 4 - 4);
    const closed = await buffer(16 * 16 * 4, GPUBufferUsage.STORAGE);
    await expect(pipe.generate({ steps: 1, pixels: small })).rejects.toThrow(UsageError);
    await expect(pipe.generate({ steps: 1, pixels: closed })).rejects.toThrow("COPY_DST");
    const device = await testDevice();
    for (const object of [small, closed]) device.release(object);
  });
});
