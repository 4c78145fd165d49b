import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { openSafetensors } from "../../src/weights/checkpoint.ts";
import { type EncodableTensor, encodeSafetensors } from "../../src/weights/encode.ts";
import { memorySource } from "./memory-source.ts";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

describe("encodeSafetensors", () => {
  test("writes the layout of the format, byte by byte", () => {
    const file = encodeSafetensors(
      {
        b: { dtype: "U8", shape: [3], data: Uint8Array.of(7, 8, 9) },
        a: { dtype: "F32", shape: [1, 2], data: Float32Array.of(1, -2) },
      },
      { format: "pt" },
    );
    const json =
      '{"__metadata__":{"format":"pt"},' +
      '"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}}';
    const padded = json.padEnd(Math.ceil(json.length / 8) * 8);
    expect([...file.subarray(0, 8)]).toEqual([padded.length, 0, 0, 0, 0, 0, 0, 0]);
    expect(text(file.subarray(8, 8 + padded.length))).toBe(padded);
    expect([...file.subarray(8 + padded.length)]).toEqual([0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0, 7, 8, 9]);
  });

  test("does not depend on the order of the keys, and puts wide elements first", () => {
    const tensors: [string, EncodableTensor][] = [
      ["bytes", { dtype: "U8", shape: [1], data: Uint8Array.of(1) }],
      ["half", { dtype: "F16", shape: [1], data: Uint16Array.of(1) }],
      ["label", { dtype: "I64", shape: [1], data: BigInt64Array.of(-1n) }],
      ["a", { dtype: "I32", shape: [1], data: Int32Array.of(-1) }],
    ];
    const file = encodeSafetensors(Object.fromEntries(tensors));
    expect(encodeSafetensors(Object.fromEntries([...tensors].reverse()))).toEqual(file);
    const names = [...text(file).matchAll(/"(\w+)":\{/g)].map((match) => match[1]);
    expect(names).toEqual(["label", "a", "half", "bytes"]);
  });

  test("what is written is read again", async () => {
    const floats = fc.float32Array({ maxLength: 40 });
    const named = fc.dictionary(
      fc.string({ unit: "grapheme" }).filter((name) => name !== "__metadata__" && name !== "__proto__"),
      floats,
    );
    await fc.assert(
      fc.asyncProperty(named, fc.dictionary(fc.stringMatching(/^[a-z]+$/), fc.string()), async (data, metadata) => {
        const tensors = Object.fromEntries(
          Object.entries(data).map(([name, values]) => [
            name,
            { dtype: "F32" as const, shape: [1, values.length], data: values },
          ]),
        );
        const file = encodeSafetensors(tensors, metadata);
        const read = await openSafetensors(memorySource({ f: file }), "f");
        expect([...read.tensors.keys()].sort()).toEqual(Object.keys(data).sort());
        expect(read.metadata).toEqual(metadata);
        for (const [name, values] of Object.entries(data)) {
          expect(read.info(name).shape).toEqual([1, values.length]);
          expect(read.info(name).start % 4).toBe(0);
          expect(await read.read(name)).toEqual(values);
        }
      }),
    );
  });

  test("a view into a larger buffer is written without its surroundings", async () => {
    const data = Float32Array.of(1, 2, 3, 4).subarray(1, 3);
    const file = encodeSafetensors({ x: { dtype: "F32", shape: [2], data } });
    const read = await openSafetensors(memorySource({ f: file }), "f");
    expect([...(await read.read("x"))]).toEqual([2, 3]);
  });

  test("refuses a shape that the data does not have", () => {
    expect(() => encodeSafetensors({ x: { dtype: "F32", shape: [2, 2], data: new Float32Array(3) } })).toThrow(
      "encodeSafetensors: x has shape [2, 2], expected 3 elements",
    );
  });
});
