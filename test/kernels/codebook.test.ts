/** The codebook's nearest rows against f64, equal rows, and latents whose distances are small differences of large numbers. */
import { describe, expect, it } from "vitest";
import type { Node } from "../../src/kernels/operations/table.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { makeValue } from "../../src/runtime/values.ts";
import { type CodebookCase, caseName, codebookCases } from "../cases.ts";
import { codebook } from "../reference/codebook.ts";
import { tensorsOf } from "../reference/inputs.ts";
import { type RefTensor, tensor } from "../reference/tensor.ts";
import { constTarget, Inputs, rounded, runOps, targets } from "../support/gpu.ts";

async function lookup(x: RefTensor, table: RefTensor, target: Target, dtype: "f32" | "f16" = "f32") {
  const [n, h, w, c] = x.shape as [number, number, number, number];
  const inputs = new Inputs(target, dtype);
  const y = inputs.output("y", [h, w, c]);
  const indices = makeValue({ name: "indices", shape: [h, w], batched: true, dtype: "u32", storage: "buffer" });
  const param = { name: "quantize.embedding.weight", shape: table.shape };
  const state = inputs.add("x", x, { dtype: "f32", storage: "buffer" });
  const op: Node = { op: "lookup", label: "test", x: state, table: param, indices, y };
  const params = { [param.name]: table };
  const init = { target, batch: n, inputs: inputs.map, params, outputs: [y, indices], dtype };
  const [rows, numbers] = await runOps([op], init);
  return { y: rows as RefTensor, indices: numbers as RefTensor };
}

const random = (it: CodebookCase) => {
  const make = tensorsOf(caseName("codebook", it));
  return { x: make([it.n, it.h, it.w, it.c]), table: make([it.rows, it.c]) };
};

function check(it: CodebookCase, { x, table }: ReturnType<typeof random>, actual: Awaited<ReturnType<typeof lookup>>) {
  const expected = codebook({ x, table });
  const distance = (pixel: number, row: number) =>
    Array.from({ length: it.c }, (_, c) => (x.data[pixel * it.c + c]! - table.data[row * it.c + c]!) ** 2).reduce(
      (a, b) => a + b,
    );
  // Where two rows are equally near but for f32's rounding, either is right.
  const wrong = [...actual.indices.data].findIndex((row, pixel) => {
    const least = distance(pixel, expected.indices.data[pixel]!);
    return row >= it.rows || distance(pixel, row) > least * (1 + 2e-6);
  });
  expect(wrong).toBe(-1);
  return expected;
}

for (const { name, target } of [...(await targets()), { name: "shapes in the source", target: constTarget }])
  describe(`codebook (${name})`, () => {
    for (const shape of codebookCases)
      it(caseName("codebook", shape), async () => {
        const args = random(shape);
        const actual = await lookup(args.x, args.table, target);
        check(shape, args, actual);
        const rows = tensor(args.x.shape, (i) => {
          const row = actual.indices.data[Math.floor(i / shape.c)]!;
          return args.table.data[row * shape.c + (i % shape.c)]!;
        });
        expect(actual.y.data).toEqual(rows.data);
      });

    it("writes rows rounded to f16, chosen in f32", async () => {
      const shape = { n: 2, h: 3, w: 5, c: 3, rows: 50 };
      const args = random(shape);
      const actual = await lookup(args.x, args.table, target, "f16");
      const expected = codebook(args);
      expect(actual.indices.data).toEqual(expected.indices.data);
      expect(actual.y.data).toEqual(rounded(expected.y, "f16").data);
    });

    it("takes the first of equal rows", async () => {
      const rows = [5, 1, 3, 1, 3, 5, -7, 0];
      const table = tensor([rows.length, 3], (i) => rows[Math.floor(i / 3)]!);
      const x = tensor([1, 1, 6, 3], (i) => [1, 3, 5, 2, 0.75, -7][Math.floor(i / 3)]!);
      // 2 is as far from 1 as from 3.
      expect([...(await lookup(x, table, target)).indices.data]).toEqual([1, 2, 0, 1, 1, 6]);
    });

    it("tells rows apart that differ little and lie far from zero", async () => {
      // |x|² is near 3·10⁶: |x|² − 2x·e + |e|² in f32 would be a multiple of 0.25, these distances are below 10⁻³.
      const make = tensorsOf("far");
      const near = make([64, 3], { scale: 2 ** -7 });
      const table = tensor(near.shape, (i) => Math.fround(1000 + near.data[i]!));
      const x = tensor([1, 4, 16, 3], (i) => table.data[((Math.floor(i / 3) * 13) % 64) * 3 + (i % 3)]! + 2 ** -14);
      const { indices } = await lookup(x, table, target);
      expect([...indices.data]).toEqual(Array.from({ length: 64 }, (_, pixel) => (pixel * 13) % 64));
    });

    it("gives an image the same rows at any batch", async () => {
      const args = random({ n: 7, h: 5, w: 3, c: 6, rows: 37 });
      const all = (await lookup(args.x, args.table, target)).indices.data;
      const one = tensor([1, 5, 3, 6], args.x.data.subarray(4 * 90, 5 * 90));
      expect((await lookup(one, args.table, target)).indices.data).toEqual(all.subarray(4 * 15, 5 * 15));
    });
  });
