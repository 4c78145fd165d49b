/**
 * Embedding rows. The time-embedding table has one row per (step, image): row r = step·B + image with B =
 * frame.images and steps counted from frame.first. `gatherRows` picks for each row a row of a source table: by step (sinusoids of the
 * schedule), by image (per-image timesteps, class vectors) or by the image's class label.
 */
import { defineKernel, type Flags, LINEAR_INDEX, linearGrid, mainLinear } from "../../runtime/kernel.ts";
import type { Value } from "../../runtime/values.ts";
import { wgsl } from "../../runtime/wgsl.ts";
import type { ParamRef } from "../recipes.ts";
import { defineOp } from "./operation.ts";

export interface RowFlags extends Flags {
  by: "step" | "image" | "label";
}

const ROW: Record<RowFlags["by"], string> = {
  step: "r / frame.images + frame.first",
  image: "r % frame.images",
  label: "labels[r % frame.images]",
};

export const gatherRows = defineKernel<RowFlags>({
  name: "gatherRows",
  tensors: { table: "in R C", labels: "in? *", y: "out N H W C" },
  frame: true,
  variants: [
    {
      name: "direct",
      workgroup: (target) => (target.software ? 32 : 64),
      grid: (d, batch, wg) => linearGrid(batch * (d.C4 as number), wg),
      wgsl: (k) => wgsl`
${k.header}
${mainLinear(k.workgroup)} {
  ${k.prelude}
  let i = ${LINEAR_INDEX};
  if (i >= N * C4) { return; }
  let r = i / C4;
  let row = ${ROW[k.flags.by]};
  ${k.store("y", "i", k.load("table", "row * C4 + i % C4"))}
}`,
    },
  ],
  cost: (d, batch) => ({ flops: 0, bytes: 32 * batch * (d.C4 as number) }),
});

export const isParam = (table: Value | ParamRef): table is ParamRef => !("storage" in table);

export const rows = defineOp({
  name: "rows",
  build(graph, label, by: RowFlags["by"], table: Value | ParamRef, labels?: Value) {
    const y = graph.value(`${label}.rows`, [1, 1, table.shape[1] as number]);
    return { by, table, labels, y };
  },
  reads: () => [],
  params: ({ table }) => (isParam(table) ? [table] : []),
  lower({ target, calls, recipes }, { label, by, table, labels, y }) {
    const tensors = { table: isParam(table) ? recipes.table(table) : table, labels, y };
    calls.push(gatherRows.lower(target, label, tensors, { by }));
  },
});
