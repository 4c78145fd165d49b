/** How logical arrays are stored. */
import { expect, it } from "vitest";
import { byteSize, channelGroups, channelPositions, makeValue, padded4, unitCount } from "../../src/runtime/values.ts";

const value = (shape: readonly number[], init: Partial<Parameters<typeof makeValue>[0]> = {}) =>
  makeValue({ name: "v", shape, batched: true, dtype: "f32", storage: "buffer", ...init });

it("pads every segment to whole vec4s", () => {
  expect(channelGroups([6, 10])).toBe(5);
  expect(channelPositions([3, 2, 4])).toEqual([0, 1, 2, 4, 5, 8, 9, 10, 11]);
  expect([1, 4, 5].map(padded4)).toEqual([4, 4, 8]);
});

it("is one segment unless said otherwise, and no two values are the same", () => {
  const [a, b] = [value([2, 3, 7]), value([2, 3, 7])];
  expect(a.segments).toEqual([7]);
  expect(a.id).not.toBe(b.id);
});

it("counts units and bytes at a batch size", () => {
  const x = value([2, 3, 7], { segments: [3, 4] });
  expect(unitCount(x, 5)).toBe(5 * 6 * 2);
  expect(byteSize(x, 5)).toBe(60 * 16);
  expect(byteSize({ ...x, dtype: "f16" }, 5)).toBe(60 * 8);
  expect(byteSize({ ...x, batched: false }, 5)).toBe(12 * 16);
  // u32 tables are stored element by element, and buffers end on 16 bytes.
  expect(byteSize(value([5], { dtype: "u32", batched: false }), 9)).toBe(32);
  // A texture holds whole rows of 4096 texels.
  expect(byteSize({ ...x, storage: "texture" }, 5)).toBe(4096 * 16);
  expect(byteSize(value([64, 64, 8], { storage: "texture", dtype: "f16" }), 1)).toBe(2 * 4096 * 8);
});
