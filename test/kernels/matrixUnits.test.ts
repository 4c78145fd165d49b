/**
 * Convolution on the matrix units of a real GPU, which software adapters lack: DDIM_TEST_MATRICES=1 asks for them. Emulated
 * ones are in conv2dMatrix.test.ts.
 */
import { describe, expect, it } from "vitest";
import { lowerOps } from "../../src/kernels/lower.ts";
import { targetFor } from "../../src/kernels/target.ts";
import { type Conv2dCase, caseName } from "../cases.ts";
import { nmse, type RefTensor, tensor } from "../reference/tensor.ts";
import { runOps, runProblem, testDevice } from "../support/gpu.ts";
import { convProblem, type Problem } from "../support/problems.ts";

const target = targetFor(await testDevice());
const same = [1, 1, 1, 1] as const;
const none = [0, 0, 0, 0] as const;
const silu = { affine: true, act: "silu" } as const;

const cases: readonly Conv2dCase[] = [
  { n: 1, h: 8, w: 8, c: 16, o: 16, k: 1, pad: none },
  { n: 1, h: 8, w: 8, c: 32, o: 64, k: 3, pad: same },
  { n: 2, h: 16, w: 16, c: 64, o: 64, k: 3, pad: same, ...silu, channelAdd: true },
  {
    ...{ n: 3, h: 7, w: 5, c: 32, c2: 16, o: 80, k: 3, pad: same, stride: 2 },
    ...{ ...silu, channelAdd: true, residual: true, outScale: 0.5 },
  },
  { n: 1, h: 46, w: 45, c: 48, o: 256, k: 1, pad: none, residual: true },
  { n: 2, h: 4, w: 4, c: 96, o: 48, k: 3, pad: same, upsample: true, channelAdd: true },
  { n: 1, h: 32, w: 32, c: 128, o: 128, k: 3, pad: same, ...silu, residual: true },
  { n: 1, h: 8, w: 8, c: 512, o: 256, k: 3, pad: same, ...silu },
  { n: 5, h: 13, w: 9, c: 64, o: 48, k: 3, pad: same, noBias: true },
  { n: 1, h: 64, w: 64, c: 320, o: 320, k: 3, pad: same, ...silu },
];

describe.skipIf(!target.matrix)("conv2d on matrix units", () => {
  it.each(cases.map((it) => ({ name: caseName("conv2d", it), shape: it })))("$name", async ({ shape }) => {
    const problem = convProblem(shape, target, "f16");
    const { calls } = lowerOps(problem.ops, target, "f16");
    expect(calls.map(({ variant }) => variant)).toContain("matrix");
    const result = await runProblem(problem, target, "f16");
    expect(nmse(result.data, problem.expected().data)).toBeLessThanOrEqual(2e-5);
  });

  it("gives an image the same bits in any batch", async () => {
    const shape: Conv2dCase = { n: 7, h: 7, w: 5, c: 64, o: 48, k: 3, pad: same, residual: true };
    const whole = convProblem(shape, target, "f16");
    const images = (t: RefTensor, from: number, n: number) => {
      const size = t.data.length / shape.n;
      return tensor([n, ...t.shape.slice(1)], t.data.subarray(from * size, (from + n) * size));
    };
    const run = async ({ ops, inputs, params, output }: Problem, batch: number) => {
      const [y] = await runOps(ops, { target, batch, inputs, params, outputs: [output], dtype: "f16" });
      return y as RefTensor;
    };
    const all = await run(whole, shape.n);
    for (const [n, from] of [
      [1, 0],
      [1, 5],
      [2, 4],
      [6, 1],
    ] as const) {
      const inputs = [...whole.inputs].map(([value, t]) => [value, value.batched ? images(t, from, n) : t] as const);
      const part = await run({ ...whole, inputs: new Map(inputs) }, n);
      const expected = images(all, from, n).data;
      expect(part.data.findIndex((v, i) => !Object.is(v, expected[i]))).toBe(-1);
    }
  });
});
