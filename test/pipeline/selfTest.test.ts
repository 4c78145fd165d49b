/** The self-test passes on a sound device, leaves nothing behind, and fails where the device computes wrongly. */
import { expect, it, vi } from "vitest";
import { selfTest } from "../../src/pipeline/selfTest.ts";
import type { Device } from "../../src/runtime/device.ts";
import { DeviceError } from "../../src/runtime/errors.ts";
import { testDevice } from "../support/gpu.ts";

async function collect(device: Device) {
  const results = [];
  for await (const result of selfTest(device)) results.push(result);
  return results;
}

it("passes here and leaves nothing allocated", async () => {
  const device = await testDevice();
  const { liveBytes, liveObjects } = device.counters;
  const results = await collect(device);
  expect(results.filter(({ ok }) => !ok)).toEqual([]);
  expect(results.map(({ name }) => name)).toEqual([
    "texture loads",
    "conv2d f32",
    "conv2d f16",
    "groupNorm",
    "attention",
    "Philox on the host",
    "starting noise",
    "DDIM step",
    "pixels",
  ]);
  expect(results.every(({ detail }) => detail.length > 0)).toBe(true);
  expect(device.counters).toMatchObject({ liveBytes, liveObjects });
});

it("fails every check of the GPU where results are not what they should be", async () => {
  const device = await testDevice();
  const read = vi.spyOn(device, "read").mockImplementation(async (_buffer, size) => new ArrayBuffer(size));
  const results = await collect(device).finally(() => read.mockRestore());
  expect(results.filter(({ ok }) => ok).map(({ name }) => name)).toEqual(["Philox on the host"]);
  expect(results.find(({ name }) => name === "conv2d f32")?.detail).toBe("NMSE 1.0e+0, at most 1e-10");
});

it("reports what is thrown as a failed check and goes on", async () => {
  const device = await testDevice();
  const { liveBytes, liveObjects } = device.counters;
  const submit = vi.spyOn(device, "submit").mockImplementation(() => {
    throw new DeviceError("lost", "the GPU device was lost: test");
  });
  const results = await collect(device).finally(() => submit.mockRestore());
  expect(results.filter(({ ok }) => !ok).map(({ detail }) => detail)).toEqual(
    Array.from({ length: 8 }, () => "the GPU device was lost: test"),
  );
  expect(device.counters).toMatchObject({ liveBytes, liveObjects });
});
