/** Tensors of a pickle: a storage and a view of it, with strides. Their values are read when asked for. */

import { FileError } from "../../runtime/errors.ts";
import { DTYPE_BITS, type Dtype } from "../dtype.ts";
import { type Bytes, memoryBytes, slice } from "./bytes.ts";

/** PyTorch's names of types, of storages' classes too, that safetensors has a type for. */
const TORCH_DTYPES: Readonly<Record<string, Dtype>> = {
  ...{ float32: "F32", float: "F32", FloatStorage: "F32", float64: "F64", double: "F64", DoubleStorage: "F64" },
  ...{ float16: "F16", half: "F16", HalfStorage: "F16", bfloat16: "BF16", BFloat16Storage: "BF16" },
  ...{ int64: "I64", long: "I64", LongStorage: "I64", int32: "I32", int: "I32", IntStorage: "I32" },
  ...{ int16: "I16", short: "I16", ShortStorage: "I16", int8: "I8", CharStorage: "I8" },
  ...{ uint8: "U8", ByteStorage: "U8", UntypedStorage: "U8", uint16: "U16", uint32: "U32", uint64: "U64" },
  ...{ bool: "BOOL", BoolStorage: "BOOL", complex64: "C64", cfloat: "C64", ComplexFloatStorage: "C64" },
  ...{ float8_e4m3fn: "F8_E4M3", float8_e5m2: "F8_E5M2", float8_e8m0fnu: "F8_E8M0" },
  ...{ float8_e4m3fnuz: "F8_E4M3FNUZ", float8_e5m2fnuz: "F8_E5M2FNUZ" },
};

/** Bytes of an element of the types that it has none for. */
const OTHER_BYTES: Readonly<Record<string, number>> = {
  ComplexDoubleStorage: 16,
  QUInt8Storage: 1,
  QInt8Storage: 1,
  QInt32Storage: 4,
  QUInt4x2Storage: 1,
  QUInt2x4Storage: 1,
};

/** An element type; `dtype` is undefined where safetensors has none. */
export interface ElementType {
  readonly dtype: Dtype | undefined;
  readonly bytes: number;
}

/** @param name of a type or a storage's class, without its module; undefined when it is neither */
export function torchType(name: string): ElementType | undefined {
  const dtype = Object.hasOwn(TORCH_DTYPES, name) ? TORCH_DTYPES[name] : undefined;
  if (dtype) return { dtype, bytes: DTYPE_BITS[dtype] / 8 };
  return Object.hasOwn(OTHER_BYTES, name) ? { dtype: undefined, bytes: OTHER_BYTES[name] as number } : undefined;
}

/** What tensors are views of. A legacy file says where its bytes are only behind all that refers to them. */
export class Storage {
  bytes: Bytes | undefined;
  bigEndian = false;
  /** Order among the storages of the file, in which reading them is quickest. */
  order = 0;

  constructor(
    public type: ElementType,
    /** Length in elements. */
    public count: number,
  ) {}
}

/** A view: element (i, j, …) is at `offset` + i·strides[0] + j·strides[1] + … of the storage, all in elements. */
export class PickledTensor {
  constructor(
    readonly storage: Storage,
    readonly shape: readonly number[],
    readonly strides: readonly number[],
    readonly offset: number,
    /** Its own, where the storage is bare bytes. */
    readonly ownType?: ElementType,
    /** Why it cannot be taken as it is; undefined where it can. */
    readonly obstacle?: string,
  ) {}

  get type(): ElementType {
    return this.ownType ?? this.storage.type;
  }

  get count(): number {
    return this.shape.reduce((product, dimension) => product * dimension, 1);
  }

  get byteLength(): number {
    return this.count * this.type.bytes;
  }

  /** Elements of the storage from the first to the last that are used. */
  get span(): number {
    if (this.count === 0) return 0;
    return 1 + this.shape.reduce((sum, dimension, axis) => sum + (dimension - 1) * (this.strides[axis] as number), 0);
  }

