/** GEGLU against f64: which half is the gate, padded halves, large arguments. */
import { describe, expect, it } from "vitest";
import type { Node } from "../../src/kernels/operations/table.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { caseName, type ShapeCase, shapeCases } from "../cases.ts";
import { geglu } from "../reference/geglu.ts";
import { tensorsOf } from "../reference/inputs.ts";
import { nmse, type RefTensor } from "../reference/tensor.ts";
import { constTarget, Inputs, rounded, runOps, targets } from "../support/gpu.ts";

const TOLERANCE = { f32: 1e-10, f16: 2e-5 };

async function error({ n, h, w, c }: ShapeCase, target: Target, dtype: "f32" | "f16", scale = 1): Promise<number> {
  const x = rounded(tensorsOf(caseName("geglu", { n, h, w, c }))([n, h, w, 2 * c], { scale }), dtype);
  const inputs = new Inputs(target, dtype);
  const y = inputs.output("y", [h, w, c]);
  const op: Node = { op: "geglu", label: "test", x: inputs.add("x", x, { segments: [c, c] }), y };
  const [actual] = await runOps([op], { target, batch: n, inputs: inputs.map, outputs: [y], dtype });
  return nmse((actual as RefTensor).data, geglu(x).data);
}

for (const { name, target } of await targets())
  describe(`geglu (${name})`, () => {
    for (const dtype of ["f32", "f16"] as const)
      for (const shape of shapeCases)
        it(`${caseName("geglu", shape)} ${dtype}`, async () => {
          expect(await error(shape, target, dtype)).toBeLessThanOrEqual(TOLERANCE[dtype]);
        });

    it("is exact far from zero", async () => {
      expect(await error({ n: 1, h: 9, w: 9, c: 8, c2: 0 }, target, "f32", 20)).toBeLessThanOrEqual(TOLERANCE.f32);
    });
  });

it("geglu (shapes in the source)", async () => {
  expect(await error({ n: 2, h: 7, w: 5, c: 6, c2: 0 }, constTarget, "f32")).toBeLessThanOrEqual(TOLERANCE.f32);
});
