/** What the report asks of a results file: its measurements by workload, and how two engines compare on one. */
import { type EngineInfo, type EngineName, engines, OURS, type Results, type Row } from "../results.ts";

/** One workload with the rows of every engine that it was meant for. */
export interface Workload {
  /** The row of our engine where there is one: what describes the workload. */
  readonly row: Row;
  readonly byEngine: ReadonlyMap<EngineName, Row>;
}

/** The workloads of a group in the order of the file. */
export function workloads({ rows }: Results, group: Row["group"]): Workload[] {
  const found = new Map<string, Map<EngineName, Row>>();
  for (const row of rows.filter((r) => r.group === group)) {
    const byEngine = found.get(row.id) ?? new Map<EngineName, Row>();
    found.set(row.id, byEngine.set(row.engine, row));
  }
  return [...found.values()].map((byEngine) => {
    const [first] = byEngine.values();
    return { row: byEngine.get(OURS) ?? (first as Row), byEngine };
  });
}

/** `ms` as a caller waits, with upload and read-back; `deviceMs` without, where an engine can keep data on the device. */
export type Timing = "ms" | "deviceMs";

/** Engines with at least one such time in these workloads, ours first. */
export const measuredEngines = (list: readonly Workload[], timing: Timing = "ms"): EngineName[] =>
  engines.filter((engine) => list.some(({ byEngine }) => byEngine.get(engine)?.[timing]));

/** Engines that could not be used, each with its reason. */
export const missingEngines = ({ engines }: Results): (EngineInfo & { missing: string })[] =>
  engines.filter((e): e is EngineInfo & { missing: string } => e.missing !== undefined);

/** Milliseconds without upload and read-back where they were measured, else all that a caller waits for. */
export const workTime = (row: Row): number | undefined => (row.deviceMs ?? row.ms)?.median;

/**
 * How many times as fast `row` is as `peer` on the same workload: from the ratios of interleaved pairs where both were
 * paired with the same engine, else from the medians.
 */
export function speedup(row: Row, peer: Row, timing: Timing = "ms"): number | undefined {
  // Pairs are of whole calls.
  if (timing !== "ms") return row[timing] && peer[timing] && peer[timing].median / row[timing].median;
  if (row.ratio && row.ratio.to === peer.engine) return row.ratio.median;
  if (row.ratio && peer.ratio && row.ratio.to === peer.ratio.to) return row.ratio.median / peer.ratio.median;
  return row.ms && peer.ms && peer.ms.median / row.ms.median;
}

/**
 * What a ratio may differ from 1 by, as a share and in either direction, without meaning anything: the median and the
 * quartiles of an engine against itself. 0 where that was not measured.
 */
export function runNoise({ noise }: Results): number {
  const distances = noise.flatMap(({ ratio: { p25, median, p75 } }) =>
    [p25, median, p75].map((r) => Math.abs(Math.log(r))),
  );
  return Math.expm1(Math.max(0, ...distances));
}

/** Kinds of work that a UNet's time is told apart by, from the kernel's name. */
export const kernelClasses = ["convolution", "normalisation", "attention", "linear", "other"] as const;
export type KernelClass = (typeof kernelClasses)[number];

/** @param kernel - a name as of `KernelShare`, such as `conv2d/fused_broadcast` or `groupNormStats_lanes` */
export function kernelClass(kernel: string): KernelClass {
  if (/norm/i.test(kernel)) return "normalisation";
  if (/attention|softmax/i.test(kernel)) return "attention";
  if (/conv|fused|gather_|pointwise|winograd/i.test(kernel)) return "convolution";
  return /linear|rows|matmul/i.test(kernel) ? "linear" : "other";
}
