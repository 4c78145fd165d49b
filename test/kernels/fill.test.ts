/** The constant affine map, as center_input_sample uses it. */
import { expect, it } from "vitest";
import type { Node } from "../../src/kernels/operations/table.ts";
import { tensorsOf } from "../reference/inputs.ts";
import { type RefTensor, tensor } from "../reference/tensor.ts";
import { constTarget, Inputs, runOps, targets } from "../support/gpu.ts";

const all = [...(await targets()), { name: "shapes in the source", target: constTarget }];
it.each(all)("fillAffine maps every channel of every image ($name)", async ({ target }) => {
  const x = tensorsOf("fill")([3, 2, 5, 6]);
  const inputs = new Inputs(target);
  const sources = [inputs.add("x", x)] as const;
  const [affine, y] = [inputs.output("affine", [2, 6]), inputs.output("y", [2, 5, 6])];
  const ops: Node[] = [
    { op: "fill", label: "fill", scale: 2, shift: -1, y: affine },
    { op: "apply", label: "apply", view: { sources, affine, act: "none", upsample: false }, pool: false, y },
  ];
  const [actual] = await runOps(ops, { target, batch: 3, inputs: inputs.map, outputs: [y] });
  const expected = tensor(x.shape, (i) => Math.fround(Math.fround(2 * (x.data[i] as number)) - 1));
  expect((actual as RefTensor).data).toEqual(expected.data);
});
