/** UNet evaluations and whole samplers against the peers; where a UNet's time goes. */
import { bytes } from "../../../src/cli/table.ts";
import { type KernelShare, OURS, type Results, type Row } from "../../results.ts";
import type { Section, Table } from "../document.ts";
import { digits, giga, percent } from "../format.ts";
import { type KernelClass, kernelClass, kernelClasses, workloads } from "../select.ts";
import { BRACKETS, type Column, deviceTables, peersTable } from "./peers.ts";

const size: Column[] = [
  { head: "type", cell: (row) => row.dtype },
  { head: "batch", cell: (row) => String(row.batch) },
];

export function unetSection(results: Results): Section {
  const list = workloads(results, "unet");
  const leading: Column[] = [{ head: "network", cell: (row) => row.model ?? row.name }, ...size];
  const { table, notes } = peersTable(results, list, "One evaluation, upload and read-back included", leading, [
    { head: "ours, GPU time, ms", cell: (row) => (row.gpuMs === undefined ? undefined : digits(row.gpuMs)) },
    { head: "of roofline", cell: (row) => (row.roofline === undefined ? undefined : percent(row.roofline)) },
  ]);
  const tables = [table, ...deviceTables(results, list, leading)];
  return { id: "unet", title: "One UNet evaluation", paragraphs: [BRACKETS], tables, notes };
}

export const phases: Record<NonNullable<Row["phase"]>, string> = {
  "cold-empty-cache": "cold start, no caches",
  cold: "cold start",
  warm: "warm",
};

export function samplerSection(results: Results): Section {
  const { table, notes } = peersTable(
    results,
    workloads(results, "sampler"),
    "Noise to images",
    [
      { head: "network", cell: (row) => row.model ?? row.name },
      { head: "phase", cell: (row) => phases[row.phase ?? "warm"] },
      { head: "steps", cell: (row) => String(row.steps ?? "") },
      ...size,
    ],
    [{ head: "ours, images/s", cell: ({ imagesPerSecond: n }) => (n === undefined ? undefined : digits(n)) }],
  );
  const loop =
    "The peers' loop runs the same schedule on the host, with typed arrays that are made once. A cold start is timed from " +
    "starting a process: ddim-webgpu's is its command line, up to the PNG; the peers load their network, sample and hand " +
    "over the pixels.";
  return { id: "sampler", title: "The whole sampler", paragraphs: [BRACKETS, loop], tables: [table], notes };
}

export interface TimeByClass {
  readonly row: Row;
  /** Milliseconds of GPU time. */
  readonly ms: Readonly<Record<KernelClass, number>>;
  readonly total: number;
}

/** Of every UNet evaluation whose kernels were timed. */
export function timeByClass({ rows }: Results): TimeByClass[] {
  return rows
    .filter((row) => row.group === "unet" && row.engine === OURS && row.kernels?.length)
    .map((row) => {
      const ms: Record<KernelClass, number> = { convolution: 0, normalisation: 0, attention: 0, linear: 0, other: 0 };
      for (const kernel of row.kernels as readonly KernelShare[]) ms[kernelClass(kernel.kernel)] += kernel.ms;
      return { row, ms, total: kernelClasses.reduce((sum, name) => sum + ms[name], 0) };
    });
}

export const describe = (row: Row) => `${row.model ?? row.name}, ${row.dtype}, batch ${row.batch}`;

export function classesSection(results: Results): Section {
  const shares = timeByClass(results);
  const tables: Table[] = [
    {
      caption: "GPU time of one evaluation by kind of kernel",
      head: ["evaluation", "GPU time, ms", ...kernelClasses],
      rows: shares.map(({ row, ms, total }) => [
        describe(row),
        digits(total),
        ...kernelClasses.map((name) => (ms[name] ? percent(ms[name] / total) : "0")),
      ]),
    },
    {
      caption: "The same by kernel",
      head: ["evaluation", "kernel", "calls", "ms", "share", "GFLOP/s", "GB/s", "of roofline"],
      rows: shares.flatMap(({ row, total }) =>
        (row.kernels as readonly KernelShare[]).map((k) => [
          describe(row),
          k.kernel,
          String(k.calls),
          digits(k.ms),
          percent(k.ms / total),
          giga(k.flops / (k.ms / 1000)),
          giga(k.bytes / (k.ms / 1000)),
          percent(k.roofline),
        ]),
      ),
    },
  ];
  const paragraphs = ["By timestamps, one compute pass per dispatch, which adds a little to each."];
  return { id: "classes", title: "Where the time goes", paragraphs, tables };
}

export function memorySection({ rows }: Results): Section {
  const measured = rows.filter(({ group, peakGpuBytes, peakHostBytes }) => {
    // Operations share their processes, whose peaks are therefore those of the largest so far.
    return (group === "unet" || group === "sampler") && (peakGpuBytes ?? peakHostBytes) !== undefined;
  });
  return {
    id: "memory",
    title: "Memory",
    paragraphs: ["GPU memory is counted by our engine alone; the largest resident set is that of the whole process."],
    tables: [
      {
        caption: "Peaks",
        head: ["workload", "engine", "GPU", "host"],
        rows: measured.map((row) => [row.id, row.engine, sizeText(row.peakGpuBytes), sizeText(row.peakHostBytes)]),
      },
    ],
  };
}

const sizeText = (count: number | undefined) => (count === undefined ? "" : bytes(count));
