/** An autoencoder's life on a device, what it refuses, and decoders that read a buffer and leave their image on the GPU. */
import { describe, expect, test } from "vitest";
import { Autoencoder } from "../../src/autoencoder/autoencoder.ts";
import { fromSampler } from "../../src/autoencoder/scaling.ts";
import { readBack } from "../../src/network/readback.ts";
import { folderSource } from "../../src/node/folder.ts";
import { openAutoencoder } from "../../src/node/model.ts";
import { ShapeError, UsageError, UseAfterDisposeError } from "../../src/runtime/errors.ts";
import { toChannelsLast } from "../../src/runtime/layout.ts";
import { uploadBuffer } from "../../src/runtime/memory.ts";
import { runPaced } from "../../src/runtime/pacer.ts";
import { nmse, randomTensor } from "../reference/tensor.ts";
import { testDevice } from "../support/gpu.ts";
import { goldenPath } from "../support/models.ts";

const open = (name: string) => openAutoencoder(folderSource(goldenPath(`autoencoders/${name}`)));

const random = (shape: readonly number[], seed: number) => ({
  shape,
  data: Float32Array.from(randomTensor(shape, seed).data),
});

test("weights are loaded half by half, once, and everything is freed", async () => {
  const device = await testDevice();
  const before = { ...device.counters };
  const autoencoder = new Autoencoder(await open("kl"), device);
  expect(autoencoder.bytes).toBe(0);
  const latents = random([3, 4, 3, 5], 1);
  const [first, second] = await Promise.all([autoencoder.decode(latents), autoencoder.decode(latents)]);
  expect(first.image).toEqual(second.image);
  const half = autoencoder.bytes;
  expect(half).toBeGreaterThan(0);
  expect(device.counters.liveBytes - before.liveBytes).toBe(half);
  await autoencoder.encode(random([1, 3, 9, 14], 2));
  expect(autoencoder.bytes).toBeGreaterThan(half);
  const loaded = autoencoder.bytes;
  await autoencoder.encode(random([1, 3, 9, 14], 2));
  expect(autoencoder.bytes).toBe(loaded);
  autoencoder.dispose();
  expect(device.counters.liveBytes).toBe(before.liveBytes);
  expect(device.counters.liveObjects).toBe(before.liveObjects);
  await expect(autoencoder.decode(latents)).rejects.toThrow(UseAfterDisposeError);
});

test("an abort ends the work and leaves nothing behind but the weights", async () => {
  const device = await testDevice();
  using autoencoder = new Autoencoder(await open("vq"), device);
  const latents = random([2, 3, 8, 8], 3);
  await autoencoder.decode(latents);
  const before = device.counters.liveBytes;
  const abort = new AbortController();
  const work = autoencoder.decode(random([64, 3, 8, 8], 4), { signal: abort.signal });
  abort.abort(new Error("enough"));
  await expect(work).rejects.toThrow("enough");
  expect(device.counters.liveBytes).toBe(before);
  const early = new Autoencoder(await open("vq"), device);
  await expect(early.encode(random([1, 3, 8, 8], 4), { signal: AbortSignal.abort(new Error("no")) })).rejects.toThrow(
    "no",
  );
  // The failure to load is not remembered.
  expect((await early.encode(random([1, 3, 8, 8], 4))).kind).toBe("vq");
  early.dispose();
});

describe("refuses", () => {
  test.each([
    [[1, 3, 8, 8], /decode: sample has shape \[1, 3, 8, 8\], expected \[N, 4, H, W\]/],
    [[4, 8, 8], /expected \[N, 4, H, W\]/],
    [[0, 4, 8, 8], /expected \[N, 4, H, W\]/],
  ])("latents of shape %j", async (shape, message) => {
    using autoencoder = new Autoencoder(await open("kl"), await testDevice());
    const work = autoencoder.decode(random(shape, 5));
    await expect(work).rejects.toThrow(ShapeError);
    await expect(work).rejects.toThrow(message);
  });

  test("data of another length", async () => {
    using autoencoder = new Autoencoder(await open("kl"), await testDevice());
    const work = autoencoder.encode({ shape: [1, 3, 8, 8], data: new Float32Array(5) });
    await expect(work).rejects.toThrow("sample has shape [5], expected 192 values");
  });

  test("to quantise without a codebook", async () => {
    using autoencoder = new Autoencoder(await open("kl"), await testDevice());
    await expect(autoencoder.decode(random([1, 4, 8, 8], 6), { quantize: true })).rejects.toThrow(UsageError);
  });
});

test.each([
  ["kl", 0.18215],
  ["vq", 4],
])("%s: a decoder reads the first images of a sampler's buffer, scaling them", async (name, factor) => {
  const device = await testDevice();
  const model = await open(name);
  using autoencoder = new Autoencoder(model, device);
  const { latent_channels: channels } = model.spec;
  const state = random([4, channels, 6, 7], 8);
  const buffer = uploadBuffer(device, "state", toChannelsLast(state.data, 4, channels, 42));
  const shape = { height: 6, width: 7, scale: 1 / factor, shift: 0.25 };
  const decoder = await autoencoder.decoder(shape, { images: 2, input: buffer });
  await runPaced(device, decoder.program);
  const image = await readBack(device, decoder.output.value, decoder.output.array, 2);
  decoder.dispose();
  const spec = { ...model.spec, scaling_factor: factor, shift_factor: 0.25 };
  const two = { shape: [2, channels, 6, 7], data: state.data.subarray(0, 2 * channels * 42) };
  const expected = await autoencoder.decode(fromSampler(spec, two));
  expect(image.shape).toEqual(expected.image.shape);
  expect(nmse(image.data, expected.image.data)).toBeLessThanOrEqual(1e-12);
  // The caller's buffer stays.
  expect(new Float32Array(await device.read(buffer, 16))[0]).toBe(state.data[0]);
  device.release(buffer);
});
