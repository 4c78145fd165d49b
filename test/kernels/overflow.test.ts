/** Numbers that f16 cannot hold, stored by every target: cut to the largest, and recorded under dispatch and step. */
import { describe, expect, it } from "vitest";
import { addKernel as add } from "../../src/kernels/operations/add.ts";
import { frameRecord } from "../../src/runtime/frame.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { arrayOf, createValueArray, uploadBuffer } from "../../src/runtime/memory.ts";
import { Program } from "../../src/runtime/program.ts";
import { makeValue } from "../../src/runtime/values.ts";
import { tensor } from "../reference/tensor.ts";
import { constTarget, readValue, targets, testDevice, uploadValue } from "../support/gpu.ts";

const half = (name: string, target: Target) =>
  makeValue({ name, shape: [1, 1, 8], batched: true, dtype: "f16", storage: target.storage });

/** Sums of b and zero, in f16, as the second of two dispatches; in a program whose step is 5. */
async function store(target: Target, numbers: readonly number[]) {
  const device = await testDevice();
  const f32 = (name: string) =>
    makeValue({ name, shape: [1, 1, 8], batched: true, dtype: "f32", storage: target.storage });
  const [a, b, fine, y] = [f32("a"), f32("b"), half("fine", target), half("y", target)];
  const lower = (label: string, other: typeof b, to: typeof y) =>
    add.lower(target, label, { a, b: other, y: to }, {}, { SCALE: 1 });
  const calls = [lower("small", a, fine), lower("large", b, y)];
  const data = tensor([1, 1, 1, 8], (i) => numbers[i] ?? 0).data;
  const arrays = new Map([
    [a, uploadValue(device, a, new Float32Array(8), 1)],
    [b, uploadValue(device, b, data, 1)],
    [fine, createValueArray(device, fine)],
    [y, createValueArray(device, y)],
  ]);
  const frame = uploadBuffer(device, "frame", frameRecord.pack([{ row: 5 }]));
  const program = await Program.create(device, { label: "test", calls, batch: 1, external: arrays, frame });
  const encoder = device.gpu.createCommandEncoder();
  program.encodeStepNumber(encoder);
  program.encode(encoder);
  device.submit([encoder.finish()]);
  const result = [...(await readValue(device, y, arrays.get(y) as never, 1)).data].slice(0, numbers.length);
  const overflows = await program.overflows();
  program.dispose();
  for (const { object } of [...arrays.values(), arrayOf(frame)]) device.release(object);
  return { result, overflows };
}

for (const { name, target } of [...(await targets()), { name: "shapes in the source", target: constTarget }])
  describe(`stores of f16 (${name})`, () => {
    it("cuts and records what is too large", async () => {
      const { result, overflows } = await store(target, [65536, -1e30, 1, 65520]);
      expect(result).toEqual([65504, -65504, 1, 65504]);
      expect(overflows).toEqual([{ layer: "large", step: 5 }]);
    });

    it("leaves alone what rounds to the largest", async () => {
      const { result, overflows } = await store(target, [65519, -65504, 65503]);
      expect(result).toEqual([65504, -65504, 65504]);
      expect(overflows).toEqual([]);
    });

    it("keeps what is no number, and says so", async () => {
      const { result, overflows } = await store(target, [Number.POSITIVE_INFINITY, 2]);
      expect(result).toEqual([Number.POSITIVE_INFINITY, 2]);
      expect(overflows).toEqual([{ layer: "large", step: 5 }]);
    });

    it("makes it infinite where a device has no room for the record", async () => {
      const { result, overflows } = await store({ ...target, storageBuffers: 0 }, [70000, -70000, 3]);
      expect(result).toEqual([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 3]);
      expect(overflows).toEqual([]);
    });
  });
