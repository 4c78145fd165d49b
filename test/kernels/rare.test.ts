/** Operations that few networks have against f64, in every variant. */
import { describe, expect, it } from "vitest";
import type { Target } from "../../src/runtime/kernel.ts";
import { caseName, type RareCase } from "../cases.ts";
import { nmse } from "../reference/tensor.ts";
import { constTarget, runProblem, targets } from "../support/gpu.ts";
import { rareProblem } from "../support/problems.ts";
import { type RareName, rareNames, rareRows } from "../support/rare.ts";

const TOLERANCE = { f32: 1e-10, f16: 2e-5 };

async function error(op: RareName, it: RareCase, target: Target, dtype: "f32" | "f16") {
  const problem = rareProblem(op)(it, target, dtype);
  return nmse((await runProblem(problem, target, dtype)).data, problem.expected().data);
}

const all = [...(await targets()), { name: "shapes in the source", target: constTarget }];
for (const op of rareNames)
  for (const { name, target } of all)
    describe(`${op} (${name})`, () => {
      for (const dtype of ["f32", "f16"] as const)
        for (const shape of rareRows[op].cases)
          it(`${caseName(op, shape)} ${dtype}`, async () => {
            expect(await error(op, shape, target, dtype)).toBeLessThanOrEqual(TOLERANCE[dtype]);
          });
    });
