/** The kernel laboratory: one operation on one case, every target checked against the f64 oracle and then timed. */
import { loadWeights } from "../../src/kernels/load.ts";
import { lowerOps } from "../../src/kernels/lower.ts";
import type { Device } from "../../src/runtime/device.ts";
import type { KernelCall, Target } from "../../src/runtime/kernel.ts";
import { createValueArray, type GpuArray } from "../../src/runtime/memory.ts";
import { compileCalls, Program } from "../../src/runtime/program.ts";
import { profileProgram } from "../../src/runtime/timestamps.ts";
import type { Value } from "../../src/runtime/values.ts";
import { nmse, type RefTensor } from "../../test/reference/tensor.ts";
import { batchOf, decodeF32, piecesOf, readValue, uploadValue } from "../../test/support/gpuTensors.ts";
import type { CaseTable, Problem, StoredDType } from "../../test/support/problems.ts";
import { roofline } from "../limits.ts";
import type { Limits, Spread } from "../results.ts";
import { spread } from "../stats.ts";
import type { NamedTarget } from "./targets.ts";
import { measureInTurns } from "./timer.ts";

/** The project's bounds on the normalised mean squared error. */
export const TOLERANCE: Readonly<Record<StoredDType, number>> = { f32: 1e-10, f16: 2e-5 };

export interface LabResult {
  readonly variant: string;
  /** Kernels it dispatches: `apply/direct, conv2d/gather`. */
  readonly kernels: readonly string[];
  readonly compileMs: number;
  readonly nmse: number;
  readonly correct: boolean;
  /** Missing where the result is wrong. */
  readonly ms?: Spread;
  readonly gpuMs?: number;
  readonly gflops?: number;
  readonly gbytes?: number;
  readonly roofline?: number;
}

interface Prepared {
  readonly named: NamedTarget;
  readonly calls: readonly KernelCall[];
  readonly program: Program;
  readonly compileMs: number;
  readonly result: RefTensor;
  dispose(): void;
}

const kernelNames = (calls: readonly KernelCall[]) => calls.map(({ kernel, variant }) => `${kernel}/${variant}`);

/** Targets that come out as the same kernels on the same storage are one. */
const identity = (calls: readonly KernelCall[]) => calls.map((c) => `${c.kinds.join()} ${c.source}`).join("\n");

async function prepare(
  device: Device,
  named: NamedTarget,
  { ops, batch, inputs, params, output }: Problem,
  dtype: StoredDType,
  known = new Set<string>(),
): Promise<Prepared | undefined> {
  const { calls, weights } = lowerOps(ops, named.target, dtype);
  if (known.has(identity(calls))) return undefined;
  known.add(identity(calls));
  const began = performance.now();
  await compileCalls(device, calls);
  const compileMs = performance.now() - began;
  const loaded = await loadWeights(device, named.target, weights, piecesOf(params), decodeF32);
  const arrays = new Map<Value, GpuArray>(loaded);
  for (const [value, t] of inputs) arrays.set(value, uploadValue(device, value, t.data, batchOf(t)));
  arrays.set(output, createValueArray(device, output, batch));
  const init = { label: named.name, calls, batch, external: arrays };
  const program = await Program.create(device, init);
  const encoder = device.gpu.createCommandEncoder();
  program.encode(encoder);
  device.submit([encoder.finish()]);
  const result = await readValue(device, output, arrays.get(output) as GpuArray, batch);
  return {
    named,
    calls,
    program,
    compileMs,
    result,
    dispose() {
      program.dispose();
      for (const { object } of arrays.values()) device.release(object);
    },
  };
}

export interface LabInit {
  readonly table: CaseTable;
  readonly shape: object;
  readonly dtype: StoredDType;
  readonly targets: readonly NamedTarget[];
  readonly limits: Limits;
  /** Compares with what kernels for this target compute in f32: the f64 oracle takes minutes at the sizes of real networks. */
  readonly reference?: Target;
  /** For all targets together, without compiling. */
  readonly seconds: number;
  readonly signal?: AbortSignal;
  readonly onTarget?: (name: string) => void;
}

async function expectedOf(device: Device, { table, shape, reference }: LabInit): Promise<RefTensor | undefined> {
  if (!reference) return undefined;
  const problem = table.make(shape, reference, "f32");
  const prepared = await prepare(device, { name: "reference", target: reference }, problem, "f32");
  prepared?.dispose();
  return prepared?.result;
}

/** Targets that dispatch the same kernels as an earlier one are left out. */
export async function runLab(device: Device, init: LabInit): Promise<LabResult[]> {
  const { table, shape, dtype, targets, limits, seconds, signal } = init;
  const known = new Set<string>();
  const prepared: Prepared[] = [];
  try {
    let expected = await expectedOf(device, init);
    const errors = new Map<Prepared, number>();
    for (const named of targets) {
      signal?.throwIfAborted();
      init.onTarget?.(named.name);
      const problem = table.make(shape, named.target, dtype);
      expected ??= problem.expected();
      const ready = await prepare(device, named, problem, dtype, known);
      if (!ready) continue;
      prepared.push(ready);
      errors.set(ready, nmse(ready.result.data, expected.data));
    }
    const correct = prepared.filter((it) => errors.get(it)! <= TOLERANCE[dtype]);
    const programs = correct.map(({ program }) => program);
    const times = await measureInTurns(device, programs, seconds, signal);
    const [first] = targets;
    const cost = first && table.make(shape, first.target, dtype).cost;
    const results: LabResult[] = [];
    for (const it of prepared) {
      const { named, calls, program, compileMs } = it;
      const measured = times[programs.indexOf(program)];
      const base = { variant: named.name, kernels: kernelNames(calls), compileMs, nmse: errors.get(it)! };
      if (!measured || !cost) {
        results.push({ ...base, correct: false });
        continue;
      }
      const ms = spread(measured);
      const timings = device.capabilities.timestamps ? await profileProgram(device, program) : undefined;
      results.push({
        ...base,
        correct: true,
        ms,
        gpuMs: timings?.reduce((sum, t) => sum + t.ms, 0),
        gflops: cost.flops / ms.median / 1e6,
        gbytes: cost.bytes / ms.median / 1e6,
        roofline: roofline(cost, ms.median, limits),
      });
    }
    return results;
  } finally {
    for (const { dispose } of prepared) dispose();
  }
}
