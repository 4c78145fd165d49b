/** LayerNorm in every variant against f64. */
import { describe, expect, it } from "vitest";
import type { Node } from "../../src/kernels/operations/table.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { caseName, type LayerNormCase, layerNormCases } from "../cases.ts";
import { layerNormInputs } from "../reference/inputs.ts";
import { layerNorm } from "../reference/layerNorm.ts";
import { nmse, type RefTensor, tensor } from "../reference/tensor.ts";
import { constTarget, Inputs, rounded, runOps, targets } from "../support/gpu.ts";

const TOLERANCE = { f32: 1e-10, f16: 2e-5 };

/** Runs the rows of a case as the pixels of `batch` images. */
async function run(given: RefTensor, it: LayerNormCase, target: Target, dtype: "f32" | "f16", batch = 1) {
  const { gamma, beta, eps } = layerNormInputs(it);
  const x = tensor([batch, 1, given.data.length / it.c / batch, it.c], given.data);
  const inputs = new Inputs(target, dtype);
  const y = inputs.output("y", x.shape.slice(1));
  const param = (name: string) => ({ name, shape: [it.c] });
  const names = { gamma: param("gamma"), beta: param("beta") };
  const op: Node = { op: "layerNorm", label: "test", x: inputs.add("x", x), ...names, eps, y };
  const params = { gamma, beta };
  const [actual] = await runOps([op], { target, batch, inputs: inputs.map, params, outputs: [y], dtype });
  return actual as RefTensor;
}

async function error(it: LayerNormCase, target: Target, dtype: "f32" | "f16"): Promise<number> {
  const args = layerNormInputs(it);
  const x = rounded(args.x, dtype);
  return nmse((await run(x, it, target, dtype)).data, layerNorm({ ...args, x }).data);
}

for (const { name, target } of await targets())
  describe(`layerNorm (${name})`, () => {
    for (const dtype of ["f32", "f16"] as const)
      for (const shape of layerNormCases)
        it(`${caseName("layerNorm", shape)} ${dtype}`, async () => {
          expect(await error(shape, target, dtype)).toBeLessThanOrEqual(TOLERANCE[dtype]);
        });

    it("keeps precision where the mean is 10,000 times the deviation", async () => {
      expect(await error({ rows: 5, c: 318, mean: 10000 }, target, "f32")).toBeLessThanOrEqual(TOLERANCE.f32);
    });

    it("gives an image the same bits at any batch", async () => {
      const shape = { rows: 7 * 9, c: 38 };
      const { x } = layerNormInputs(shape);
      const all = (await run(x, shape, target, "f32", 7)).data;
      const part = tensor([9, 38], x.data.subarray(3 * 342, 4 * 342));
      expect((await run(part, shape, target, "f32")).data).toEqual(all.subarray(3 * 342, 4 * 342));
    });
  });

it("layerNorm (shapes in the source)", async () => {
  expect(await error({ rows: 7, c: 6 }, constTarget, "f32")).toBeLessThanOrEqual(TOLERANCE.f32);
});
