/** compileGraph: networks of one's own, from arrays to arrays. */
import { describe, expect, it } from "vitest";
import { DeviceError, UsageError, UseAfterDisposeError, WeightError } from "../../src/index.ts";
import { compileGraph, Graph, targetFor } from "../../src/kernels/index.ts";
import { testDevice } from "../support/gpu.ts";

const device = await testDevice();
const { storage } = targetFor(device);
/** Numbers that do not repeat, of about the same size. */
const numbers = (n: number, seed: number) => Float32Array.from({ length: n }, (_, i) => Math.sin(i * 12.9898 + seed));

/** Two layers: 3×3 with bias and SiLU, 6 channels to 5; then a sum of both that is 1×1. */
function twoLayers(dtype: "f32" | "f16" = "f32") {
  const graph = new Graph(dtype, storage);
  const x = graph.input("x", [5, 7, 6]);
  const spec = (name: string, shape: readonly number[]) => ({
    weight: { name: `${name}.weight`, shape },
    bias: { name: `${name}.bias`, shape: [shape[0] as number] },
    segments: [shape[0] as number],
  });
  const h = graph.conv2d("first", x, [spec("first", [5, 6, 3, 3])], { kernel: [3, 3], pad: [1, 1, 1, 1] });
  const y = graph.conv2d("second", graph.activation("first", h, "silu"), [spec("second", [3, 5, 1, 1])], {
    dtype: "f32",
  });
  graph.output(y);
  return graph;
}
const params = {
  "first.weight": numbers(5 * 6 * 9, 1),
  "first.bias": numbers(5, 2),
  "second.weight": numbers(15, 3),
  "second.bias": numbers(3, 4),
};

/** The same network in float64. */
function expected(x: Float32Array, images: number): Float64Array {
  const at = (data: Float32Array, i: number) => data[i] as number;
  const out = new Float64Array(images * 35 * 3);
  for (let n = 0; n < images; n++)
    for (let p = 0; p < 35; p++) {
      const hidden = [0, 1, 2, 3, 4].map((o) => {
        let sum = at(params["first.bias"], o);
        for (let tap = 0; tap < 9; tap++) {
          const [iy, ix] = [Math.floor(p / 7) + Math.floor(tap / 3) - 1, (p % 7) + (tap % 3) - 1];
          if (iy < 0 || ix < 0 || iy >= 5 || ix >= 7) continue;
          for (let c = 0; c < 6; c++)
            sum += at(params["first.weight"], (o * 6 + c) * 9 + tap) * at(x, ((n * 5 + iy) * 7 + ix) * 6 + c);
        }
        return sum / (1 + Math.exp(-sum));
      });
      for (let o = 0; o < 3; o++)
        out[(n * 35 + p) * 3 + o] =
          at(params["second.bias"], o) + hidden.reduce((s, v, i) => s + v * at(params["second.weight"], o * 5 + i), 0);
    }
  return out;
}

const nmse = (got: Float32Array, want: Float64Array) => {
  expect(got.length).toBe(want.length);
  let [error, power] = [0, 0];
  want.forEach((w, i) => {
    error += ((got[i] as number) - w) ** 2;
    power += w * w;
  });
  return error / power;
};

describe("compileGraph", () => {
  it.each([
    ["f32", 1, 1e-10],
    ["f32", 3, 1e-10],
    ["f16", 2, 2e-5],
  ] as const)("computes two layers in %s, %i images", async (dtype, images, tolerance) => {
    using network = await compileGraph(device, twoLayers(dtype), params, { images });
    const inputs = [numbers(images * 210, 5), numbers(images * 210, 6)];
    // Side by side: each has its own answer.
    const results = await Promise.all(inputs.map((x) => network.run({ x })));
    for (const [i, { second }] of results.entries())
      expect(nmse(second as Float32Array, expected(inputs[i] as Float32Array, images))).toBeLessThan(tolerance);
  });

  it("frees all that it took, when no evaluation is under way any more", async () => {
    const before = device.counters.liveBytes;
    const network = await compileGraph(device, twoLayers(), params);
    const result = network.run({ x: numbers(210, 5) });
    network.dispose();
    network.dispose();
    expect((await result).second).toHaveLength(105);
    expect(device.counters.liveBytes).toBe(before);
    await expect(network.run({ x: numbers(210, 5) })).rejects.toThrow(UseAfterDisposeError);
  });

  it("names parameters that are missing, too many, or of another size", async () => {
    const before = device.counters.liveBytes;
    const { "first.bias": _, ...fewer } = params;
    const wrong = { ...fewer, "third.bias": numbers(1, 1), "second.bias": numbers(4, 1) };
    const error = await compileGraph(device, twoLayers(), wrong).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(WeightError);
    expect(error).toMatchObject({ missing: ["first.bias"], unexpected: ["third.bias"] });
    expect((error as WeightError).mismatched).toEqual([{ name: "second.bias", expected: [3], actual: [4] }]);
    for (const nothing of [null, undefined, 5, { "first.weight": [1, 2] }])
      await expect(compileGraph(device, twoLayers(), nothing as never)).rejects.toThrow(WeightError);
    expect(device.counters.liveBytes).toBe(before);
  });

  it("refuses inputs that are missing, unknown or of another size", async () => {
    using network = await compileGraph(device, twoLayers(), params);
    const x = numbers(210, 5);
    for (const inputs of [null, {}, { x: [1] }, { x: numbers(211, 1) }, { x, z: x }])
      await expect(network.run(inputs as never)).rejects.toThrow(UsageError);
    expect((await network.run({ x })).second).toHaveLength(105);
  });

  it("refuses graphs without output, ends that are not f32, ends of one name, and other options", async () => {
    const empty = new Graph("f32", storage);
    empty.input("x", [1, 1, 1]);
    await expect(compileGraph(device, empty, {})).rejects.toThrow("no output");
    const half = new Graph("f16", storage);
    const sum = half.add("sum", half.input("x", [4, 4, 4]), half.input("y", [4, 4, 4]));
    half.output(sum);
    await expect(compileGraph(device, half, {})).rejects.toThrow("f16");
    const twins = new Graph("f32", storage);
    twins.output(twins.add("sum", twins.input("x", [4, 4, 4]), twins.input("x", [4, 4, 4])));
    await expect(compileGraph(device, twins, {})).rejects.toThrow("called x");
    for (const images of [0, 1.5, Number.NaN, 1e10])
      await expect(compileGraph(device, twoLayers(), params, { images })).rejects.toThrow(UsageError);
    await expect(compileGraph(device, twoLayers(), params, { batch: 2 } as never)).rejects.toThrow("batch");
  });

  it("says where f16 cannot hold a number", async () => {
    using network = await compileGraph(device, twoLayers("f16"), params);
    const error = await network.run({ x: numbers(210, 5).map((v) => v * 1e6) }).catch((e: unknown) => e);
    expect(String(error)).toContain("65504");
    expect(error).not.toBeInstanceOf(DeviceError);
  });
});
