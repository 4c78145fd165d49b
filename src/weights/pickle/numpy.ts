/** NumPy's arrays, types and scalars in a pickle, under the names of NumPy 1 and 2 (numpy/core/src/multiarray/methods.c). */

import { FileError } from "../../runtime/errors.ts";
import { decodeFloats } from "../convert.ts";
import { DTYPE_BITS, type Dtype } from "../dtype.ts";
import { type Bytes, fromLatin1, latin1Bytes, memoryBytes } from "./bytes.ts";
import { type ElementType, PickledTensor, Storage, stridesOf } from "./tensor.ts";
import { LongText, Stub } from "./values.ts";

const DTYPES: Readonly<Record<string, Dtype>> = {
  ...{ f2: "F16", f4: "F32", f8: "F64", b1: "BOOL", c8: "C64" },
  ...{ i1: "I8", i2: "I16", i4: "I32", i8: "I64", u1: "U8", u2: "U16", u4: "U32", u8: "U64" },
};

class NumpyType {
  bigEndian = false;

  constructor(
    /** undefined: of a kind that safetensors has no type for. */
    readonly type: ElementType | undefined,
  ) {}
}

/** An array; `data` is what the pickle holds: bytes, or a list of objects. */
export class NumpyArray {
  type: NumpyType | undefined;
  shape: readonly number[] = [];
  columnMajor = false;
  /** Where each axis is among those of the row-major bytes; undefined where they are in that order. */
  axes: unknown;
  data: unknown;

  /** @param state version, shape, type, whether it is column-major, bytes */
  setState(state: unknown, file: string): void {
    if (!Array.isArray(state) || state.length !== 5) throw new FileError(file, "is damaged: an array has no values");
    [, this.shape, this.type, this.columnMajor, this.data] = state;
  }
}

/** An array as a tensor; undefined for one of objects, or of a type that no tensor has. @throws FileError */
export function numpyTensor(
  { type, shape, columnMajor, axes, data }: NumpyArray,
  file: string,
): PickledTensor | undefined {
  const element = type instanceof NumpyType ? type.type : undefined;
  if (!element || Array.isArray(data)) return undefined;
  if (!Array.isArray(shape) || !shape.every((n) => Number.isSafeInteger(n) && n >= 0) || shape.length > 64)
    throw new FileError(file, "is damaged: an array has no shape");
  const count = shape.reduce((product, n) => product * n, 1);
  const bytes = toBytes(data, count * element.bytes, file);
  if (bytes?.size !== count * element.bytes)
    throw new FileError(file, `is damaged: an array [${shape.join(", ")}] is not as long as its shape says`);
  const storage = new Storage(element, count);
  storage.bytes = bytes;
  storage.bigEndian = (type as NumpyType).bigEndian;
  const strides = stridesOf(shape, columnMajor);
  if (axes === undefined) return new PickledTensor(storage, shape, strides, 0);
  const order = axes as number[];
  if (
    !Array.isArray(axes) ||
    [...axes].sort((a, b) => a - b).some((axis, i) => axis !== i) ||
    axes.length !== shape.length
  )
    throw new FileError(file, "is damaged: an array has no order of axes");
  const turned = (values: readonly number[]) => order.map((axis) => values[axis] as number);
  return new PickledTensor(storage, turned(shape), turned(strides), 0);
}

function toBytes(data: unknown, size: number, file: string): Bytes | undefined {
  if (data instanceof Uint8Array) return memoryBytes(data);
  // Python 2 wrote bytes as texts.
  if (typeof data === "string") return memoryBytes(new TextEncoder().encode(data));
  // UTF-8 takes a byte or two for each of them.
  if (data instanceof LongText)
    return data.utf8.size < size || data.utf8.size > 2 * size ? undefined : latin1Bytes(data.utf8, size, file);
  return typeof data === "object" && data !== null && "readInto" in data ? (data as Bytes) : undefined;
}

/** The functions and classes by which NumPy's objects are made. @param file named in errors */
export function numpyCalls(file: string): [string, (args: readonly unknown[]) => unknown][] {
  const array = () => new NumpyArray();
  const scalar = ([type, value]: readonly unknown[]) => {
    const element = type instanceof NumpyType ? type.type : undefined;
    const bytes = typeof value === "string" ? (fromLatin1(value) ?? value) : value;
    if (!element?.dtype || !(bytes instanceof Uint8Array) || bytes.byteLength !== element.bytes)
      return new Stub("scalar");
    return (
      numberOf(element.dtype, (type as NumpyType).bigEndian ? bytes.slice().reverse() : bytes) ?? new Stub("scalar")
    );
  };
  const fromBuffer = ([data, type, shape, order, axes]: readonly unknown[]) => {
    const made = new NumpyArray();
    made.setState([1, shape, type, order === "F", data], file);
    made.axes = order === "K" ? (axes ?? undefined) : undefined;
    return made;
  };
  const dtype = ([code]: readonly unknown[]) => {
    const found = Object.hasOwn(DTYPES, String(code)) ? DTYPES[String(code)] : undefined;
    return new NumpyType(found && { dtype: found, bytes: DTYPE_BITS[found] / 8 });
  };
  return [
    ["numpy.dtype", dtype],
    ...["numpy.core", "numpy._core"].flatMap((core): [string, (args: readonly unknown[]) => unknown][] => [
      [`${core}.multiarray._reconstruct`, array],
      [`${core}.multiarray.scalar`, scalar],
      [`${core}.numeric._frombuffer`, fromBuffer],
    ]),
  ];
}

/** What BUILD says of a type: its byte order comes second. */
export function setTypeState(type: unknown, state: unknown): void {
  if (type instanceof NumpyType && Array.isArray(state)) type.bigEndian = state[1] === ">";
}

function numberOf(dtype: Dtype, bytes: Uint8Array): number | boolean | undefined {
  if (dtype === "BOOL") return bytes[0] !== 0;
  if (dtype === "F64") return new Float64Array(bytes.slice().buffer)[0];
  if (dtype !== "I64" && dtype !== "I32" && dtype !== "F32" && dtype !== "F16" && dtype !== "U8") return undefined;
  if (dtype === "I64") return Number(new BigInt64Array(bytes.slice().buffer)[0]);
  return decodeFloats(dtype, bytes, new Float32Array(1))[0];
}
