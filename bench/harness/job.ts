/** What a job of the benchmarks is once our engine holds it. */
import type { KernelTiming } from "../../src/runtime/profiler.ts";
import type { RunMode } from "./protocol.ts";

/** A job that is ready to run. */
export interface OpenJob {
  readonly modes: readonly RunMode[];
  /** Milliseconds of one run, of so many in a row. */
  run(times: number, mode: RunMode): Promise<number>;
  /** Of one run, as the ONNX file of the job orders it. */
  output(): Promise<Float32Array>;
  profile?(): Promise<KernelTiming[]>;
  dispose(): Promise<void>;
}
