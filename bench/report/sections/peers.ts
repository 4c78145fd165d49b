/** Engines side by side on the same workloads: one line per workload, one column per engine. */
import { type EngineName, engines, type Results, type Row } from "../../results.ts";
import { Notes, type Table } from "../document.ts";
import { spread, times } from "../format.ts";
import { measuredEngines, OURS, speedup, type Workload } from "../select.ts";

/** A column beside those of the engines, about the workload or our row of it. */
export interface Column {
  readonly head: string;
  readonly cell: (row: Row) => string | undefined;
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
 */
export function peersTable(
  results: Results,
  list: readonly Workload[],
  caption: string,
  leading: readonly Column[],
  trailing: readonly Column[] = [],
): PeersTable {
  const shown = measuredEngines(list);
  const notes = new Notes();
  const rows = list.map(({ row, byEngine }) => [
    ...leading.map(({ cell }) => cell(row) ?? ""),
    ...shown.map((engine) => engineCell(byEngine.get(engine), byEngine.get(OURS), notes)),
    ...trailing.map(({ cell }) => cell(row) ?? ""),
  ]);
  const heads = (columns: readonly Column[]) => columns.map(({ head }) => head);
  return {
    table: { caption, head: [...heads(leading), ...shown.map((e) => `${e}, ms`), ...heads(trailing)], rows },
    notes: [...notes.texts.map((text, i) => `[${i + 1}] ${text}`), ...absent(results, list, shown)],
  };
}

function engineCell(row: Row | undefined, ours: Row | undefined, notes: Notes): string {
  if (!row) return "not run";
  const mark = row.status === "ok" ? "" : ` ${notes.mark(`${row.status}: ${row.note ?? "no reason given"}`)}`;
  if (!row.ms) return `${row.status}${mark}`;
  const factor = ours && row !== ours ? speedup(ours, row) : undefined;
  return `${spread(row.ms)}${factor === undefined ? "" : ` (${times(factor)})`}${mark}`;
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
