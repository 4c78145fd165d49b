/** A linear layer is a 1×1 convolution of one pixel per row. */
import { describe, expect, it } from "vitest";
import type { FusedOp } from "../../src/runtime/fold.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { caseName, type LinearCase, linearCases } from "../cases.ts";
import { linearInputs } from "../reference/inputs.ts";
import { linear } from "../reference/linear.ts";
import { nmse, type RefTensor, tensor } from "../reference/tensor.ts";
import { constTarget, Inputs, rounded, runOps, targets } from "../support/gpu.ts";

const TOLERANCE = { f32: 1e-10, f16: 2e-5 };

async function error(it: LinearCase, target: Target, dtype: "f32" | "f16"): Promise<number> {
  const { m, k, o } = it;
  const args = linearInputs(it);
  const x = rounded(args.x, dtype);
  const weight = rounded(args.weight, dtype);
  const inputs = new Inputs(target, dtype);
  const y = inputs.output("y", [1, 1, o]);
  const op: FusedOp = {
    op: "conv",
    label: "linear",
    view: { sources: [inputs.add("x", tensor([m, 1, 1, k], x.data))], act: "none", upsample: false },
    // The matrix as checkpoints store it, [O, K].
    weights: [{ weight: { name: "w", shape: [o, k] }, bias: args.bias && { name: "b", shape: [o] }, segments: [o] }],
    kernel: [1, 1],
    stride: 1,
    pad: [0, 0, 0, 0],
    scale: 1,
    y,
  };
  const params = { w: weight, b: args.bias };
  const [actual] = await runOps([op], { target, batch: m, inputs: inputs.map, params, outputs: [y], dtype });
  return nmse((actual as RefTensor).data, linear({ x, weight, bias: args.bias }).data);
}

for (const { name, target } of await targets())
  describe(`linear (${name})`, () => {
    for (const dtype of ["f32", "f16"] as const)
      for (const shape of linearCases)
        it(`${caseName("linear", shape)} ${dtype}`, async () => {
          expect(await error(shape, target, dtype)).toBeLessThanOrEqual(TOLERANCE[dtype]);
        });
  });

it("linear (shapes in the source)", async () => {
  expect(await error({ m: 35, k: 13, o: 3 }, constTarget, "f32")).toBeLessThanOrEqual(TOLERANCE.f32);
});
