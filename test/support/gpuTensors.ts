/** The way of a reference tensor through the GPU and back, for tests and benchmarks alike: whoever calls brings the device. */
import type { ParamPiece } from "../../src/kernels/load.ts";
import type { Device } from "../../src/runtime/device.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { arrayOf, createValueArray, type GpuArray, uploadBuffer } from "../../src/runtime/memory.ts";
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

export const batchOf = (t: RefTensor): number => dim(t, 0);

/** Logical data to stored vec4 units. */
function toStorage(value: Value, data: ArrayLike<number>): ArrayBufferView {
  if (value.dtype === "u32") return Uint32Array.from(data);
  const width = value.shape.at(-1) as number;
  const stride = channelGroups(value.segments) * 4;
  const positions = channelPositions(value.segments);
  const vectors = data.length / width;
  const out = new Float32Array(vectors * stride);
  for (let r = 0; r < vectors; r++)
    for (let c = 0; c < width; c++) out[r * stride + (positions[c] as number)] = data[r * width + c] as number;
  return value.dtype === "f16" ? f32ToF16(out) : out;
}

/** @returns what puts the data into an array of the value that is there */
export function writerOf(gpu: Device, value: Value, data: ArrayLike<number>, { object }: GpuArray): () => void {
  const { queue } = gpu.gpu;
  const stored = toStorage(value, data);
  if (value.storage === "buffer")
    return () => queue.writeBuffer(object as GPUBuffer, 0, stored.buffer, stored.byteOffset, stored.byteLength);
  const texture = object as GPUTexture;
  const bytesPerRow = TEXTURE_WIDTH * unitBytes(value.dtype);
  // With the rest of the last row.
  const full = new Uint8Array(bytesPerRow * texture.height);
  full.set(new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength));
  return () => queue.writeTexture({ texture }, full, { bytesPerRow }, [TEXTURE_WIDTH, texture.height]);
}

export function uploadValue(gpu: Device, value: Value, data: ArrayLike<number>, batch: number): GpuArray {
  if (value.storage === "buffer") return arrayOf(uploadBuffer(gpu, value.name, toStorage(value, data)));
  const array = createValueArray(gpu, value, batch);
  writerOf(gpu, value, data, array)();
  return array;
}

export async function readValue(gpu: Device, value: Value, array: GpuArray, batch: number): Promise<RefTensor> {
  const bytes = unitCount(value, batch) * unitBytes(value.dtype);
  const raw = await gpu.read(array.object, Math.ceil(bytes / 4) * 4);
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

/** Parameters as the loader takes them. */
export async function* piecesOf(params: Readonly<Record<string, RefTensor | undefined>>): AsyncGenerator<ParamPiece> {
  for (const [name, t] of Object.entries(params)) {
    if (!t) continue;
    const bytes = new Uint8Array(Float32Array.from(t.data).buffer);
    yield { name, dtype: "f32", offset: 0, total: bytes.byteLength, bytes };
  }
}

export const decodeF32 = (piece: ParamPiece) =>
  new Float32Array(piece.bytes.buffer, piece.bytes.byteOffset, piece.bytes.byteLength / 4);
