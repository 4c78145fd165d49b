/** Single operations: against the peers and against what the machine allows. */
import type { Results } from "../../results.ts";
import type { Section } from "../document.ts";
import { giga, percent } from "../format.ts";
import { workloads, workTime } from "../select.ts";
import { BRACKETS, type Column, deviceTables, peersTable } from "./peers.ts";

export function kernelsSection(results: Results): Section {
  const list = workloads(results, "kernel");
  const leading: Column[] = [
    { head: "operation", cell: (result) => result.name },
    { head: "shape", cell: (result) => result.shape.join("×") },
    { head: "type", cell: (result) => result.dtype },
  ];
  const { table, notes } = peersTable(results, list, "Single operations, upload and read-back included", leading, [
    { head: "ours, GFLOP/s", cell: (result) => rate(result.flops, workTime(result)) },
    { head: "ours, GB/s", cell: (result) => rate(result.bytes, workTime(result)) },
    { head: "of roofline", cell: (result) => (result.roofline === undefined ? undefined : percent(result.roofline)) },
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
