/** Writes safetensors files: what `ddim forward` answers, latents, x_T. Layout as the reference implementation's. */

import { ShapeError } from "../runtime/errors.ts";
import { DTYPE_BITS, type Dtype } from "./dtype.ts";

/** A tensor to write. `data` holds its elements in row-major order, as the bytes of its dtype (F16: bits); without one, F32. */
export type EncodableTensor = { readonly shape: readonly number[] } & (
  | { readonly dtype?: "F32"; readonly data: Float32Array }
  | { readonly dtype: "F16"; readonly data: Uint16Array }
  | { readonly dtype: "I64"; readonly data: BigInt64Array }
  | { readonly dtype: "I32"; readonly data: Int32Array }
  | { readonly dtype: "U8"; readonly data: Uint8Array | Uint8ClampedArray }
);

/**
 * The header of a safetensors file whose tensors lie one after the other in this order, padded with spaces to a multiple
 * of 8: the length, then JSON.
 */
export function layOut(
  tensors: Iterable<{ readonly name: string; readonly dtype: Dtype; readonly shape: readonly number[] }>,
  metadata?: Readonly<Record<string, string>>,
): { header: Uint8Array<ArrayBuffer>; bytes: number } {
  const entries: [string, unknown][] = metadata ? [["__metadata__", metadata]] : [];
  let end = 0;
  for (const { name, dtype, shape } of tensors) {
    const start = end;
    end += (DTYPE_BITS[dtype] / 8) * shape.reduce((product, dimension) => product * dimension, 1);
    entries.push([name, { dtype, shape, data_offsets: [start, end] }]);
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const header = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(header.length - 8), true);
  header.set(json, 8);
  return { header, bytes: end };
}

/**
 * The bytes of a safetensors file. Tensors are ordered by element size, largest first, then by name, so every tensor is
 * aligned and equal input gives equal bytes.
 *
 * @throws ShapeError when a tensor's data does not have as many elements as its shape.
 */
export function encodeSafetensors(
  tensors: Readonly<Record<string, EncodableTensor>>,
  metadata?: Readonly<Record<string, string>>,
): Uint8Array<ArrayBuffer> {
  const entries = Object.entries(tensors)
    .map(([name, { dtype = "F32", shape, data }]) => ({ name, dtype, shape, data }))
    .sort((a, b) => DTYPE_BITS[b.dtype] - DTYPE_BITS[a.dtype] || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  for (const { name, shape, data } of entries) {
    const count = shape.reduce((product, dimension) => product * dimension, 1);
    if (count !== data.length) throw new ShapeError("encodeSafetensors", name, `${data.length} elements`, shape);
  }
  const { header, bytes } = layOut(entries, metadata);
  const file = new Uint8Array(header.length + bytes);
  file.set(header);
  let at = header.length;
  for (const { data } of entries) {
    file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return file;
}
