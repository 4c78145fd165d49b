/** Physical storage and its way back to JavaScript. */
import { expect, it } from "vitest";
import { createArray, createValueArray, uploadBuffer } from "../../src/runtime/memory.ts";
import { makeValue, TEXTURE_WIDTH } from "../../src/runtime/values.ts";
import { testDevice } from "../support/gpu.ts";

it("uploads any view, also one that begins inside a buffer, and fills up to 16 bytes with zeros", async () => {
  const device = await testDevice();
  const bytes = Uint8Array.from({ length: 40 }, (_, i) => i);
  const buffer = uploadBuffer(device, "odd", bytes.subarray(3, 22));
  expect(buffer.size).toBe(32);
  expect([...new Uint8Array(await device.read(buffer, 32))]).toEqual([...bytes.subarray(3, 22), ...new Uint8Array(13)]);
  expect([...new Uint8Array(await device.read(buffer, 8, 8))]).toEqual([...bytes.subarray(11, 19)]);
  device.release(buffer);
  const empty = uploadBuffer(device, "empty", new Uint8Array(0));
  expect(empty.size).toBe(16);
  device.release(empty);
});

it("makes textures of whole rows and counts their bytes", async () => {
  const device = await testDevice();
  const before = device.counters.liveBytes;
  const value = makeValue({ name: "v", shape: [65, 64, 4], batched: true, dtype: "f16", storage: "texture" });
  const array = createValueArray(device, value, 2);
  expect(array.bytes).toBe(3 * TEXTURE_WIDTH * 8);
  expect(array.object).toMatchObject({ width: TEXTURE_WIDTH, height: 3, format: "rgba16float" });
  expect(device.counters.liveBytes).toBe(before + array.bytes);
  device.release(array.object);
  const buffer = createArray(device, "tiny", "buffer", "f32", 4);
  expect(buffer.object).toMatchObject({ size: 16 });
  device.release(buffer.object);
});

it.each([
  ["f32", 16],
  ["f16", 8],
] as const)("reads a texture of %s texels row by row", async (dtype, size) => {
  const device = await testDevice();
  const { liveBytes } = device.counters;
  const array = createArray(device, "t", "texture", dtype, 2 * TEXTURE_WIDTH * size);
  const words = Uint32Array.from({ length: (2 * TEXTURE_WIDTH * size) / 4 }, (_, i) => 0x3c00_0000 + i);
  const texture = array.object as GPUTexture;
  device.gpu.queue.writeTexture({ texture }, words, { bytesPerRow: TEXTURE_WIDTH * size }, [TEXTURE_WIDTH, 2]);
  for (const length of [words.length, 4, TEXTURE_WIDTH + 4])
    expect(new Uint32Array(await device.read(texture, 4 * length))).toEqual(words.subarray(0, length));
  device.release(texture);
  expect(device.counters.liveBytes).toBe(liveBytes);
});
