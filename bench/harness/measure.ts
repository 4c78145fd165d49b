/**
 * One workload on every engine: opened, compared, warmed up, then measured in turns (A B C A B C …), so that whatever
 * slows the machine slows all of them. Ratios are taken turn by turn.
 */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { KernelTotal } from "../../src/runtime/profiler.ts";
import { roofline } from "../limits.ts";
import { type EngineName, type KernelShare, type Limits, type Noise, OURS, type Result } from "../results.ts";
import { nmse, pairRatios, spread } from "../stats.ts";
import type { Materials } from "./materials.ts";
import type { EngineProcess, Job, RunMode } from "./protocol.ts";
import type { Item } from "./workloads.ts";

export interface MeasureOptions {
  readonly materials: Materials;
  readonly limits: Limits;
  /** For all engines together, once they are warm. */
  readonly seconds: number;
  readonly signal: AbortSignal;
  /** Results of f32 that those of f16 are compared with. */
  readonly references: Map<string, Float32Array>;
}

/** Runs per measurement grow until one takes this long. */
const MEASURE_MS = 60;
const MIN_ROUNDS = 3;
const NOISE_ROUNDS = 8;
/**
 * Between two turns. Threads of onnxruntime's CPU provider spin for some 40 ms after a run, on a processor that the next
 * engine should have.
 */
const REST_MS = 60;
/** Who is asked first what the right numbers are. */
const REFERENCES: readonly EngineName[] = ["onnxruntime-cpu", "torch-eager", "onnxruntime-webgpu", OURS];

interface Contestant {
  readonly process: EngineProcess;
  readonly modes: readonly RunMode[];
  readonly output: Float32Array;
  readonly times: Record<RunMode, number[]>;
  repeats: number;
}

function readOutput(path: string): Float32Array {
  const { buffer, byteOffset, byteLength } = readFileSync(path);
  return new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer);
}

async function enter(process: EngineProcess, job: Job, materials: Materials): Promise<Contestant> {
  const { modes } = await process.call("open", { job });
  const path = materials.output(process.engine);
  await process.call("output", { path });
  await process.call("run", { times: 1, mode: "host" });
  const { ms } = await process.call("run", { times: 1, mode: "host" });
  const repeats = Math.max(1, Math.ceil(MEASURE_MS / ms));
  return { process, modes, output: readOutput(path), times: { host: [], device: [] }, repeats };
}

/** @param chain how many times a run repeats what is measured */
async function race(
  contestants: readonly Contestant[],
  chain: number,
  { seconds, signal }: Pick<MeasureOptions, "seconds" | "signal">,
  least = MIN_ROUNDS,
): Promise<void> {
  const end = performance.now() + 1000 * seconds;
  for (let round = 0; round < least || performance.now() < end; round++)
    for (const { process, modes, times, repeats } of contestants)
      for (const mode of modes) {
        signal.throwIfAborted();
        await sleep(REST_MS, undefined, { signal });
        times[mode].push((await process.call("run", { times: repeats, mode })).ms / chain);
      }
}

/** Our engine twice on the same work: what a ratio means that is not 1. */
export async function measureNoise(
  item: Item,
  processes: readonly EngineProcess[],
  { materials, signal }: MeasureOptions,
): Promise<Noise> {
  const job = await materials.job(item, signal);
  const contestants: Contestant[] = [];
  for (const process of processes) contestants.push({ ...(await enter(process, job, materials)), modes: ["host"] });
  await race(contestants, 1, { seconds: 0, signal }, NOISE_ROUNDS);
  const [a, b] = contestants.map(({ times }) => times.host) as [number[], number[]];
  return { id: item.workload.id, engine: OURS, ratio: pairRatios(a, b) };
}

/** The numbers that all others are compared with, and whose they are. */
function chooseReference(item: Item, contestants: readonly Contestant[], references: MeasureOptions["references"]) {
  const { dtype, id } = item.workload;
  const f32 = dtype === "f16" ? references.get(id.replace("/f16/", "/f32/")) : undefined;
  if (f32) return { name: "f32", numbers: f32 };
  const found = REFERENCES.map((name) => contestants.find(({ process }) => process.engine === name)).find(Boolean);
  return found && { name: found.process.engine, numbers: found.output };
}

/** A result of every engine, whatever became of it. */
export async function measureItem(
  item: Item,
  processes: readonly EngineProcess[],
  options: MeasureOptions,
): Promise<Result[]> {
  const { workload, cost, tolerance } = item;
  const { materials, limits, references, signal } = options;
  const results: Result[] = [];
  const contestants: Contestant[] = [];
  const base = (engine: EngineName) => ({ ...workload, engine, ...cost });
  const job = await materials.job(item, signal);
  for (const process of processes) {
    signal.throwIfAborted();
    try {
      contestants.push(await enter(process, job, materials));
    } catch (error) {
      results.push({ ...base(process.engine), status: "failed", note: (error as Error).message });
    }
  }
  const reference = chooseReference(item, contestants, references);
  const errors = new Map(contestants.map((c) => [c, nmse(c.output, reference?.numbers ?? c.output)]));
  const right = contestants.filter((c) => (errors.get(c) as number) <= tolerance);
  const own = right.find(({ process }) => process.engine === OURS);
  if (workload.dtype === "f32" && own) references.set(workload.id, own.output);
  const chain = item.source.kind === "kernel" ? item.source.spec.chain : 1;
  await race(right, chain, options);
  for (const contestant of contestants) {
    const { process, times } = contestant;
    const checked = { nmse: errors.get(contestant), verifiedAgainst: reference?.name };
    if (!right.includes(contestant)) {
      const note = `its result differs from ${reference?.name}: NMSE ${checked.nmse?.toExponential(1)}`;
      results.push({ ...base(process.engine), ...checked, nmse: finite(checked.nmse), status: "failed", note });
      continue;
    }
    // The process of the operations has seen them all.
    const stats = workload.group === "kernel" ? {} : await process.call("stats", {});
    const { kernels } = process.engine === OURS ? await process.call("profile", {}) : { kernels: null };
    const ms = spread(times.host);
    const work = times.device.length > 0 ? spread(times.device) : ms;
    const gpuMs = kernels ? kernels.reduce((sum, k) => sum + k.ms, 0) / chain : undefined;
    results.push({
      ...base(process.engine),
      ...checked,
      ...stats,
      ms,
      deviceMs: times.device.length > 0 ? work : undefined,
      gpuMs,
      kernels: kernels && workload.group !== "kernel" ? withRoofline(kernels, limits) : undefined,
      roofline: cost && roofline(cost, work.median, limits),
      ratio: own && { ...pairRatios(own.times.host, times.host), to: OURS },
      imagesPerSecond: workload.group === "sampler" ? (1000 * workload.batch) / ms.median : undefined,
      status: "ok",
    });
  }
  for (const { process } of contestants) await process.call("close", {}).catch(() => {});
  return results;
}

const finite = (value: number | undefined) => (Number.isFinite(value) ? value : undefined);

const withRoofline = (kernels: readonly KernelTotal[], limits: Limits): KernelShare[] =>
  kernels.map((k) => ({ ...k, roofline: k.ms > 0 ? roofline(k, k.ms, limits) : 0 }));