  /** Whether it lies in the storage as a row-major array does. */
  get contiguous(): boolean {
    let step = 1;
    for (let axis = this.shape.length - 1; axis >= 0; axis--) {
      if (this.shape[axis] !== 1 && this.strides[axis] !== step) return false;
      step *= this.shape[axis] as number;
    }
    return true;
  }
}

/** Strides of a row-major array, or of a column-major one. */
export function stridesOf(shape: readonly number[], columnMajor = false): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  let step = 1;
  for (let i = 0; i < shape.length; i++) {
    const axis = columnMajor ? i : shape.length - 1 - i;
    strides[axis] = step;
    step *= shape[axis] as number;
  }
  return strides;
}

/** @throws FileError when a tensor is not one, or not inside its storage */
export function checkTensor(file: string, name: string, tensor: PickledTensor): void {
  const fail = (problem: string): never => {
    throw new FileError(file, `tensor ${JSON.stringify(name)} ${problem}`);
  };
  const { storage, shape, strides, offset, type, count, span } = tensor;
  const numbers = [...shape, ...strides, offset, count, span, count * type.bytes, (offset + span) * type.bytes];
  if (shape.length !== strides.length || !numbers.every((n) => Number.isSafeInteger(n) && n >= 0))
    fail("has a shape that is none");
  const held = storage.bytes;
  if (!held) throw new FileError(file, `tensor ${JSON.stringify(name)} has its values nowhere in the file`);
  if (count > 0 && (offset + span) * type.bytes > held.size)
    fail(`needs ${(offset + span) * type.bytes} bytes of a storage that has ${held.size}`);
}

/** Largest tensor that is put in order in memory. */
const MAX_GATHERED = 2 ** 31;

/** A tensor's bytes in row-major, little-endian order: as they lie where they can be, else put in order in memory. */
export function orderedBytes(tensor: PickledTensor, file: string, name: string): Bytes {
  const { type, storage, offset, contiguous, byteLength: size } = tensor;
  const bytes = storage.bytes as Bytes;
  const from = offset * type.bytes;
  if (size === 0) return memoryBytes(new Uint8Array(0));
  if (contiguous && !storage.bigEndian) return slice(bytes, from, size);
  let kept: WeakRef<Uint8Array> | undefined;
  return {
    size,
    async readInto(start, target, signal) {
      let ordered = kept?.deref();
      if (!ordered) {
        const span = tensor.span * type.bytes;
        if (span + size > MAX_GATHERED)
          throw new FileError(file, `tensor ${JSON.stringify(name)} is not in order and too large to be put so`);
        const held = new Uint8Array(span);
        await bytes.readInto(from, held, signal);
        if (storage.bigEndian) swap(held, type.dtype === "C64" ? 4 : type.bytes);
        ordered = contiguous ? held : gather(held, tensor);
        kept = new WeakRef(ordered);
      }
      target.set(ordered.subarray(start, start + target.byteLength));
    },
  };
}

/** Turns the bytes of every element round. */
function swap(bytes: Uint8Array, element: number): void {
  for (let at = 0; at < bytes.byteLength; at += element) bytes.subarray(at, at + element).reverse();
}

const ELEMENTS = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array } as const;

/** The elements in row-major order. @param held from the first element on */
function gather(held: Uint8Array<ArrayBuffer>, { shape, strides, type, count }: PickledTensor): Uint8Array {
  const Elements = ELEMENTS[type.bytes as keyof typeof ELEMENTS];
  const from = new Elements(held.buffer, 0, held.byteLength / type.bytes);
  const to = new Elements(count);
  const index = new Array<number>(shape.length).fill(0);
  const inner = shape.at(-1) as number;
  const step = strides.at(-1) as number;
  for (let at = 0, place = 0; at < count; ) {
    for (let i = 0; i < inner; i++) to[at + i] = from[place + i * step] as never;
    at += inner;
    // The next element, as an odometer turns.
    for (let axis = shape.length - 2; axis >= 0; axis--) {
      place += strides[axis] as number;
      index[axis] = (index[axis] as number) + 1;
      if ((index[axis] as number) < (shape[axis] as number)) break;
      place -= (shape[axis] as number) * (strides[axis] as number);
      index[axis] = 0;
    }
  }
  return new Uint8Array(to.buffer);
}
