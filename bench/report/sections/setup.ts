/** Where and how was measured: machine, engines with their settings, checks of the outputs, noise. */
import { bytes } from "../../../src/cli/table.ts";
import type { EngineInfo, Result, Results } from "../../results.ts";
import type { Section, Table } from "../document.ts";
import { digits, giga } from "../format.ts";

export function machineSection(results: Results): Section {
  const { environment: e, limits } = results;
  const { adapter, cpu } = e;
  const lines: [string, string | undefined][] = [
    ["Command", `${results.command} (${digits(results.seconds)} s)`],
    ["Date", e.date],
    ["Version", e.commit ? `${e.version}, commit ${e.commit}` : e.version],
    ["Adapter", `${adapter.name}${adapter.software ? ", a processor playing the GPU" : ""}`],
    ["Driver", [adapter.vendor, adapter.driver].filter(Boolean).join(", ")],
    ["Copy bandwidth", `${giga(limits.copy)} GB/s, measured in this run`],
    ["Multiply-add peak", `${giga(limits.fma)} GFLOP/s, measured in this run`],
    ["Processor", `${cpu.model}, ${cpu.cores} cores, ${bytes(e.memory)} of memory`],
    ["System", `${e.os}, Node ${e.node}`],
    ["Packages", list(e.packages)],
    ["Load", `${digits(e.load.start, 2)} when the run began, ${digits(e.load.end, 2)} when it ended`],
  ];
  return {
    id: "machine",
    title: "Machine",
    paragraphs: [],
    tables: [
      {
        caption: "Where the numbers come from",
        head: ["what", "value"],
        lines: lines.map(([name, value]) => [name, value ?? ""]),
      },
    ],
  };
}

const list = (values: EngineInfo["settings"]) =>
  Object.entries(values)
    .map(([name, value]) => (value === true ? name : value === false ? `no ${name}` : `${name} ${value}`))
    .join(", ");

export function enginesSection({ engines, rows, noise }: Results): Section {
  return {
    id: "engines",
    title: "Engines",
    paragraphs: [
      "All engines run the same network with the same weights and inputs, in alternation, and every output is compared " +
        "with the others' before anything is timed. Times include upload and read-back for every engine; where data can " +
        "stay on the device, that time is given beside.",
    ],
    points: noise.map(
      ({ id, engine, ratio }) =>
        `Noise: ${engine} against itself on ${id} gives a ratio of ${digits(ratio.median, 4)} ` +
        `(quartiles ${digits(ratio.p25, 4)} to ${digits(ratio.p75, 4)}, ${ratio.samples} pairs).`,
    ),
    tables: [
      {
        caption: "Engines and their settings",
        head: ["engine", "version", "settings"],
        lines: engines.map((e) => [e.engine, e.version ?? "", e.missing ? `missing: ${e.missing}` : list(e.settings)]),
      },
      checksTable(rows),
    ],
  };
}

/** Worst error of each engine, by what it was checked against. */
function checksTable(results: readonly Result[]): Table {
  const checks = new Map<string, { result: Result; count: number; worst: number }>();
  for (const result of results) {
    if (result.nmse === undefined) continue;
    const key = JSON.stringify([result.engine, result.dtype, result.verifiedAgainst]);
    const { count, worst } = checks.get(key) ?? { count: 0, worst: 0 };
    checks.set(key, { result, count: count + 1, worst: Math.max(worst, result.nmse) });
  }
  return {
    caption: "Outputs, checked before timing",
    head: ["engine", "type", "compared with", "workloads", "worst NMSE"],
    lines: [...checks.values()].map(({ result, count, worst }) => [
      result.engine,
      result.dtype,
      result.verifiedAgainst ?? "",
      String(count),
      worst === 0 ? "0" : worst.toExponential(1),
    ]),
  };
}
