/**
 * Packing of raw checkpoint weights, judged by the convolution that reads them: element types, odd channel counts, heads
 * padded to vec4, several tensors side by side, and the exact layout of conv2d/contract.ts once.
 */
import { describe, expect, it } from "vitest";
import type { ConvNode } from "../../src/kernels/conv2d/node.ts";
import { loadWeights, type ParamPiece, type RawDType } from "../../src/kernels/load.ts";
import { lowerOps } from "../../src/kernels/lower.ts";
import { isPacked, type WeightSpec } from "../../src/kernels/weights.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { bf16ToF32, f16ToF32, f32ToF16 } from "../../src/weights/convert.ts";
import { conv2d } from "../reference/conv2d.ts";
import { tensorsOf } from "../reference/inputs.ts";
import { nmse, type RefTensor, tensor } from "../reference/tensor.ts";
import { constTarget, Inputs, readValue, runCalls, targets, testDevice } from "../support/gpu.ts";

interface Raw {
  name: string;
  dtype: RawDType;
  bytes: Uint8Array;
  /** What the bytes mean. */
  values: RefTensor;
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) => new Uint8Array(buffer, byteOffset, byteLength);

/** A tensor as a checkpoint of that type stores it. */
function raw(name: string, t: RefTensor, dtype: RawDType): Raw {
  const f32 = Float32Array.from(t.data);
  if (dtype === "f32") return { name, dtype, bytes: bytesOf(f32), values: t };
  const words = new Uint32Array(f32.buffer);
  const half = dtype === "f16" ? f32ToF16(f32) : Uint16Array.from(words, (word) => word >>> 16);
  const back = dtype === "f16" ? f16ToF32(half) : bf16ToF32(half);
  return { name, dtype, bytes: bytesOf(half), values: tensor(t.shape, back) };
}

const decode = (piece: ParamPiece) => {
  const view = piece.bytes.slice().buffer;
  if (piece.dtype === "f32") return new Float32Array(view);
  return piece.dtype === "f16" ? f16ToF32(new Uint16Array(view)) : bf16ToF32(new Uint16Array(view));
};

/** Streams each parameter in pieces of at most `size` bytes. */
async function* pieces(raws: readonly Raw[], size: number): AsyncGenerator<ParamPiece> {
  for (const { name, dtype, bytes } of raws)
    for (let offset = 0; offset < bytes.length; offset += size)
      yield { name, dtype, offset, total: bytes.length, bytes: bytes.subarray(offset, offset + size) };
}

const spec = (weight: Raw, segments: readonly number[], bias?: Raw): WeightSpec => ({
  weight: { name: weight.name, shape: weight.values.shape },
  bias: bias && { name: bias.name, shape: bias.values.shape },
  segments,
});

function convOf(inputs: Inputs, x: RefTensor, segments: readonly number[], weights: readonly WeightSpec[]): ConvNode {
  const [height = 1, width = 1] = weights[0]?.weight.shape.slice(2) ?? [];
  const outputs = weights.flatMap((w) => w.segments);
  const [, h, w] = x.shape as [number, number, number];
  const pad = [height >> 1, width >> 1, height >> 1, width >> 1] as const;
  const source = inputs.add("x", x, { segments });
  return {
    op: "conv2d",
    label: "test",
    view: { sources: [source], act: "none", upsample: false },
    weights,
    kernel: [height, width],
    stride: 1,
    pad,
    scale: 1,
    y: inputs.output("y", [h, w, outputs.reduce((a, b) => a + b, 0)], { segments: outputs }),
  };
}

interface Case {
  target: Target;
  x: RefTensor;
  /** Segments of the input's channels. */
  segments: readonly number[];
  parts: readonly { weight: Raw; bias?: Raw; segments: readonly number[] }[];
  pieceBytes?: number;
}

/** NMSE of the convolution with packed weights against the one with the tensors concatenated on their outputs. */
async function error({ target, x, segments, parts, pieceBytes = 2 ** 20 }: Case): Promise<number> {
  const gpu = await testDevice();
  const inputs = new Inputs(target);
  const op = convOf(
    inputs,
    x,
    segments,
    parts.map((p) => spec(p.weight, p.segments, p.bias)),
  );
  const { calls, weights } = lowerOps([op], target, "f32");
  const raws = parts.flatMap((p) => [p.weight, ...(p.bias ? [p.bias] : [])]);
  const arrays = await loadWeights(gpu, target, weights, pieces(raws, pieceBytes), decode);
  const [actual] = await runCalls(
    calls,
    { target, batch: x.shape[0] as number, inputs: inputs.map, outputs: [op.y] },
    arrays,
  );
  for (const { object } of arrays.values()) gpu.release(object);
  const [, i, kh = 1, kw = 1] = parts[0]!.weight.values.shape as number[];
  const outputs = op.y.shape[2] as number;
  const joined = parts.flatMap((p) => [...p.weight.values.data]);
  const biases = parts.flatMap((p) => [
    ...(p.bias?.values.data ?? new Float64Array(p.weight.values.shape[0] as number)),
  ]);
  const weight = tensor([outputs, i as number, kh, kw], joined);
  const expected = conv2d({ x, weight, bias: tensor([outputs], biases), stride: 1, pad: op.pad });
  return nmse((actual as RefTensor).data, expected.data);
}

