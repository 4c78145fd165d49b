/** Loading weights: what happens when it does not come to its end. What it computes is the matter of pack.test.ts. */
import { describe, expect, it } from "vitest";
import { loadWeights, type ParamPiece } from "../../src/kernels/load.ts";
import { bias, packed } from "../../src/kernels/weights.ts";
import { constTarget, testDevice } from "../support/gpu.ts";

const spec = (name: string) => ({
  weight: { name, shape: [8, 8, 3, 3] },
  bias: { name: `${name}.bias`, shape: [8] },
  segments: [8],
});

function weightsOf(names: readonly string[]) {
  const stored = { target: constTarget, dtype: "f32" } as const;
  return names.flatMap((name) => [
    packed(name, [{ weights: [spec(name)], kernel: [3, 3], segments: [8] }], 2, stored),
    bias(name, [spec(name)]),
  ]);
}

const decode = ({ bytes }: ParamPiece) => new Float32Array(bytes.slice().buffer);
const piece = (name: string, offset: number, total: number, count: number): ParamPiece => ({
  name,
  dtype: "f32",
  offset,
  total,
  bytes: new Uint8Array(count),
});
const WEIGHT = 8 * 8 * 9 * 4;

async function* ending(...pieces: (ParamPiece | Error)[]): AsyncGenerator<ParamPiece> {
  for (const it of pieces) {
    if (it instanceof Error) throw it;
    yield it;
  }
}

describe("loadWeights", () => {
  it("gives an array for every weight and keeps nothing else", async () => {
    const device = await testDevice();
    const before = { ...device.counters };
    const weights = weightsOf(["a", "b"]);
    const pieces = ["a", "b"].flatMap((name) => [piece(name, 0, WEIGHT, WEIGHT), piece(`${name}.bias`, 0, 32, 32)]);
    const arrays = await loadWeights(device, constTarget, weights, ending(...pieces), decode);
    expect([...arrays.keys()]).toEqual(expect.arrayContaining(weights.map(({ value }) => value)));
    expect(device.counters.liveObjects).toBe(before.liveObjects + 4);
    for (const { object } of arrays.values()) device.release(object);
    expect(device.counters.liveBytes).toBe(before.liveBytes);
  });

  it.each([
    ["in the middle of a tensor", [piece("a", 0, WEIGHT, 1024), new Error("cut off")], "cut off"],
    ["between tensors", [piece("a", 0, WEIGHT, WEIGHT), new Error("aborted")], "aborted"],
    [
      "before all tensors came",
      [piece("a", 0, WEIGHT, WEIGHT), piece("b", 0, WEIGHT, WEIGHT)],
      "internal: parameter a.bias was not streamed",
    ],
  ])("leaves nothing allocated when the stream ends %s", async (_, pieces, message) => {
    const device = await testDevice();
    const { liveBytes, liveObjects } = device.counters;
    const loading = loadWeights(device, constTarget, weightsOf(["a", "b"]), ending(...pieces), decode);
    await expect(loading).rejects.toThrow(message);
    expect(device.counters).toMatchObject({ liveBytes, liveObjects });
  });
});
