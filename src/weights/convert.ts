/**
 * Numbers of other types to float32 and back to float16. WebGPU hosts are little-endian, as safetensors files are, so
 * typed arrays over a file's bytes hold its values.
 *
 * float16 is IEEE 754 binary16, bfloat16 the upper half of a binary32. Every conversion to float32 from these is exact;
 * float64 rounds to nearest, ties to even, as `Math.fround` does.
 */

import type { Dtype } from "./dtype.ts";

let halfTable: Float32Array | undefined;

/** Every float16 value, by its bits; made on first use (256 KiB). */
function halfValues(): Float32Array {
  if (halfTable) return halfTable;
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 0x1f;
    const fraction = bits & 0x3ff;
    if (exponent === 0x1f) table[bits] = fraction === 0 ? sign * Infinity : Number.NaN;
    else if (exponent === 0) table[bits] = sign * fraction * 2 ** -24;
    else table[bits] = sign * (1024 + fraction) * 2 ** (exponent - 25);
  }
  halfTable = table;
  return table;
}

/** float16 bits to float32. `out` has room for as many values. */
export function f16ToF32(bits: Uint16Array, out: Float32Array = new Float32Array(bits.length)): Float32Array {
  const table = halfValues();
  for (let i = 0; i < bits.length; i++) out[i] = table[bits[i]!]!;
  return out;
}

/** bfloat16 bits to float32. */
export function bf16ToF32(bits: Uint16Array, out: Float32Array = new Float32Array(bits.length)): Float32Array {
  const words = new Int32Array(out.buffer, out.byteOffset, bits.length);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i]! << 16;
  return out;
}

/**
 * float32 to float16 bits, two of which make one `unpack2x16float` word: rounds to nearest, ties to even; keeps
 * subnormals and the sign of zero; 65520 and above become infinity; NaN stays NaN.
 */
export function f32ToF16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    out[i] = ((word >>> 16) & 0x8000) | halfMagnitude(word & 0x7fffffff);
  }
  return out;
}

/** float16 bits of a float32 without its sign, given and returned as bits. */
function halfMagnitude(word: number): number {
  if (word > 0x7f800000) return 0x7e00;
  if (word >= 0x477ff000) return 0x7c00;
  // A half from 2^-14 up: re-bias the exponent and round the 13 bits that go. A carry into the exponent is right.
  if (word >= 0x38800000) return (word - 0x38000000 + 0xfff + ((word >>> 13) & 1)) >>> 13;
  if (word <= 0x33000000) return 0;
  // A subnormal half counts in units of 2^-24.
  const shift = 126 - (word >>> 23);
  const significand = (word & 0x7fffff) | 0x800000;
  const whole = significand >>> shift;
  const rest = significand & ((1 << shift) - 1);
  const tie = 1 << (shift - 1);
  return rest > tie || (rest === tie && whole & 1) ? whole + 1 : whole;
}

type Decoder = (bytes: Uint8Array, out: Float32Array) => void;

/** From stored bytes (aligned to their elements) to float32. Integers beyond 2^24 round to the nearest float32. */
const DECODERS: Partial<Record<Dtype, Decoder>> = {
  F32: (bytes, out) => new Uint8Array(out.buffer, out.byteOffset, bytes.byteLength).set(bytes),
  F16: (bytes, out) => f16ToF32(new Uint16Array(bytes.buffer, bytes.byteOffset, out.length), out),
  BF16: (bytes, out) => bf16ToF32(new Uint16Array(bytes.buffer, bytes.byteOffset, out.length), out),
  F64: (bytes, out) => out.set(new Float64Array(bytes.buffer, bytes.byteOffset, out.length)),
  U8: (bytes, out) => out.set(bytes),
  I32: (bytes, out) => out.set(new Int32Array(bytes.buffer, bytes.byteOffset, out.length)),
  I64(bytes, out) {
    const values = new BigInt64Array(bytes.buffer, bytes.byteOffset, out.length);
    for (let i = 0; i < values.length; i++) out[i] = Number(values[i]);
  },
};

/** Whether {@link decodeFloats} takes tensors of this type. */
export function canDecode(dtype: Dtype): boolean {
  return dtype in DECODERS;
}

/**
 * Converts stored elements to float32.
 *
 * @param bytes - `out.length` elements, at any alignment
 * @throws RangeError for a type that {@link canDecode} denies.
 */
export function decodeFloats(dtype: Dtype, bytes: Uint8Array, out: Float32Array): Float32Array {
  const decode = DECODERS[dtype];
  if (!decode) throw new RangeError(`internal: no conversion from ${dtype} to float32`);
  decode(bytes.byteOffset % 8 === 0 ? bytes : bytes.slice(), out);
  return out;
}