for (const { name, target } of [...(await targets()), { name: "shapes in the source", target: constTarget }])
  describe(`packWeights (${name})`, () => {
    for (const dtype of ["f32", "f16", "bf16"] as const)
      it(`${dtype} words, odd channel counts and an odd number of values`, async () => {
        const make = tensorsOf(`pack ${dtype}`);
        const weight = raw("w", make([5, 3, 3, 3]), dtype);
        const bias = raw("b", make([5]), dtype);
        const x = make([2, 4, 5, 3]);
        expect(await error({ target, x, segments: [3], parts: [{ weight, bias, segments: [5] }] })).toBeLessThanOrEqual(
          1e-10,
        );
      });

    it("pads heads on the input and on the output side", async () => {
      const make = tensorsOf("heads");
      const x = make([2, 3, 3, 12]);
      const parts = [{ weight: raw("w", make([10, 12]), "f32"), bias: raw("b", make([10]), "f32"), segments: [5, 5] }];
      expect(await error({ target, x, segments: [6, 6], parts })).toBeLessThanOrEqual(1e-10);
    });

    it("puts q, k and v side by side, each of another type, one without bias", async () => {
      const make = tensorsOf("qkv");
      const x = make([2, 4, 4, 12]);
      const parts = (["f32", "f16", "bf16"] as const).map((dtype, i) => ({
        weight: raw(`w${i}`, make([12, 12]), dtype),
        bias: i === 1 ? undefined : raw(`b${i}`, make([12]), dtype),
        segments: [6, 6],
      }));
      expect(await error({ target, x, segments: [12], parts })).toBeLessThanOrEqual(1e-10);
    });

    it("joins parameters that arrive in pieces, and fills several blocks of lanes", async () => {
      const make = tensorsOf("pieces");
      const x = make([1, 3, 3, 7]);
      // 70 output channels: three blocks of 8 lanes, the last one not full.
      const parts = [
        { weight: raw("w", make([70, 7, 3, 3]), "f16"), bias: raw("b", make([70]), "f32"), segments: [70] },
      ];
      expect(await error({ target, x, segments: [7], parts, pieceBytes: 1000 })).toBeLessThanOrEqual(1e-10);
    });
  });

it("lays texels out as (block·taps + tap)·positions + position, lanes innermost", async () => {
  const gpu = await testDevice();
  const lanes = 2;
  const target: Target = { shapes: "uniform", storage: "buffer", lanes, software: true };
  const [o, i, taps] = [9, 6, 3];
  const value = (out: number, c: number, tap: number) => 1 + (out * i + c) * taps + tap;
  const weight = raw(
    "w",
    tensor([o, i, 1, taps], (at) => 1 + at),
    "f32",
  );
  const inputs = new Inputs(target);
  const op = convOf(inputs, tensor([1, 1, 4, i], 0), [4, 2], [spec(weight, [5, 4])]);
  const { weights } = lowerOps([op], target, "f32");
  const packed = weights.find(isPacked);
  if (!packed) throw new Error("no packed weights");
  expect(packed.form.block).toBe(lanes);
  const arrays = await loadWeights(gpu, target, weights, pieces([weight], 64), decode);
  const { data } = await readValue(gpu, packed.value, arrays.get(packed.value)!, 1);
  for (const { object } of arrays.values()) gpu.release(object);

  // Input channels 0..5 of segments [4, 2] sit at positions 0..5 of 8; outputs of segments [5, 4] in groups 0, 1 and 2.
  const outputs = [0, 1, 2, 3, 4, -1, -1, -1, 5, 6, 7, 8];
  const positions = 8;
  for (let group = 0; group < 3; group++)
    for (let tap = 0; tap < taps; tap++)
      for (let position = 0; position < positions; position++) {
        const texel = ((Math.floor(group / lanes) * taps + tap) * positions + position) * lanes + (group % lanes);
        const expected = [0, 1, 2, 3].map((j) => {
          const out = outputs[group * 4 + j] as number;
          return out < 0 || position >= i ? 0 : value(out, position, tap);
        });
        expect([...data.subarray(texel * 4, texel * 4 + 4)]).toEqual(expected);
      }
});
