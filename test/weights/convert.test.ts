import { describe, expect, test } from "vitest";
import { folderSource } from "../../src/node/folder.ts";
import { openCheckpoint } from "../../src/weights/checkpoint.ts";
import { bf16ToF32, canDecode, decodeFloats, f16ToF32, f32ToF16 } from "../../src/weights/convert.ts";

const golden = (name: string) => new URL(`../golden/models/${name}`, import.meta.url).pathname;

/** A float16 by its definition, as a fraction of two integers: independent of the table's powers of two. */
function halfByDefinition(bits: number): number {
  const text = bits.toString(2).padStart(16, "0");
  const exponent = Number.parseInt(text.slice(1, 6), 2);
  const fraction = BigInt(`0b${text.slice(6)}`);
  const sign = text[0] === "1" ? -1 : 1;
  if (exponent === 31) return fraction === 0n ? sign * Infinity : Number.NaN;
  const numerator = exponent === 0 ? fraction << 1n : ((1n << 10n) | fraction) << BigInt(exponent);
  return sign * (Number(numerator) / Number(1n << 25n));
}

const allBits = Uint16Array.from({ length: 65536 }, (_, i) => i);

describe("float16", () => {
  test("every bit pattern has its value", () => {
    const values = f16ToF32(allBits);
    for (let i = 0; i < 65536; i++) expect(Object.is(values[i], halfByDefinition(i)), `0x${i.toString(16)}`).toBe(true);
  });

  test("every value keeps its bits, and NaN stays NaN", () => {
    const back = f32ToF16(f16ToF32(allBits));
    for (let i = 0; i < 65536; i++) {
      const isNaN16 = (i & 0x7c00) === 0x7c00 && (i & 0x3ff) !== 0;
      if (isNaN16) expect((back[i]! & 0x7c00) === 0x7c00 && (back[i]! & 0x3ff) !== 0).toBe(true);
      else expect(back[i]).toBe(i);
    }
  });

  test("rounds to nearest, ties to even, between all neighbours", () => {
    // The float32 halfway between two halves, and its float32 neighbours on either side.
    const words = new Uint32Array(1);
    const middle = new Float32Array(words.buffer);
    for (let low = 0; low < 0x7c00; low++) {
      // Beyond the largest finite half the next one would be 65536; infinity takes its place.
      const high = low === 0x7bff ? 65536 : halfByDefinition(low + 1);
      middle[0] = (halfByDefinition(low) + high) / 2;
      const tie = words[0]!;
      const around = new Float32Array(Uint32Array.of(tie - 1, tie, tie + 1).buffer);
      const even = low % 2 === 0 ? low : low + 1;
      expect([...f32ToF16(around)]).toEqual([low, even, low + 1]);
      expect([...f32ToF16(around.map((v) => -v))]).toEqual([low, even, low + 1].map((bits) => bits | 0x8000));
    }
  });

  test("extremes", () => {
    const values = Float32Array.of(0, -0, 65504, 65519.996, 65520, 1e30, -Infinity, 2 ** -25, 1e-45, -(2 ** -24));
    const bits = [0, 0x8000, 0x7bff, 0x7bff, 0x7c00, 0x7c00, 0xfc00, 0, 0, 0x8001];
    expect([...f32ToF16(values)]).toEqual(bits);
  });

  test("torch rounded a whole network to the same bits", async () => {
    const f32 = await openCheckpoint(folderSource(golden("ddpm")), "unet");
    const f16 = await openCheckpoint(folderSource(golden("ddpm_fp16")), "unet");
    expect(f16.tensors.size).toBe(f32.tensors.size);
    for (const name of f32.tensors.keys())
      expect(new Uint8Array(f32ToF16(await f32.read(name)).buffer)).toEqual(await f16.readBytes(name));
  });
});

describe("bfloat16", () => {
  test("is the upper half of a float32", () => {
    const values = bf16ToF32(allBits);
    const view = new DataView(new ArrayBuffer(4));
    for (let i = 0; i < 65536; i++) {
      view.setUint32(0, i * 65536);
      expect(Object.is(values[i], view.getFloat32(0))).toBe(true);
    }
  });

  test("a network that torch stored differs from its float32 twin by half a unit in the last place at most", async () => {
    const f32 = await openCheckpoint(folderSource(golden("ddpm")), "unet");
    const bf16 = await openCheckpoint(folderSource(golden("ddpm_bf16")), "unet");
    for (const name of f32.tensors.keys()) {
      const exact = await f32.read(name);
      const rounded = await bf16.read(name);
      expect(rounded.length).toBe(exact.length);
      const relative = exact.map((value, i) => Math.abs(rounded[i]! - value) / Math.abs(value));
      expect(Math.max(...relative)).toBeLessThanOrEqual(2 ** -8);
    }
  });
});

describe("decodeFloats", () => {
  const bytesOf = (array: ArrayBufferView) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

  test.each([
    ["F32", Float32Array.of(1.5, -0, 3e38), [1.5, -0, Math.fround(3e38)]],
    ["F64", Float64Array.of(0.1, 1e300, 1 + 2 ** -24), [Math.fround(0.1), Infinity, 1]],
    ["F16", Uint16Array.of(0x3c00, 0xc000, 1), [1, -2, 2 ** -24]],
    ["BF16", Uint16Array.of(0x3f80, 0xc000, 1), [1, -2, 2 ** -133]],
    ["I64", BigInt64Array.of(-1n, 999n, 2n ** 40n + 1n), [-1, 999, 2 ** 40]],
    ["I32", Int32Array.of(-7, 0, 2 ** 24 + 1), [-7, 0, 2 ** 24]],
    ["U8", Uint8Array.of(0, 7, 255), [0, 7, 255]],
  ] as const)("%s, at any alignment", (dtype, stored, expected) => {
    const bytes = bytesOf(stored);
    expect([...decodeFloats(dtype, bytes, new Float32Array(3))]).toEqual(expected);
    const shifted = new Uint8Array(bytes.length + 1);
    shifted.set(bytes, 1);
    expect([...decodeFloats(dtype, shifted.subarray(1), new Float32Array(3))]).toEqual(expected);
  });

  test("types without a conversion", () => {
    expect(canDecode("F16")).toBe(true);
    expect(canDecode("F8_E4M3")).toBe(false);
    expect(() => decodeFloats("BOOL", new Uint8Array(1), new Float32Array(1))).toThrow(RangeError);
  });
});
