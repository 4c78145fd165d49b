/** Engines side by side on the same workloads: one line per workload, one column per engine. */
import { type EngineName, engines, OURS, type Result, type Results } from "../../results.ts";
import { Notes, type Table } from "../document.ts";
import { spread, times } from "../format.ts";
import { measuredEngines, speedup, type Timing, type Workload } from "../select.ts";

/** A column beside those of the engines, about the workload or our result of it. */
export interface Column {
  readonly head: string;
  readonly cell: (result: Result) => string | undefined;
}

/**
 * A second table for the times without upload and read-back, of the workloads and engines that have them.
 * @returns none or one
 */
export function deviceTables(results: Results, list: readonly Workload[], leading: readonly Column[]): Table[] {
  const timed = list.filter(({ byEngine }) => [...byEngine.values()].some(({ deviceMs }) => deviceMs));
  if (!timed.length) return [];
  return [peersTable(results, timed, "On the device, without upload and read-back", leading, [], "deviceMs").table];
}

export interface PeersTable {
  readonly table: Table;
  readonly notes: readonly string[];
}

export const BRACKETS =
  "Medians in milliseconds, ± half the interquartile range; in brackets how many times as fast as that engine ddim-webgpu " +
  "is (the median over interleaved pairs).";

/**
 * @param leading - columns before the engines'
 * @param trailing - columns behind them
 * @param timing - which times the cells show
 */
export function peersTable(
  results: Results,
  list: readonly Workload[],
  caption: string,
  leading: readonly Column[],
  trailing: readonly Column[] = [],
  timing: Timing = "ms",
): PeersTable {
  const shown = measuredEngines(list, timing);
  const notes = new Notes();
  const lines = list.map(({ result, byEngine }) => [
    ...leading.map(({ cell }) => cell(result) ?? ""),
    ...shown.map((engine) => engineCell(byEngine.get(engine), byEngine.get(OURS), timing, notes)),
    ...trailing.map(({ cell }) => cell(result) ?? ""),
  ]);
  const heads = (columns: readonly Column[]) => columns.map(({ head }) => head);
  return {
    table: { caption, head: [...heads(leading), ...shown.map((e) => `${e}, ms`), ...heads(trailing)], lines },
    notes: [...notes.texts.map((text, i) => `[${i + 1}] ${text}`), ...absent(results, list, shown)],
  };
}

function engineCell(result: Result | undefined, ours: Result | undefined, timing: Timing, notes: Notes): string {
  if (!result) return "not run";
  // The first table of a section tells the reasons.
  const mark =
    result.status === "ok" || timing !== "ms"
      ? ""
      : ` ${notes.mark(`${result.status}: ${result.note ?? "no reason given"}`)}`;
  const time = result[timing];
  if (!time) return result.status === "ok" ? "not measured" : `${result.status}${mark}`;
  const factor = ours && result !== ours ? speedup(ours, result, timing) : undefined;
  return `${spread(time)}${factor === undefined ? "" : ` (${times(factor)})`}${mark}`;
}

/** Which engines have no column, and why. */
function absent(results: Results, list: readonly Workload[], shown: readonly EngineName[]): string[] {
  const reasons = new Map<EngineName, string | undefined>();
  for (const { engine, missing } of results.engines) reasons.set(engine, missing);
  for (const { engine, note } of list.flatMap(({ byEngine }) => [...byEngine.values()]))
    reasons.set(engine, reasons.get(engine) ?? note);
  const names = engines
    .filter((engine) => !shown.includes(engine))
    .map((engine) => `${engine} (${reasons.get(engine) ?? "not run on these workloads"})`);
  return names.length ? [`Not measured here: ${names.join(", ")}.`] : [];
}
