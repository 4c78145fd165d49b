/** A linear layer is a 1×1 convolution of one pixel per row. */
import { describe, expect, it } from "vitest";
import type { Target } from "../../src/runtime/kernel.ts";
import { caseName, type LinearCase, linearCases } from "../cases.ts";
import { nmse } from "../reference/tensor.ts";
import { constTarget, runProblem, targets } from "../support/gpu.ts";
import { linearProblem, type StoredDType } from "../support/problems.ts";

const TOLERANCE = { f32: 1e-10, f16: 2e-5 };

async function error(it: LinearCase, target: Target, dtype: StoredDType): Promise<number> {
  const problem = linearProblem(it, target, dtype);
  return nmse((await runProblem(problem, target, dtype)).data, problem.expected().data);
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
