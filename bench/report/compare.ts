/**
 * Two results files against each other: what has moved beyond the noise. A time has moved when the quotient of the medians
 * is further from 1 than the noise of the runs (an engine against itself) and the spread of both measurements together.
 */
import type { EngineName, Result, Results, Spread } from "../results.ts";
import { relativeSpread } from "./format.ts";
import { runNoise } from "./select.ts";

export type Verdict = "faster" | "slower" | "within noise" | "only before" | "only after" | "not measured";

export interface Change {
  readonly id: string;
  readonly engine: EngineName;
  readonly verdict: Verdict;
  readonly before?: Spread;
  readonly after?: Spread;
  /** Time after over time before. */
  readonly factor?: number;
  /** What the factor may differ from 1 by without meaning anything. */
  readonly tolerance?: number;
  /** GPU bytes at the peak, where they differ. */
  readonly memory?: { readonly before: number; readonly after: number };
  /** Why there is no time on a side. */
  readonly note?: string;
}

export interface Repeatability {
  /** Networks' ratios to a peer that both files have. */
  readonly ratios: number;
  /** Largest difference between the files, as a share. */
  readonly worst: number;
  readonly worstId: string;
}

export interface Comparison {
  readonly changes: readonly Change[];
  /** The larger noise of both runs. */
  readonly noise: number;
  /** What makes the files incomparable, or nearly: other machines, other versions of the peers. */
  readonly warnings: readonly string[];
  /** Ratios to peers, which other load on the machine should leave alone. */
  readonly repeatability?: Repeatability;
}

export function compareResults(before: Results, after: Results): Comparison {
  const noise = Math.max(runNoise(before), runNoise(after));
  const [old, now] = [resultsByKey(before), resultsByKey(after)];
  const keys = new Set([...old.keys(), ...now.keys()]);
  return {
    changes: [...keys].map((key) => change(old.get(key), now.get(key), noise)),
    noise,
    warnings: differences(before, after),
    repeatability: repeatability(old, now),
  };
}

/** Points of growth that repeat a measurement of another group are left to that group. */
function resultsByKey({ rows }: Results): Map<string, Result> {
  const measurement = ({ engine, ms }: Result) => JSON.stringify([engine, ms]);
  const others = new Set(rows.filter(({ group }) => group !== "growth").map(measurement));
  return new Map(
    rows
      .filter((result) => result.group !== "growth" || !others.has(measurement(result)))
      .map((result) => [JSON.stringify([result.id, result.engine]), result]),
  );
}

function change(old: Result | undefined, now: Result | undefined, noise: number): Change {
  const { id, engine } = (now ?? old) as Result;
  const base = { id, engine, memory: memoryChange(old, now) };
  if (!old) return { ...base, verdict: "only after", after: now?.ms };
  if (!now) return { ...base, verdict: "only before", before: old.ms };
  // Device time where both have it: upload and read-back are no work of the engine's.
  const both = old.deviceMs && now.deviceMs;
  const [a, b] = both ? [old.deviceMs, now.deviceMs] : [old.ms, now.ms];
  const note = [old, now].find((result) => result.note)?.note;
  if (!a || !b) return { ...base, verdict: "not measured", before: a, after: b, note };
  const factor = b.median / a.median;
  const tolerance = noise + relativeSpread(a) + relativeSpread(b);
  const moved = Math.abs(Math.log(factor)) > Math.log1p(tolerance);
  const verdict = moved ? (factor < 1 ? "faster" : "slower") : "within noise";
  return { ...base, verdict, before: a, after: b, factor, tolerance, note };
}

function memoryChange(old: Result | undefined, now: Result | undefined): Change["memory"] {
  const [before, after] = [old?.peakGpuBytes, now?.peakGpuBytes];
  if (before === undefined || after === undefined || before === after) return undefined;
  return { before, after };
}

function differences(before: Results, after: Results): string[] {
  const warnings: string[] = [];
  const differ = (what: string, a: string | undefined, b: string | undefined) => {
    if (a !== b) warnings.push(`${what}: ${a ?? "none"} before, ${b ?? "none"} after`);
  };
  const [a, b] = [before.environment, after.environment];
  differ("other adapters", a.adapter.name, b.adapter.name);
  differ("other drivers", a.adapter.driver, b.adapter.driver);
  differ("other processors", `${a.cpu.model}, ${a.cpu.cores} cores`, `${b.cpu.model}, ${b.cpu.cores} cores`);
  for (const name of new Set([...Object.keys(a.packages), ...Object.keys(b.packages)]))
    differ(`other versions of ${name}`, a.packages[name], b.packages[name]);
  return warnings;
}

function repeatability(old: ReadonlyMap<string, Result>, now: ReadonlyMap<string, Result>): Repeatability | undefined {
  const found = [...now].flatMap(([key, result]) => {
    const [a, b] = [old.get(key)?.ratio, result.ratio];
    if (result.group !== "unet" || !a || !b || a.to !== b.to || b.to === result.engine) return [];
    const name = result.engine === "ddim-webgpu" ? result.id : `${result.id} (${result.engine})`;
    return [{ id: name, difference: Math.max(a.median / b.median, b.median / a.median) - 1 }];
  });
  const [worst] = found.sort((a, b) => b.difference - a.difference);
  return worst && { ratios: found.length, worst: worst.difference, worstId: worst.id };
}
