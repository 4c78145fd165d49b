/**
 * What a run of the benchmarks leaves behind: bench/results/<date>-<adapter>.json. Written by the harness, read by the
 * report, by `ddim bench compare` and by whoever generates docs/performance.md. Times are milliseconds, sizes bytes.
 */
import { readFileSync, statSync } from "node:fs";
import { FileError } from "../src/runtime/errors.ts";
import type { KernelTotal } from "../src/runtime/profiler.ts";

/** Raised when a reader of older files would misread newer ones. */
export const SCHEMA = 1;

export const engines = [
  "ddim-webgpu",
  "onnxruntime-cpu",
  "onnxruntime-webgpu",
  "onnxruntime-web",
  "torch-eager",
  "torch-compiled",
] as const;
export type EngineName = (typeof engines)[number];
/** Whose times the others' are told by. */
export const OURS: EngineName = "ddim-webgpu";
export type Dtype = "f32" | "f16";

/** A sample of measurements, smallest and largest included; quartiles by linear interpolation. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly p25: number;
  readonly p75: number;
  readonly max: number;
  /** How many measurements. */
  readonly samples: number;
}

/** Reference time over this engine's time, per interleaved pair: 2 is twice as fast as the reference. */
export interface Ratio extends Spread {
  /** Whose times are divided by this result's. */
  readonly to: EngineName;
}

export interface EngineInfo {
  readonly engine: EngineName;
  readonly version?: string;
  /** How it was set up, for the reader: `{ "graph capture": true, threads: 2 }`. */
  readonly settings: Readonly<Record<string, string | number | boolean>>;
  /** Why it could not be used at all. */
  readonly missing?: string;
}

/** Identifies a measurement across files, together with the engine. */
export interface Workload {
  /** Unique within a file except for the engine: `unet/pixel-avatars-16/f32/b1`. */
  readonly id: string;
  readonly group: "kernel" | "unet" | "sampler" | "growth";
  /** For people: `pixel-avatars-16, one evaluation`. */
  readonly name: string;
  /** Of kernels: what kind of operation (`conv2d`, `groupNorm`, `attention`, `linear`, `block`). */
  readonly opClass?: string;
  readonly model?: string;
  /** Of the main input: N, C, H, W or tokens, channels. */
  readonly shape: readonly number[];
  readonly dtype: Dtype;
  readonly batch: number;
  /** Of samplers and of growth: number of steps. */
  readonly steps?: number;
  /** What `ms` measures, where it is not one warm evaluation: "cold, driver cache empty" and the like. */
  readonly phase?: "cold-empty-cache" | "cold" | "warm";
  /** Of growth: which axis this point lies on, and where. */
  readonly axis?: { readonly name: "steps" | "batch" | "resolution" | "channels"; readonly value: number };
}

export interface Result extends Workload {
  readonly engine: EngineName;
  /** Upload, work, read-back: what a caller waits for who has host arrays on both sides. Missing where not run. */
  readonly ms?: Spread;
  /** The same without upload and read-back, where the engine can keep its data on the device. */
  readonly deviceMs?: Spread;
  /** GPU time by timestamps, of one evaluation. */
  readonly gpuMs?: number;
  /** GPU time by kernel, largest first; of UNets by our engine. */
  readonly kernels?: readonly KernelShare[];
  /** Floating point operations of the algorithm (a multiply-add is two), whatever the implementation does. */
  readonly flops?: number;
  /** Least bytes that have to move. */
  readonly bytes?: number;
  /** Share of what the measured limits of this machine allow for these flops and bytes, 0..1 (Winograd may exceed 1). */
  readonly roofline?: number;
  readonly ratio?: Ratio;
  readonly imagesPerSecond?: number;
  readonly peakGpuBytes?: number;
  /** Largest resident set of the process that did the work. */
  readonly peakHostBytes?: number;
  /** Normalised mean squared error against the reference that was checked before timing. */
  readonly nmse?: number;
  /** Against what: "f64 reference", "onnxruntime-cpu", "ddim-webgpu f32". */
  readonly verifiedAgainst?: string;
  readonly status: "ok" | "reduced" | "skipped" | "missing" | "failed";
  /** Why it was not run as asked, or what was reduced. Always there unless `status` is "ok". */
  readonly note?: string;
}

export interface KernelShare extends KernelTotal {
  readonly roofline: number;
}

/** The same engine measured against itself, interleaved: what a ratio means that is not 1. */
export interface Noise {
  /** Id of the workload that was measured. */
  readonly id: string;
  readonly engine: EngineName;
  readonly ratio: Spread;
}

export interface Environment {
  readonly date: string;
  readonly version: string;
  /** Commit of the engine, `+` behind it where the checkout had changes; undefined outside of a repository. */
  readonly commit?: string;
  readonly adapter: {
    readonly name: string;
    readonly vendor: string;
    readonly driver: string;
    readonly software: boolean;
  };
  readonly cpu: { readonly model: string; readonly cores: number };
  readonly memory: number;
  readonly os: string;
  readonly node: string;
  /** Versions of npm packages that matter: webgpu (Dawn), onnxruntime-node. */
  readonly packages: Readonly<Record<string, string>>;
  /** Processes waiting for a processor when the run began and when it ended: how disturbed the numbers are. */
  readonly load: { readonly start: number; readonly end: number };
}

/** Measured in the same run, by plain kernels. */
export interface Limits {
  /** Bytes per second, read and written both counted, of a copy kernel on arrays far larger than any cache. */
  readonly copy: number;
  /** Floating point operations per second of dependent-free multiply-adds in registers. */
  readonly fma: number;
}

export interface Results {
  readonly schema: typeof SCHEMA;
  /** The command that was run: `ddim bench --quick`. */
  readonly command: string;
  readonly seconds: number;
  readonly environment: Environment;
  readonly limits: Limits;
  readonly engines: readonly EngineInfo[];
  readonly noise: readonly Noise[];
  readonly rows: readonly Result[];
}

/**
 * Reads a results file.
 * @throws FileError when it is not one, or was written by another version
 */
export function readResults(path: string): Results {
  let parsed: unknown;
  try {
    // Of a pipe or a device the reading would not end.
    if (!statSync(path).isFile()) throw new FileError(path, "is not a file");
    parsed = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    if (cause instanceof FileError) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    throw new FileError(path, code ? `cannot be read (${code})` : "is not JSON", { cause });
  }
  const { schema, rows } = (parsed ?? {}) as Partial<Results>;
  if (schema === undefined || !Array.isArray(rows)) throw new FileError(path, "is not a file of benchmark results");
  if (schema !== SCHEMA) throw new FileError(path, `has schema ${schema}, this version reads ${SCHEMA}`);
  return parsed as Results;
}

/** Name of the file in bench/results: the day, then the adapter in letters and digits. */
export function resultsName({ date, adapter }: Pick<Environment, "date" | "adapter">): string {
  const words = adapter.name.toLowerCase().match(/[a-z0-9.]+/g) ?? ["unknown"];
  return `${date.slice(0, 10)}-${words.slice(0, 4).join("-")}.json`;
}
