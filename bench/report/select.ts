/** What the report asks of a results file: its measurements by workload, and how two engines compare on one. */
import { type EngineInfo, type EngineName, engines, OURS, type Result, type Results } from "../results.ts";

/** One workload with the results of every engine that it was meant for. */
export interface Workload {
  /** The result of our engine where there is one: what describes the workload. */
  readonly result: Result;
  readonly byEngine: ReadonlyMap<EngineName, Result>;
}

/** The workloads of a group in the order of the file. */
export function workloads({ rows }: Results, group: Result["group"]): Workload[] {
  const found = new Map<string, Map<EngineName, Result>>();
  for (const result of rows.filter((r) => r.group === group)) {
    const byEngine = found.get(result.id) ?? new Map<EngineName, Result>();
    found.set(result.id, byEngine.set(result.engine, result));
  }
  return [...found.values()].map((byEngine) => {
    const [first] = byEngine.values();
    return { result: byEngine.get(OURS) ?? (first as Result), byEngine };
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
export const workTime = (result: Result): number | undefined => (result.deviceMs ?? result.ms)?.median;

/**
 * How many times as fast `result` is as `peer` on the same workload: from the ratios of interleaved pairs where both were
 * paired with the same engine, else from the medians.
 */
export function speedup(result: Result, peer: Result, timing: Timing = "ms"): number | undefined {
  // Pairs are of whole calls.
  if (timing !== "ms") return result[timing] && peer[timing] && peer[timing].median / result[timing].median;
  if (result.ratio && result.ratio.to === peer.engine) return result.ratio.median;
  if (result.ratio && peer.ratio && result.ratio.to === peer.ratio.to) return result.ratio.median / peer.ratio.median;
  return result.ms && peer.ms && peer.ms.median / result.ms.median;
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
