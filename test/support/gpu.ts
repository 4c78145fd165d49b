/** One validated device per test process, and runs of kernels on it. */
import { afterAll } from "vitest";
import { loadWeights } from "../../src/kernels/load.ts";
import { lowerOps } from "../../src/kernels/lower.ts";
import type { Node } from "../../src/kernels/operations/table.ts";
import { targetFor } from "../../src/kernels/target.ts";
import { openNodeDevice } from "../../src/node/device.ts";
import type { Device } from "../../src/runtime/device.ts";
import type { KernelCall, Target } from "../../src/runtime/kernel.ts";
import { arrayOf, createValueArray, type GpuArray, uploadBuffer } from "../../src/runtime/memory.ts";
import { Program } from "../../src/runtime/program.ts";
import type { Value } from "../../src/runtime/values.ts";
import type { RefTensor } from "../reference/tensor.ts";
import { batchOf, decodeF32, piecesOf, readValue, uploadValue } from "./gpuTensors.ts";
import { LEVELS, limitedDevice } from "./limits.ts";
import type { Problem, StoredDType } from "./problems.ts";

export { Inputs, readValue, rounded, uploadValue } from "./gpuTensors.ts";

let device: Device | undefined;

/** Set by `npm run limits`: the level of the specification whose default limits the device has, and no feature. */
export const testLimits = LEVELS.find((level) => level === process.env.DDIM_TEST_LIMITS);

export async function testDevice(): Promise<Device> {
  device ??= testLimits
    ? await limitedDevice(testLimits)
    : await openNodeDevice({
        fast: process.env.DDIM_TEST_FAST === "1",
        matrices: process.env.DDIM_TEST_MATRICES === "1",
      });
  return device;
}

/** Runs what follows on another device, which is disposed with the tests. */
export function useDevice(other: Device): void {
  device?.dispose();
  device = other;
}

afterAll(() => {
  device?.dispose();
  device = undefined;
});

/**
 * Every way of generating kernels that this adapter allows: the device's own choice first. Shapes stay in uniforms here,
 * so that cases share pipelines; `constTarget` is for a few cases that check the other form.
 */
export async function targets(): Promise<{ name: string; target: Target }[]> {
  const own = targetFor(await testDevice());
  const { maxThreads } = own;
  const plain: Target = { shapes: "uniform", storage: "buffer", lanes: 0, software: true, maxThreads };
  // A caller's device may allow too few storage textures to read from them.
  const sampled = own.storage === "texture" ? [{ name: "sampled", target: { ...own, storageTextures: 0 } }] : [];
  return [
    { name: "own", target: own },
    ...sampled,
    { name: "direct", target: plain },
    { name: "gpu", target: { ...plain, software: false } },
  ];
}

/** What a real GPU gets: shapes in the source. */
export const constTarget: Target = {
  shapes: "const",
  storage: "buffer",
  lanes: 0,
  software: false,
  maxThreads: testLimits === "compatibility" ? 128 : 256,
};

export interface RunInit {
  readonly target: Target;
  readonly batch: number;
  readonly inputs: ReadonlyMap<Value, RefTensor>;
  readonly params?: Readonly<Record<string, RefTensor | undefined>>;
  readonly outputs: readonly Value[];
  readonly dtype?: "f32" | "f16";
  readonly frame?: readonly number[];
  /** Cuts dispatches into as many parts as they allow, and submits each by itself, last ones first. */
  readonly inParts?: boolean;
}

/** Runs kernel calls on inputs and reads the outputs back; leaves nothing behind. */
export async function runCalls(
  calls: readonly KernelCall[],
  init: RunInit,
  extra: ReadonlyMap<Value, GpuArray> = new Map(),
): Promise<RefTensor[]> {
  const gpu = await testDevice();
  const owned: GpuArray[] = [];
  const keep = (array: GpuArray) => {
    owned.push(array);
    return array;
  };
  const external = new Map<Value, GpuArray>(extra);
  for (const [value, t] of init.inputs) external.set(value, keep(uploadValue(gpu, value, t.data, batchOf(t))));
  for (const value of init.outputs)
    if (!external.has(value)) external.set(value, keep(createValueArray(gpu, value, init.batch)));
  const words = Uint32Array.from([...(init.frame ?? [0])]);
  const frame = keep(arrayOf(uploadBuffer(gpu, "frame", words, GPUBufferUsage.UNIFORM))).object as GPUBuffer;
  const { batch, inParts } = init;
  const leastPart = inParts ? 1 : undefined;
  const program = await Program.create(gpu, { label: "test", calls, batch, external, frame, leastPart });
  const submit = (from?: number, to?: number) => {
    const encoder = gpu.gpu.createCommandEncoder();
    program.encode(encoder, from, to);
    gpu.submit([encoder.finish()]);
  };
  if (inParts)
    for (const dispatch of program.dispatches) {
      const own = program.parts.flatMap((part, i) => (part.dispatch === dispatch ? [i] : []));
      for (const i of own.reverse()) submit(i, i + 1);
    }
  else submit();
  const results = [];
  const imagesOf = (value: Value) =>
    init.inputs.has(value) ? batchOf(init.inputs.get(value) as RefTensor) : init.batch;
  for (const value of init.outputs)
    results.push(await readValue(gpu, value, external.get(value) as GpuArray, imagesOf(value)));
  program.dispose();
  for (const { object } of owned) gpu.release(object);
  return results;
}

/** Runs fused operations with their parameters. */
export async function runOps(ops: readonly Node[], init: RunInit): Promise<RefTensor[]> {
  const gpu = await testDevice();
  const { calls, weights } = lowerOps(ops, init.target, init.dtype ?? "f32", new Set(init.outputs));
  const loaded = await loadWeights(gpu, init.target, weights, piecesOf(init.params ?? {}), decodeF32);
  const results = await runCalls(calls, init, loaded);
  for (const { object } of loaded.values()) gpu.release(object);
  return results;
}

/** Runs a case of the table and reads its result. */
export async function runProblem(
  { ops, batch, inputs, params, output }: Problem,
  target: Target,
  dtype: StoredDType,
): Promise<RefTensor> {
  const [result] = await runOps(ops, { target, batch, inputs, params, outputs: [output], dtype });
  return result as RefTensor;
}
