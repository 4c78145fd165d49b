/** Tiles cut out of a whole, and put together again with faded overlaps, against f64. */
import { describe, expect, it } from "vitest";
import { spans } from "../../src/autoencoder/tiles.ts";
import { blendTile, cutTile } from "../../src/kernels/tiles.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { makeValue } from "../../src/runtime/values.ts";
import { tensorsOf } from "../reference/inputs.ts";
import { nmse, type RefTensor, tensor } from "../reference/tensor.ts";
import { blend } from "../reference/tiles.ts";
import { constTarget, Inputs, runCalls, targets } from "../support/gpu.ts";

const cases = [
  // Two by two; a single row of tiles; three by three with a last tile that repeats most of the one before.
  { n: 2, h: 14, w: 14, c: 3, side: 8 },
  { n: 1, h: 5, w: 23, c: 4, side: 8 },
  { n: 1, h: 15, w: 17, c: 5, side: 8 },
  { n: 7, h: 21, w: 9, c: 1, side: 12 },
];

async function pieces({ n, h, w, c, side }: (typeof cases)[number], target: Target) {
  const [rows, columns] = [spans(h, side), spans(w, side)];
  const [th, tw] = [Math.min(h, side), Math.min(w, side)];
  const make = tensorsOf(`tiles ${[n, h, w, c, side].join()}`);
  const x = make([n, h, w, c]);
  const inputs = new Inputs(target);
  const whole = inputs.add("x", x, { storage: "buffer" });
  const y = makeValue({ name: "y", shape: [h, w, c], batched: true, dtype: "f32", storage: "buffer" });
  const places = rows.flatMap((row) => columns.map((column) => ({ row, column })));
  const given = places.map(() => make([n, th, tw, c]));
  const cuts = places.map(({ row, column }, i) => {
    const tile = inputs.output(`cut ${i}`, [th, tw, c]);
    const call = cutTile.lower(target, "cut", { x: whole, tile }, {}, { TOP: row.at, LEFT: column.at });
    return { tile, call };
  });
  const blends = places.map(({ row, column }, i) => {
    const tile = inputs.add(`tile ${i}`, given[i] as RefTensor);
    const scalars = {
      TOP: row.at,
      LEFT: column.at,
      Y0: row.first,
      X0: column.first,
      ABOVE: row.before,
      BELOW: row.after,
      BEFORE: column.before,
      AFTER: column.after,
    };
    return blendTile.lower(target, "blend", { tile, y }, {}, scalars);
  });
  const calls = [...cuts.map(({ call }) => call), ...blends];
  const outputs = [...cuts.map(({ tile }) => tile), y];
  const results = await runCalls(calls, { target, batch: n, inputs: inputs.map, outputs });
  const expected = cuts.map((_, k) => {
    const { row, column } = places[k] as (typeof places)[number];
    return tensor([n, th, tw, c], (i) => {
      const [pixel, channel] = [Math.floor(i / c), i % c];
      const [image, r, q] = [Math.floor(pixel / (th * tw)), Math.floor(pixel / tw) % th, pixel % tw];
      return x.data[((image * h + row.at + r) * w + column.at + q) * c + channel]!;
    });
  });
  return { actual: results, expected: [...expected, blend(given, rows, columns, side / 4)] };
}

for (const { name, target } of [...(await targets()), { name: "shapes in the source", target: constTarget }])
  describe(`tiles (${name})`, () => {
    for (const shape of cases)
      it(`${shape.h} × ${shape.w} in tiles of ${shape.side}`, async () => {
        const { actual, expected } = await pieces(shape, target);
        expected.forEach((e, i) => {
          expect(actual[i]?.shape).toEqual(e.shape);
          expect(nmse((actual[i] as RefTensor).data, e.data)).toBeLessThanOrEqual(i < expected.length - 1 ? 0 : 1e-12);
        });
      });
  });
