/** A whole run: limits, noise, every workload on every engine. */
import { mkdtempSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { UsageError } from "../../src/runtime/errors.ts";
import {
  type EngineInfo,
  type EngineName,
  type Limits,
  type Noise,
  OURS,
  engines as order,
  type Result,
  type Results,
  SCHEMA,
} from "../results.ts";
import { type ColdRounds, measureCold } from "./cold.ts";
import { type Engine, findEngines } from "./engines.ts";
import { describeEnvironment } from "./environment.ts";
import { kernelItems } from "./kernelWorkloads.ts";
import { Materials } from "./materials.ts";
import { type MeasureOptions, measureItem, measureNoise } from "./measure.ts";
import { EngineProcess } from "./protocol.ts";
import { type Extent, growthItems, type Item, isShipped, networkItems, samplerItems } from "./workloads.ts";

export interface RunInit {
  readonly extent: Extent;
  readonly engines: readonly EngineName[];
  /** For one workload on all engines, once they are warm. */
  readonly seconds: number;
  /** Only workloads whose id contains this. */
  readonly filter?: string;
  readonly adapter?: string;
  readonly command: string;
  readonly signal: AbortSignal;
  readonly onProgress: (text: string) => void;
}

const COLD_ROUNDS: Readonly<Record<Extent, ColdRounds>> = {
  quick: { "cold-empty-cache": 1, cold: 2 },
  normal: { "cold-empty-cache": 3, cold: 3 },
  full: { "cold-empty-cache": 3, cold: 5 },
};

/** Engines as fresh processes for some work, ended afterwards whatever happens. */
async function withProcesses<T>(
  engines: readonly Engine[],
  work: (processes: EngineProcess[]) => Promise<T>,
): Promise<T> {
  const processes = engines.map(({ name, command }) => new EngineProcess(name, command));
  try {
    return await work(processes);
  } finally {
    for (const process of processes) process.kill();
  }
}

/** The results of engines that were wanted and could not take part. */
const missingResults = ({ workload }: Item, info: readonly EngineInfo[], wanted: readonly EngineName[]): Result[] =>
  info.flatMap(({ engine, missing }) =>
    missing === undefined || !wanted.includes(engine)
      ? []
      : [{ ...workload, engine, status: "missing" as const, note: missing }],
  );

/** A measurement that is a point on an axis of growth is told there too. */
const onAxes = ({ axes = [], workload }: Item, results: readonly Result[]): Result[] =>
  workload.group === "growth"
    ? results.map((result) => ({ ...result, axis: axes[0] }))
    : [
        ...results,
        ...axes.flatMap((axis) =>
          results
            .filter(({ status }) => status === "ok")
            .map(
              (result): Result => ({
                ...result,
                id: `growth/${axis.name}/${axis.value}`,
                group: "growth",
                axis,
                kernels: undefined,
              }),
            ),
        ),
      ];

export async function runBenchmarks(init: RunInit): Promise<Results> {
  const { extent, signal, onProgress, filter } = init;
  const began = new Date();
  const start = performance.now();
  const load = loadavg()[0] ?? 0;
  const scratch = mkdtempSync(join(tmpdir(), "ddim-bench-"));
  try {
    onProgress("looking for engines");
    const { usable, info, adapter } = await findEngines(init.engines, init.adapter);
    const ours = usable.find(({ name }) => name === OURS) as Engine;
    const limits = await withProcesses(
      [ours],
      async ([own]): Promise<Limits> => (own as EngineProcess).call("limits", {}),
    );
    const materials = new Materials(
      join(scratch, "materials"),
      usable.some(({ name }) => name.startsWith("torch")),
    );
    const options: MeasureOptions = { materials, limits, seconds: init.seconds, signal, references: new Map() };
    const asked = (list: readonly Item[]) => list.filter(({ workload }) => !filter || workload.id.includes(filter));
    const results: Result[] = [];
    const skipped = (item: Item): boolean => {
      if (item.skip === undefined) return false;
      results.push({ ...item.workload, engine: OURS, status: "skipped", note: item.skip });
      return true;
    };
    const record = (item: Item, measured: readonly Result[]) => {
      const rank = ({ engine }: Result) => order.indexOf(engine);
      results.push(
        ...onAxes(
          item,
          [...measured].sort((a, b) => rank(a) - rank(b)),
        ),
        ...missingResults(item, info, init.engines),
      );
    };
    const elapsed = () => `${((performance.now() - start) / 1000).toFixed(0)} s`;

    const kernels = asked(kernelItems(extent, adapter.software));
    const networks = asked(await networkItems(extent, adapter.software));
    const warm = asked(await samplerItems(extent, adapter.software));
    const growth = asked(await growthItems(scratch));
    if (kernels.length + networks.length + warm.length + growth.length === 0)
      throw new UsageError("only", `--only ${filter}: no workload's id contains this`);
    const noise: Noise[] = [];
    const first = networks.find(({ skip, workload }) => skip === undefined && isShipped(workload.model));
    if (first) {
      onProgress(`noise: ${first.workload.id}`);
      noise.push(await withProcesses([ours, ours], (processes) => measureNoise(first, processes, options)));
    }
    await withProcesses(kernels.some(({ skip }) => skip === undefined) ? usable : [], async (processes) => {
      for (const item of kernels) {
        if (skipped(item)) continue;
        onProgress(`${elapsed()}: ${item.workload.id}`);
        record(item, await measureItem(item, processes, options));
      }
    });
    for (const item of [...networks, ...warm, ...growth]) {
      if (skipped(item)) continue;
      onProgress(`${elapsed()}: ${item.workload.id}`);
      record(item, await withProcesses(usable, (processes) => measureItem(item, processes, options)));
      if (!isShipped(item.workload.model)) materials.clear();
    }
    for (const item of warm.filter(({ skip, workload }) => skip === undefined && workload.steps === 10)) {
      onProgress(`${elapsed()}: ${item.workload.id.replace("warm", "cold")}`);
      const rounds = COLD_ROUNDS[extent];
      record({ ...item, axes: [] }, await measureCold(item, usable, { materials, scratch, rounds, signal }));
    }
    return {
      schema: SCHEMA,
      command: init.command,
      seconds: (performance.now() - start) / 1000,
      environment: describeEnvironment(adapter, began, load),
      limits,
      engines: info,
      noise,
      rows: results,
    };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
