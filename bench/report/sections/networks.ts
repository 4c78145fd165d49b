/** UNet evaluations and whole samplers against the peers; where a UNet's time goes. */
import { bytes } from "../../../src/cli/table.ts";
import { type KernelShare, OURS, type Result, type Results } from "../../results.ts";
import type { Section, Table } from "../document.ts";
import { digits, giga, percent } from "../format.ts";
import { type KernelClass, kernelClass, kernelClasses, workloads } from "../select.ts";
import { BRACKETS, type Column, deviceTables, peersTable } from "./peers.ts";

const size: Column[] = [
  { head: "type", cell: (result) => result.dtype },
  { head: "batch", cell: (result) => String(result.batch) },
];

export function unetSection(results: Results): Section {
  const list = workloads(results, "unet");
  const leading: Column[] = [{ head: "network", cell: (result) => result.model ?? result.name }, ...size];
  const { table, notes } = peersTable(results, list, "One evaluation, upload and read-back included", leading, [
    { head: "ours, GPU time, ms", cell: (result) => (result.gpuMs === undefined ? undefined : digits(result.gpuMs)) },
    { head: "of roofline", cell: (result) => (result.roofline === undefined ? undefined : percent(result.roofline)) },
  ]);
  const tables = [table, ...deviceTables(results, list, leading)];
  return { id: "unet", title: "One UNet evaluation", paragraphs: [BRACKETS], tables, notes };
}

export const phases: Record<NonNullable<Result["phase"]>, string> = {
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
      { head: "network", cell: (result) => result.model ?? result.name },
      { head: "phase", cell: (result) => phases[result.phase ?? "warm"] },
      { head: "steps", cell: (result) => String(result.steps ?? "") },
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
  readonly result: Result;
  /** Milliseconds of GPU time. */
  readonly ms: Readonly<Record<KernelClass, number>>;
  readonly total: number;
}

/** Of every UNet evaluation whose kernels were timed. */
export function timeByClass({ rows }: Results): TimeByClass[] {
  return rows
    .filter((result) => result.group === "unet" && result.engine === OURS && result.kernels?.length)
    .map((result) => {
      const ms: Record<KernelClass, number> = { convolution: 0, normalisation: 0, attention: 0, linear: 0, other: 0 };
      for (const kernel of result.kernels as readonly KernelShare[]) ms[kernelClass(kernel.kernel)] += kernel.ms;
      return { result, ms, total: kernelClasses.reduce((sum, name) => sum + ms[name], 0) };
    });
}

export const describe = (result: Result) => `${result.model ?? result.name}, ${result.dtype}, batch ${result.batch}`;

export function classesSection(results: Results): Section {
  const shares = timeByClass(results);
  const tables: Table[] = [
    {
      caption: "GPU time of one evaluation by kind of kernel",
      head: ["evaluation", "GPU time, ms", ...kernelClasses],
      lines: shares.map(({ result, ms, total }) => [
        describe(result),
        digits(total),
        ...kernelClasses.map((name) => (ms[name] ? percent(ms[name] / total) : "0")),
      ]),
    },
    {
      caption: "The same by kernel",
      head: ["evaluation", "kernel", "calls", "ms", "share", "GFLOP/s", "GB/s", "of roofline"],
      lines: shares.flatMap(({ result, total }) =>
        (result.kernels as readonly KernelShare[]).map((k) => [
          describe(result),
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
        lines: measured.map((result) => [
          result.id,
          result.engine,
          sizeText(result.peakGpuBytes),
          sizeText(result.peakHostBytes),
        ]),
      },
    ],
  };
}

const sizeText = (count: number | undefined) => (count === undefined ? "" : bytes(count));
