/** (a + b)·SCALE, element by element. */
import { describe, expect, it } from "vitest";
import type { Node } from "../../src/kernels/operations/table.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { caseName, type ShapeCase, shapeCases } from "../cases.ts";
import { tensorsOf } from "../reference/inputs.ts";
import { nmse, type RefTensor, tensor } from "../reference/tensor.ts";
import { constTarget, Inputs, rounded, runOps, targets } from "../support/gpu.ts";

const TOLERANCE = { f32: 1e-10, f16: 2e-5 };

async function error({ n, h, w, c }: ShapeCase, target: Target, dtype: "f32" | "f16", scale = Math.SQRT1_2) {
  const make = tensorsOf(caseName("add", { n, h, w, c }));
  const [a, b] = [rounded(make([n, h, w, c]), dtype), rounded(make([n, h, w, c]), dtype)];
  const inputs = new Inputs(target, dtype);
  const y = inputs.output("y", [h, w, c]);
  const op: Node = { op: "add", label: "test", a: inputs.add("a", a), b: inputs.add("b", b), scale, y };
  const [actual] = await runOps([op], { target, batch: n, inputs: inputs.map, outputs: [y], dtype });
  const expected = tensor(a.shape, (i) => ((a.data[i] as number) + (b.data[i] as number)) * scale);
  return nmse((actual as RefTensor).data, expected.data);
}

for (const { name, target } of await targets())
  describe(`add (${name})`, () => {
    for (const dtype of ["f32", "f16"] as const)
      for (const shape of shapeCases)
        it(`${caseName("add", shape)} ${dtype}`, async () => {
          expect(await error(shape, target, dtype)).toBeLessThanOrEqual(TOLERANCE[dtype]);
        });
  });

it("add (shapes in the source)", async () => {
  for (const shape of shapeCases) expect(await error(shape, constTarget, "f32")).toBeLessThanOrEqual(TOLERANCE.f32);
});

it("covers every element where the grid folds into a second axis", async () => {
  // 34,375 workgroups of 32 threads; linearGrid folds at 32,768.
  const target = { ...constTarget, storage: "buffer", software: true } as const;
  expect(await error({ n: 1, h: 1100, w: 1000, c: 4, c2: 0 }, target, "f32", 1)).toBeLessThanOrEqual(TOLERANCE.f32);
});
