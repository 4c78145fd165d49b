/** Runs kernel calls of the self-test on its inputs, and says how well a result agrees. */
import { loadArrays } from "../../kernels/arrays.ts";
import type { Lowered } from "../../kernels/lower.ts";
import { targetFor } from "../../kernels/target.ts";
import type { Device } from "../../runtime/device.ts";
import { frameRecord } from "../../runtime/frame.ts";
import { arrayOf, createValueArray, type GpuArray, uploadBuffer } from "../../runtime/memory.ts";
import { Program } from "../../runtime/program.ts";
import { byteSize, makeValue, type Value } from "../../runtime/values.ts";
import { normal4 } from "../../sampler/philox.ts";

/** Images, their size, and the seed of every number. */
export const [N, H, W] = [2, 7, 5];
export const PIXELS = N * H * W;
export const SEED = 0x2545_f491_4f6c_dd1dn;

export interface Outcome {
  ok: boolean;
  /** The measured error and its limit, or what went wrong. */
  detail: string;
}

export interface Job extends Lowered {
  readonly batch: number;
  /** Contents of buffers; all channel counts are multiples of four, so that stored and logical values are the same. */
  readonly inputs: ReadonlyMap<Value, Float32Array | Uint32Array>;
  readonly outputs: readonly Value[];
  readonly params?: Readonly<Record<string, Float32Array>>;
}

/** Runs calls and reads outputs back; nothing stays allocated. */
export async function run(
  device: Device,
  { calls, weights, batch, inputs, outputs, params = {} }: Job,
): Promise<ArrayBuffer[]> {
  const external = await loadArrays(device, targetFor(device), weights, Object.entries(params));
  let program: Program | undefined;
  let frame: GpuArray | undefined;
  try {
    for (const [input, data] of inputs) external.set(input, arrayOf(uploadBuffer(device, input.name, data)));
    for (const y of outputs) if (!external.has(y)) external.set(y, createValueArray(device, y, batch));
    frame = arrayOf(uploadBuffer(device, "frame", frameRecord.pack([{ row: 0 }]), GPUBufferUsage.UNIFORM));
    program = await Program.create(device, {
      label: "self-test",
      calls,
      batch,
      external,
      frame: frame.object as GPUBuffer,
    });
    const encoder = device.gpu.createCommandEncoder();
    program.encode(encoder);
    device.submit([encoder.finish()]);
    const results: ArrayBuffer[] = [];
    for (const y of outputs) {
      const array = external.get(y) as GpuArray;
      results.push(await device.read(array.object, byteSize({ ...y, storage: "buffer" }, batch)));
    }
    return results;
  } finally {
    program?.dispose();
    for (const { object } of [...external.values(), ...(frame ? [frame] : [])]) device.release(object);
  }
}

/** Compares with f64: Σ(a − e)² / Σe². */
export function nmse(actual: ArrayLike<number>, expected: ArrayLike<number>, limit: number): Outcome {
  let [error, energy] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    error += ((actual[i] as number) - (expected[i] as number)) ** 2;
    energy += (expected[i] as number) ** 2;
  }
  return { ok: error <= limit * energy, detail: `NMSE ${(error / energy).toExponential(1)}, at most ${limit}` };
}

/** Element-wise comparison of exact results. */
export function exact(actual: ArrayLike<number>, expected: ArrayLike<number>): Outcome {
  const wrong = Array.from(expected).filter((v, i) => v !== actual[i]).length;
  return { ok: wrong === 0, detail: `${wrong} of ${expected.length} values differ` };
}

/** Standard normal numbers of one of many streams. */
export const normals = (stream: number, count: number): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length: count }, (_, i) => normal4(SEED, stream, 0, i >> 2, 0)[i & 3] as number);

/** A value that the self-test binds; buffers, where nothing else is said. */
export const value = (
  name: string,
  shape: readonly number[],
  init: Partial<Pick<Value, "storage" | "batched" | "dtype">> = {},
): Value => makeValue({ name, shape, batched: true, dtype: "f32", storage: "buffer", ...init });
