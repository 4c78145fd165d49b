/** The oracles against torch (provenance: README.md here), and the helpers that every comparison trusts. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type Act, activation, erf } from "./activations.ts";
import { type AttentionArgs, attention } from "./attention.ts";
import { avgPool2 } from "./avgPool2.ts";
import { concat } from "./concat.ts";
import { type Conv2dArgs, conv2d } from "./conv2d.ts";
import { type DdimStepArgs, ddimStep } from "./ddimStep.ts";
import { type GroupNormArgs, groupNorm } from "./groupNorm.ts";
import { type LayerNormArgs, layerNorm } from "./layerNorm.ts";
import { type LinearArgs, linear } from "./linear.ts";
import { maxAbs, nmse, type RefTensor, randomTensor, tensor } from "./tensor.ts";
import { type TimestepEmbeddingArgs, timestepEmbedding } from "./timestepEmbedding.ts";
import { toRgba } from "./toRgba.ts";
import { upsample } from "./upsample.ts";

/** A fixture's arguments; the casts below say what each op's fixtures hold. */
type Args = Record<string, unknown>;
type Result = RefTensor | Record<string, RefTensor>;

const oracles: Record<string, (args: Args) => Result> = {
  conv2d: (a) => conv2d(a as unknown as Conv2dArgs),
  groupNorm: (a) => groupNorm(a as unknown as GroupNormArgs),
  layerNorm: (a) => layerNorm(a as unknown as LayerNormArgs),
  linear: (a) => linear(a as unknown as LinearArgs),
  attention: (a) => attention(a as unknown as AttentionArgs),
  activation: (a) => activation(a.x as RefTensor, a.act as Act),
  erf: (a) => tensor((a.x as RefTensor).shape, (i) => erf((a.x as RefTensor).data[i]!)),
  timestepEmbedding: (a) => timestepEmbedding(a as unknown as TimestepEmbeddingArgs),
  upsample: (a) => upsample(a.x as RefTensor),
  avgPool2: (a) => avgPool2(a.x as RefTensor),
  concat: (a) => concat(a.a as RefTensor, a.b as RefTensor),
  ddimStep: (a) => ({ ...ddimStep(a as unknown as DdimStepArgs) }),
};

/** JSON to tensors, at any depth. */
function revive(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  if ("shape" in value && "data" in value) return tensor(value.shape as number[], value.data as number[]);
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, revive(v)]));
}

const golden = (path: string) => readFileSync(new URL(`../golden/${path}`, import.meta.url));
const fixtures = JSON.parse(golden("torch/fixtures.json").toString()) as { op: string; args: Args; output: unknown }[];

describe("oracles agree with torch in float64", () => {
  it("covers every oracle", () => {
    expect(new Set(fixtures.map((f) => f.op))).toEqual(new Set(Object.keys(oracles)));
  });

  it.each(fixtures.map((f, i) => ({ ...f, i })))("$i $op", ({ op, args, output }) => {
    const parts = (r: Result) => ("data" in r ? { y: r as RefTensor } : r);
    const expected = parts(revive(output) as Result);
    const actual = parts(oracles[op]!(revive(args) as Args));
    expect(Object.keys(actual).sort()).toEqual(Object.keys(expected).sort());
    for (const [name, e] of Object.entries(expected)) {
      expect(actual[name]!.shape).toEqual(e.shape);
      const largest = maxAbs(e.data, new Float64Array(e.data.length));
      expect(maxAbs(actual[name]!.data, e.data)).toBeLessThanOrEqual(op === "erf" ? 1e-15 : 2e-14 * (1 + largest));
    }
  });
});

describe("toRgba", () => {
  it("gives diffusers' bytes, also where float64 or another rounding would not", () => {
    const file = golden("postprocess/uint8.safetensors");
    const start = 8 + Number(file.readBigUInt64LE());
    const header = JSON.parse(file.subarray(8, start).toString());
    const bytes = (name: string) => file.subarray(...header[name].data_offsets.map((o: number) => start + o));
    const sample = bytes("sample");
    const [n, h, w] = [2, 128, 4];
    const nhwc = tensor([n, h, w, 3], (i) => {
      const [c, pixel] = [i % 3, Math.floor(i / 3)];
      return sample.readFloatLE(4 * ((Math.floor(pixel / (h * w)) * 3 + c) * h * w + (pixel % (h * w))));
    });
    const rgba = toRgba(nhwc);
    expect([...rgba].filter((_, i) => i % 4 !== 3)).toEqual([...bytes("uint8_nhwc")]);
    expect([...rgba].filter((v, i) => i % 4 === 3 && v !== 255)).toEqual([]);
  });

  it("replicates a grey channel", () => {
    expect([...toRgba(tensor([1, 1, 2, 1], [-1, 0]))]).toEqual([0, 0, 0, 255, 128, 128, 128, 255]);
  });
});

describe("helpers", () => {
  it("randomTensor is deterministic, exact in f32, and normal", () => {
    const x = randomTensor([100, 100], 7, { scale: 2, mean: 5 });
    expect(randomTensor([100, 100], 7, { scale: 2, mean: 5 })).toEqual(x);
    expect(randomTensor([100, 100], 8, { scale: 2, mean: 5 }).data[0]).not.toBe(x.data[0]);
    expect(Float64Array.from(Float32Array.from(x.data))).toEqual(x.data);
    const mean = x.data.reduce((a, b) => a + b) / 1e4;
    expect(mean).toBeCloseTo(5, 1);
    expect(Math.sqrt(x.data.reduce((a, b) => a + (b - mean) ** 2) / 1e4)).toBeCloseTo(2, 1);
  });

  it("nmse and maxAbs measure, and never hide a NaN or a missing value", () => {
    expect(nmse([1, 2], [1, 2])).toBe(0);
    expect(nmse([0, 0], [0, 0])).toBe(0);
    expect(nmse([1, 0], [0, 0])).toBe(Number.POSITIVE_INFINITY);
    expect(nmse([3, 4.5], [3, 4])).toBe(0.01);
    expect(maxAbs([3, 4.5], [3, 4])).toBe(0.5);
    expect(nmse([Number.NaN, 4], [3, 4])).toBeNaN();
    expect(maxAbs([Number.NaN, 4], [3, 4])).toBeNaN();
    expect(() => nmse([1], [1, 2])).toThrow("1 values against 2");
    expect(() => maxAbs([1], [1, 2])).toThrow("1 values against 2");
  });

  it("tensor refuses a wrong number of values", () => {
    expect(() => tensor([2, 2], [1, 2, 3])).toThrow("[2, 2] was given 3 values");
  });
});
