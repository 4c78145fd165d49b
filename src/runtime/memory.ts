/** Physical storage for values: creation, binding, upload of host data. Who creates an array releases it. */
import type { Device } from "./device.ts";
import { byteSize, ceilDiv, type DType, type Storage, TEXTURE_WIDTH, unitBytes, type Value } from "./values.ts";

/** A buffer, or a texture with its cached view; or a part of either. */
export interface GpuArray {
  readonly object: GPUBuffer | GPUTexture;
  readonly resource: GPUBindingResource;
  readonly bytes: number;
  /** First texel, where that is not the first one of the texture: a binding cannot say so, kernels have to add it. */
  readonly offset?: number;
}

const BUFFER_USAGE = () => GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
const TEXTURE_USAGE = () =>
  GPUTextureUsage.TEXTURE_BINDING |
  GPUTextureUsage.STORAGE_BINDING |
  GPUTextureUsage.COPY_SRC |
  GPUTextureUsage.COPY_DST;

/** Storage of a size; `bytes` counts whole texture lines for textures. */
export function createArray(device: Device, label: string, storage: Storage, dtype: DType, bytes: number): GpuArray {
  if (storage === "buffer") {
    const object = device.createBuffer({ label, size: Math.max(16, bytes), usage: BUFFER_USAGE() });
    return { object, resource: { buffer: object }, bytes };
  }
  const texelBytes = dtype === "f16" ? 8 : 16;
  const size = [TEXTURE_WIDTH, Math.max(1, ceilDiv(bytes, TEXTURE_WIDTH * texelBytes))];
  const format = dtype === "f16" ? "rgba16float" : "rgba32float";
  const object = device.createTexture({ label, size, format, usage: TEXTURE_USAGE() }, bytes);
  return { object, resource: object.createView(), bytes };
}

/** The part of an array that begins at a byte and holds a value. */
export function partOf(array: GpuArray, value: Value, offset: number, batch: number): GpuArray {
  const bytes = byteSize(value, batch);
  if (value.storage === "texture") return { ...array, bytes, offset: offset / unitBytes(value.dtype) };
  return { ...array, bytes, resource: { buffer: array.object as GPUBuffer, offset, size: bytes } };
}

export function createValueArray(device: Device, value: Value, batch = 1): GpuArray {
  return createArray(device, value.name, value.storage, value.dtype, byteSize(value, batch));
}

/** A buffer that holds host data from the start; sizes are rounded up to 16 bytes. */
export function uploadBuffer(device: Device, label: string, data: ArrayBufferView, usage = BUFFER_USAGE()): GPUBuffer {
  const size = Math.max(16, ceilDiv(data.byteLength, 16) * 16);
  return device.createBuffer({ label, size, usage }, data);
}

/** Copies stored units of a value, from number `first` on, to the beginning of another array of its kind. */
export function copyUnits(
  encoder: GPUCommandEncoder,
  { storage, dtype }: Value,
  source: GpuArray,
  first: number,
  target: GpuArray,
  count: number,
): void {
  const size = unitBytes(dtype);
  if (storage === "buffer") {
    encoder.copyBufferToBuffer(source.object as GPUBuffer, first * size, target.object as GPUBuffer, 0, count * size);
    return;
  }
  const place = (array: GpuArray, unit: number) => ({
    texture: array.object as GPUTexture,
    origin: [unit % TEXTURE_WIDTH, Math.floor(unit / TEXTURE_WIDTH)],
  });
  for (let done = 0, width = 0; done < count; done += width) {
    const [from, to] = [place(source, first + done), place(target, done)];
    width = Math.min(count - done, ...[from, to].map(({ origin: [x = 0] }) => TEXTURE_WIDTH - x));
    encoder.copyTextureToTexture(from, to, [width, 1]);
  }
}

export function arrayOf(buffer: GPUBuffer): GpuArray {
  return { object: buffer, resource: { buffer }, bytes: buffer.size };
}
