/** Single operations: against the peers and against what the machine allows. */
import type { Results } from "../../results.ts";
import type { Section } from "../document.ts";
import { giga, percent } from "../format.ts";
import { workloads, workTime } from "../select.ts";
import { BRACKETS, type Column, deviceTables, peersTable } from "./peers.ts";

export function kernelsSection(results: Results): Section {
  const list = workloads(results, "kernel");
  const leading: Column[] = [
    { head: "operation", cell: (row) => row.name },
    { head: "shape", cell: (row) => row.shape.join("×") },
    { head: "type", cell: (row) => row.dtype },
  ];
  const { table, notes } = peersTable(results, list, "Single operations, upload and read-back included", leading, [
    { head: "ours, GFLOP/s", cell: (row) => rate(row.flops, workTime(row)) },
    { head: "ours, GB/s", cell: (row) => rate(row.bytes, workTime(row)) },
    { head: "of roofline", cell: (row) => (row.roofline === undefined ? undefined : percent(row.roofline)) },
  ]);
  const paragraphs = [
    BRACKETS,
    "The roofline is what the measured copy bandwidth and multiply-add peak allow for the algorithm's operations and the " +
      "bytes that have to move; rates and shares are of the times on the device where there are such. Above 100 %: data stays in a cache, or the kernel saves operations.",
  ];
  return {
    id: "kernels",
    title: "Kernels and their roofline",
    paragraphs,
    tables: [table, ...deviceTables(results, list, leading)],
    notes,
  };
}

const rate = (work: number | undefined, ms: number | undefined) =>
  work === undefined || !ms ? undefined : giga(work / (ms / 1000));
