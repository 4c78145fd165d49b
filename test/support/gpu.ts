/** One validated device per test process, and the way from a reference tensor through the GPU and back. */
import { afterAll } from "vitest";
import { loadRecipes, type ParamPiece } from "../../src/kernels/load.ts";
import { lowerOps } from "../../src/kernels/lower.ts";
import { targetFor } from "../../src/kernels/target.ts";
import { openNodeDevice } from "../../src/node/device.ts";
import type { Device } from "../../src/runtime/device.ts";
import type { FusedOp } from "../../src/runtime/fold.ts";
import type { KernelCall, Target } from "../../src/runtime/kernel.ts";
import { arrayOf, createValueArray, type GpuArray, textureToBuffer, uploadBuffer } from "../../src/runtime/memory.ts";
import { Program } from "../../src/runtime/program.ts";
import {
  channelGroups,
  channelPositions,
  makeValue,
  TEXTURE_WIDTH,
  unitBytes,
  unitCount,
  type Value,
} from "../../src/runtime/values.ts";
import { f16ToF32, f32ToF16 } from "../../src/weights/convert.ts";
import { dim, type RefTensor, tensor } from "../reference/tensor.ts";

let device: Device | undefined;

export async function testDevice(): Promise<Device> {
  device ??= await openNodeDevice({ fast: process.env.DDIM_TEST_FAST === "1" });
  return device;
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
  const plain: Target = { shapes: "uniform", storage: "buffer", lanes: 0, software: true };
  return [
    { name: "own", target: targetFor(await testDevice()) },
    { name: "direct", target: plain },
    { name: "gpu", target: { ...plain, software: false } },
  ];
}

/** What a real GPU gets: shapes in the source. */
export const constTarget: Target = { shapes: "const", storage: "buffer", lanes: 0, software: false };

const batchOf = (t: RefTensor): number => dim(t, 0);

/** Logical data to stored vec4 units. */
function toStorage(value: Value, data: ArrayLike<number>): ArrayBufferView {
  if (value.dtype === "u32") return Uint32Array.from(data);
  const width = value.shape.at(-1) as number;
  const stride = channelGroups(value.segments) * 4;
  const positions = channelPositions(value.segments);
  const rows = data.length / width;
  const out = new Float32Array(rows * stride);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < width; c++) out[r * stride + (positions[c] as number)] = data[r * width + c] as number;
  return value.dtype === "f16" ? f32ToF16(out) : out;
}

export function uploadValue(gpu: Device, value: Value, data: ArrayLike<number>, batch: number): GpuArray {
  const stored = toStorage(value, data);
  if (value.storage === "buffer") return arrayOf(uploadBuffer(gpu, value.name, stored));
  const array = createValueArray(gpu, value, batch);
  const texture = array.object as GPUTexture;
  const bytesPerRow = TEXTURE_WIDTH * unitBytes(value.dtype);
  const full = new Uint8Array(bytesPerRow * texture.height);
  full.set(new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength));
  gpu.gpu.queue.writeTexture({ texture }, full, { bytesPerRow }, [TEXTURE_WIDTH, texture.height]);
  return array;
}

export async function readValue(gpu: Device, value: Value, array: GpuArray, batch: number): Promise<RefTensor> {
  const bytes = unitCount(value, batch) * unitBytes(value.dtype);
  const texture = value.storage === "texture";
  const buffer = texture ? textureToBuffer(gpu, array, value.dtype) : (array.object as GPUBuffer);
  const raw = await gpu.read(buffer, Math.ceil(bytes / 4) * 4);
  if (texture) gpu.release(buffer);
  const shape = [...(value.batched ? [batch] : []), ...value.shape];
  if (value.dtype === "u32") return tensor(shape, new Uint32Array(raw));
  const stored = value.dtype === "f16" ? f16ToF32(new Uint16Array(raw)) : new Float32Array(raw);
  const width = value.shape.at(-1) as number;
  const stride = channelGroups(value.segments) * 4;
  const positions = channelPositions(value.segments);
  return tensor(shape, (i) => stored[Math.floor(i / width) * stride + (positions[i % width] as number)] as number);
}

