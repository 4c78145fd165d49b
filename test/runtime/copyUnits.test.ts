/** Rows of a value copied from anywhere in an array, as each step takes its own of the time embeddings. */
import { expect, test } from "vitest";
import { copyUnits, createValueArray } from "../../src/runtime/memory.ts";
import { makeValue } from "../../src/runtime/values.ts";
import { readValue, testDevice, uploadValue } from "../support/gpu.ts";

test.each([
  // Units of a row, rows per step, steps: within a line of a texture, across several, from and to its beginning.
  ["buffer", 5, 3, 4],
  ["texture", 5, 3, 4],
  ["texture", 1500, 2, 5],
  ["texture", 4096, 2, 3],
  ["texture", 5000, 2, 3],
] as const)("%s, %d units a row, %d rows of %d steps", async (storage, units, rows, steps) => {
  const device = await testDevice();
  const shape = [1, 1, 4 * units];
  const value = makeValue({ name: "rows", shape, batched: true, dtype: "f32", storage });
  const data = Float32Array.from({ length: 4 * units * rows * steps }, (_, i) => i);
  const all = uploadValue(device, value, data, rows * steps);
  const one = createValueArray(device, value, rows);
  for (let step = 0; step < steps; step++) {
    const encoder = device.gpu.createCommandEncoder();
    copyUnits(encoder, value, all, step * rows * units, one, rows * units);
    device.submit([encoder.finish()]);
    const { data: copied } = await readValue(device, value, one, rows);
    const size = 4 * units * rows;
    expect(Float32Array.from(copied)).toEqual(data.subarray(step * size, (step + 1) * size));
  }
  for (const { object } of [all, one]) device.release(object);
});
