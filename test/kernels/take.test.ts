/** Entries of tables in the orders that a network asks for, and a convolution that adds one per image. */
import { describe, expect, it } from "vitest";
import type { Node } from "../../src/kernels/operations/table.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { tensorsOf } from "../reference/inputs.ts";
import { nmse, type RefTensor, tensor } from "../reference/tensor.ts";
import { constTarget, Inputs, runOps, targets } from "../support/gpu.ts";

const B = 3;
const STEPS = 4;
const WIDTH = 6;

/** Entries that one dispatch over a stretch of `STEPS` steps of B images takes from the table. */
async function taken(target: Target, order: readonly number[]): Promise<number[][]> {
  const inputs = new Inputs(target);
  const y = inputs.output("y", [1, 1, WIDTH]);
  const given = { batched: false, storage: "buffer" } as const;
  const table = inputs.add(
    "table",
    tensor([10, WIDTH], (i) => i),
    given,
  );
  const node: Node = { op: "take", label: "test", table, order: orderOf(inputs, order), y };
  const [actual] = await runOps([node], { target, batch: STEPS * B, inputs: inputs.map, outputs: [y] });
  const { data } = actual as RefTensor;
  return Array.from({ length: STEPS * B }, (_, r) => [...data.subarray(r * WIDTH, (r + 1) * WIDTH)]);
}

const orderOf = (inputs: Inputs, order: readonly number[]) =>
  inputs.add("order", tensor([order.length], [...order]), { batched: false, storage: "buffer", dtype: "u32" });

const entriesOf = (indices: readonly number[]) =>
  indices.map((r) => Array.from({ length: WIDTH }, (_, c) => r * WIDTH + c));
const repeat = (pattern: readonly number[]) => Array.from({ length: STEPS }, () => pattern).flat();

for (const { name, target } of [...(await targets()), { name: "shapes in the source", target: constTarget }])
  describe(`take (${name})`, () => {
    it("by step", async () => {
      for (const order of [
        [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3],
        [5, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8],
      ])
        expect(await taken(target, order)).toEqual(entriesOf(order));
    });

    it("by image, and by label", async () => {
      for (const order of [repeat([0, 1, 2]), repeat([7, 0, 9])])
        expect(await taken(target, order)).toEqual(entriesOf(order));
    });

    it("a table of the checkpoint is read by label", async () => {
      const inputs = new Inputs(target);
      const y = inputs.output("y", [1, 1, 5]);
      const weight = tensorsOf("table")([4, 5]);
      const op: Node = {
        op: "take",
        label: "test",
        table: { name: "class_embedding.weight", shape: [4, 5] },
        order: orderOf(inputs, [3, 1]),
        y,
      };
      const params = { "class_embedding.weight": weight };
      const [actual] = await runOps([op], {
        target,
        batch: 2,
        inputs: inputs.map,
        params,
        outputs: [y],
      });
      expect([...(actual as RefTensor).data]).toEqual([
        ...weight.data.subarray(15, 20),
        ...weight.data.subarray(5, 10),
      ]);
    });

    it("a convolution adds its slice of the row of its image", async () => {
      const make = tensorsOf("embedded");
      const [x, weight, table] = [make([B, 2, 2, 4]), make([6, 4, 1, 1]), make([B, 9 + 6 + 2])];
      const inputs = new Inputs(target);
      const y = inputs.output("y", [2, 2, 6]);
      const op: Node = {
        op: "conv2d",
        label: "test",
        view: { sources: [inputs.add("x", x)], act: "none", upsample: false },
        weights: [{ weight: { name: "w", shape: [6, 4, 1, 1] }, segments: [6] }],
        kernel: [1, 1],
        stride: 1,
        pad: [0, 0, 0, 0],
        // Segments of 9, 6 and 2 channels are stored as 12, 8 and 4: the second begins at group 3.
        emb: { table: inputs.add("table", table, { segments: [9, 6, 2] }), group: 3 },
        scale: 1,
        y,
      };
      const [actual] = await runOps([op], {
        target,
        batch: B,
        inputs: inputs.map,
        params: { w: weight },
        outputs: [y],
      });
      const expected = tensor([B, 2, 2, 6], (i) => {
        const [o, pixel, image] = [i % 6, Math.floor(i / 6), Math.floor(i / 24)];
        let sum = table.data[image * 17 + 9 + o] as number;
        for (let c = 0; c < 4; c++) sum += (x.data[pixel * 4 + c] as number) * (weight.data[o * 4 + c] as number);
        return sum;
      });
      expect(nmse((actual as RefTensor).data, expected.data)).toBeLessThanOrEqual(1e-10);
    });
  });
