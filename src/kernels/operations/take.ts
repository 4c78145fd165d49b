/** Entries of a table in a given order: sinusoids by step, class vectors by image, a class's entry by its label. */
import type { Value } from "../../runtime/values.ts";
import { elementwise } from "../parts/elementwise.ts";
import { table as asTable, type ParamRef } from "../weights.ts";
import { defineOp } from "./operation.ts";

export const takeEntries = elementwise({
  name: "takeEntries",
  tensors: { table: "in R C", order: "in *", y: "out N H W C" },
  value: (k) => k.load("table", "order[i / C4] * C4 + i % C4"),
  cost: { flops: 0, bytes: 8 },
});

export const isParam = (table: Value | ParamRef): table is ParamRef => !("storage" in table);

export const take = defineOp({
  name: "take",
  /** @param order u32 [1] without a batch axis: which entry of the table each entry of the result is */
  build(graph, label, table: Value | ParamRef, order: Value) {
    return { table, order, y: graph.value(`${label}.take`, [1, 1, table.shape[1] as number]) };
  },
  reads: () => [],
  params: ({ table }) => (isParam(table) ? [table] : []),
  lower(lowering, { label, table, order, y }) {
    const tensors = { table: isParam(table) ? lowering.weight(asTable(table)) : table, order, y };
    lowering.calls.push(takeEntries.lower(lowering.target, label, tensors, {}));
  },
});