/** A tensor as a GPU of that storage type sees it. */
export const rounded = (t: RefTensor, dtype: "f32" | "f16"): RefTensor =>
  tensor(t.shape, dtype === "f16" ? f16ToF32(f32ToF16(Float32Array.from(t.data))) : t.data);

/** Collects the inputs of a run: symbolic values and their data. Reference tensors lead with the batch axis. */
export class Inputs {
  readonly map = new Map<Value, RefTensor>();

  constructor(
    readonly target: Target,
    /** Element type unless an input says otherwise. */
    readonly dtype: "f32" | "f16" = "f32",
  ) {}

  add(
    name: string,
    t: RefTensor,
    init: Partial<Pick<Value, "segments" | "dtype" | "batched" | "storage">> = {},
  ): Value {
    const { batched = true, dtype = this.dtype, storage = this.target.storage, segments } = init;
    const value = makeValue({ name, shape: batched ? t.shape.slice(1) : t.shape, batched, dtype, storage, segments });
    this.map.set(value, t);
    return value;
  }

  /** A value that the run writes. */
  output(
    name: string,
    shape: readonly number[],
    init: Partial<Pick<Value, "segments" | "dtype" | "storage">> = {},
  ): Value {
    return makeValue({ name, shape, batched: true, dtype: this.dtype, storage: this.target.storage, ...init });
  }
}

export interface RunInit {
  readonly target: Target;
  readonly batch: number;
  readonly inputs: ReadonlyMap<Value, RefTensor>;
  readonly params?: Readonly<Record<string, RefTensor | undefined>>;
  readonly outputs: readonly Value[];
  readonly dtype?: "f32" | "f16";
  readonly frame?: readonly number[];
}

async function* piecesOf(params: Readonly<Record<string, RefTensor | undefined>>): AsyncGenerator<ParamPiece> {
  for (const [name, t] of Object.entries(params)) {
    if (!t) continue;
    const bytes = new Uint8Array(Float32Array.from(t.data).buffer);
    yield { name, dtype: "f32", offset: 0, total: bytes.byteLength, bytes };
  }
}

const decodeF32 = (piece: ParamPiece) =>
  new Float32Array(piece.bytes.buffer, piece.bytes.byteOffset, piece.bytes.byteLength / 4);

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
  const words = Uint32Array.from([...(init.frame ?? [0, 0, 1, 0])]);
  const frame = keep(arrayOf(uploadBuffer(gpu, "frame", words, GPUBufferUsage.UNIFORM))).object as GPUBuffer;
  const program = await Program.create(gpu, { label: "test", calls, batch: init.batch, external, frame });
  const encoder = gpu.gpu.createCommandEncoder();
  program.encode(encoder);
  gpu.submit([encoder.finish()]);
  const results = [];
  const rows = (value: Value) => (init.inputs.has(value) ? batchOf(init.inputs.get(value) as RefTensor) : init.batch);
  for (const value of init.outputs)
    results.push(await readValue(gpu, value, external.get(value) as GpuArray, rows(value)));
  program.dispose();
  for (const { object } of owned) gpu.release(object);
  return results;
}

/** Runs fused operations with their parameters. */
export async function runOps(ops: readonly FusedOp[], init: RunInit): Promise<RefTensor[]> {
  const gpu = await testDevice();
  const { calls, recipes } = lowerOps(ops, init.target, init.dtype ?? "f32");
  const weights = await loadRecipes(gpu, init.target, recipes, piecesOf(init.params ?? {}), decodeF32);
  const results = await runCalls(calls, init, weights);
  for (const { object } of weights.values()) gpu.release(object);
  return results;
}
