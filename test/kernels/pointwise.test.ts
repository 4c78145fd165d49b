/** Operations on one value against f64, on every target: padded channels, which part is which, large arguments. */
import { describe, expect, it } from "vitest";
import type { Target } from "../../src/runtime/kernel.ts";
import { caseName, type ShapeCase } from "../cases.ts";
import { nmse } from "../reference/tensor.ts";
import { constTarget, runProblem, targets } from "../support/gpu.ts";
import { type Pointwise, pointwiseRows } from "../support/pointwise.ts";
import { pointwiseProblem } from "../support/problems.ts";

const TOLERANCE = { f32: 1e-10, f16: 2e-5 };

async function error(op: Pointwise, it: ShapeCase & { scale?: number }, target: Target, dtype: "f32" | "f16") {
  const problem = pointwiseProblem(op)(it, target, dtype);
  return nmse((await runProblem(problem, target, dtype)).data, problem.expected().data);
}

for (const [op, { cases }] of pointwiseRows) {
  for (const { name, target } of await targets())
    describe(`${op} (${name})`, () => {
      for (const dtype of ["f32", "f16"] as const)
        for (const shape of cases)
          it(`${caseName(op, shape)} ${dtype}`, async () => {
            expect(await error(op, shape, target, dtype)).toBeLessThanOrEqual(TOLERANCE[dtype]);
          });

      it("is exact far from zero", async () => {
        const far = { n: 1, h: 9, w: 9, c: 8, c2: 0, scale: 20 };
        expect(await error(op, far, target, "f32")).toBeLessThanOrEqual(TOLERANCE.f32);
      });
    });

  it(`${op} (shapes in the source)`, async () => {
    expect(await error(op, { n: 2, h: 7, w: 5, c: 6, c2: 0 }, constTarget, "f32")).toBeLessThanOrEqual(TOLERANCE.f32);
  });
}
