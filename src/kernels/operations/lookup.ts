/**
 * Nearest entry of a codebook: index = argmin_k Σ_c (x_c − e_kc)², y = e_index. Squared differences are summed as they
 * are, since |x|² − 2x·e + |e|² cancels where x is near an entry, which is where it matters. Of equally near entries the first
 * wins. Channels that only pad x and the codebook must be zero in both.
 */
import { ShapeError } from "../../runtime/errors.ts";
import { defineKernel } from "../../runtime/kernel.ts";
import type { Value } from "../../runtime/values.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import { inGrid } from "../parts/threads.ts";
import { table as asTable, type ParamRef } from "../weights.ts";
import { hwc } from "./node.ts";
import { defineOp } from "./operation.ts";

export const codebookLookup = defineKernel({
  name: "codebookLookup",
  tensors: { x: "in N H W C", table: "in K C", indices: "out N H W", y: "out N H W C" },
  variants: inGrid(["H W", "N"], {
    body: (k) => wgsl`
  let pixel = id.y * H * W + id.x;
  var nearest = 0u;
  var least = 3.4e38;
  for (var entry = 0u; entry < K; entry++) {
    var distance = 0.0;
    for (var c = 0u; c < C4; c++) {
      let d = ${k.load("x", "pixel * C4 + c")} - ${k.load("table", "entry * C4 + c")};
      distance += dot(d, d);
    }
    if (distance < least) { least = distance; nearest = entry; }
  }
  indices[pixel] = nearest;
  for (var c = 0u; c < C4; c++) { ${k.store("y", "pixel * C4 + c", k.load("table", "nearest * C4 + c"))} }`,
  }),
  cost(d, batch) {
    const pixels = batch * (d.H as number) * (d.W as number);
    const width = (d.C4 as number) * 4;
    return {
      flops: 3 * pixels * (d.K as number) * width,
      bytes: 4 * (width * (2 * pixels + (d.K as number)) + pixels),
    };
  },
});

/** The nearest entry of `table` (by squared distance, the first of equals) to the channels of every pixel, and its number. */
export const lookup = defineOp({
  name: "lookup",
  /** @param indices where the number goes, u32 [H, W] */
  build(graph, label, x: Value, table: ParamRef, indices: Value) {
    const [, , c] = hwc(x);
    if (table.shape[1] !== c)
      throw new ShapeError(label, "input", `[H, W, ${table.shape[1]}] to fit ${table.name}`, x.shape);
    return { x, table, indices, y: graph.value(label, x.shape) };
  },
  reads: ({ x }) => [x],
  params: ({ table }) => [table],
  lower(lowering, { label, x, table, indices, y }) {
    lowering.calls.push(
      codebookLookup.lower(lowering.target, label, { x, table: lowering.weight(asTable(table)), indices, y }, {}),
    );
  },
});
