/**
 * The header of a safetensors file, read by range and checked as the reference implementation checks it
 * (huggingface/safetensors, `SafeTensors::read_metadata` and `Metadata::validate`): an unsigned 64-bit little-endian
 * length, that many bytes of JSON which name each tensor's type, shape and place, then the tensors, without gaps.
 * Stricter in two points, both ambiguities: a name may appear only once, and an entry must be an object.
 */

import { FileError } from "../runtime/errors.ts";
import { DTYPE_BITS, type Dtype, isDtype } from "./dtype.ts";
import { decodeUtf8, isObject, parseJson } from "./json.ts";
import { checkPath, label } from "./path.ts";
import { type ModelSource, readInto } from "./source.ts";

/** Headers of real files have less than 1 MiB; the reference implementation takes up to 100 MB. */
const MAX_HEADER_BYTES = 25 * 2 ** 20;
const MAX_TENSORS = 100_000;
/** An entry of a real file has at most a dozen values. */
const MAX_HEADER_VALUES = 20 * MAX_TENSORS;

/** Most headers fit, so most files are opened with one read. */
const FIRST_READ_BYTES = 128 * 1024;

/** What a header says about a tensor. */
export interface TensorInfo {
  /** As the file spells it. */
  readonly name: string;
  readonly dtype: Dtype;
  /** Row-major, as in the framework that wrote it. Empty for a scalar. */
  readonly shape: readonly number[];
  /** The file's path in its source. */
  readonly file: string;
  /** The tensor's bytes in the file: from `start` up to `end`, not included. */
  readonly start: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  /** In the order of the data. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** The file's `__metadata__`. */
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Reads and checks a file's header.
 *
 * @throws FileError naming the file and, where one is at fault, the tensor.
 */
export async function readHeader(source: ModelSource, path: string, signal?: AbortSignal): Promise<SafetensorsHeader> {
  const file = label(source, checkPath(source, path));
  const size = await source.size(path, signal);
  const first = new Uint8Array(Math.min(size, FIRST_READ_BYTES));
  await readInto(source, path, 0, first, signal);
  const length = headerLength(file, first, size);
  let json = first.subarray(8, 8 + length);
  if (json.byteLength < length) {
    const all = new Uint8Array(length);
    all.set(json);
    await readInto(source, path, first.byteLength, all.subarray(json.byteLength), signal);
    json = all;
  }
  return parseHeader({ file, path, json, size });
}

/** White space may stand before the JSON: the reference implementation's reader passes over it. */
const SPACE: ReadonlySet<number> = new Set([0x20, 0x0a, 0x0d, 0x09]);
const BRACE = 0x7b;

/** The header's length out of the file's first bytes. */
function headerLength(file: string, first: Uint8Array, size: number): number {
  if (startsWith(first, "version https://git-lfs"))
    throw new FileError(file, "is a Git LFS pointer, not the weights: fetch them with `git lfs pull`");
  if (size < 8) throw new FileError(file, `is not a safetensors file: it has only ${size} bytes`);
  const view = new DataView(first.buffer, first.byteOffset, 8);
  const length = view.getUint32(4, true) * 2 ** 32 + view.getUint32(0, true);
  if (length > MAX_HEADER_BYTES)
    throw new FileError(
      file,
      `is not a safetensors file: its header would be ${length} bytes long, over the limit of 25 MiB`,
    );
  if (length > size - 8)
    throw new FileError(file, `is cut off: its header is ${length} bytes long, the file only ${size} bytes`);
  const begin = first.subarray(8, 8 + length).findIndex((byte) => !SPACE.has(byte));
  if (begin < 0 ? first.byteLength >= 8 + length : first[8 + begin] !== BRACE)
    throw new FileError(file, "is not a safetensors file: its header is not JSON");
  return length;
}

/** Checks a header's JSON against a file of `size` bytes. */
function parseHeader(at: { file: string; path: string; json: Uint8Array; size: number }): SafetensorsHeader {
  const { file, path, json, size } = at;
  const dataStart = 8 + json.byteLength;
  const entries = parseJson(file, decodeUtf8(file, json), {
    integers: true,
    // One member may be __metadata__.
    maxMembers: MAX_TENSORS + 1,
    maxValues: MAX_HEADER_VALUES,
  });
  if (!isObject(entries)) throw new FileError(file, "the header is not a JSON object");
  const { __metadata__, ...named } = entries;
  const names = Object.keys(named);
  if (names.length > MAX_TENSORS) throw new FileError(file, `holds more than ${MAX_TENSORS} tensors`);
  const metadata = parseMetadata(file, __metadata__);
  const tensors = names.map((name) => parseEntry(file, path, name, named[name], dataStart));
  tensors.sort((a, b) => a.start - b.start || a.end - b.end);

  let end = dataStart;
  let previous = "the header";
  for (const tensor of tensors) {
    const name = JSON.stringify(tensor.name);
    if (tensor.start !== end) {
      const fault = tensor.start < end ? "overlaps" : "leaves a hole after";
      throw new FileError(file, `tensor ${name} ${fault} ${previous}: it begins at byte ${tensor.start}, not ${end}`);
    }
    end = tensor.end;
    previous = `tensor ${name}`;
  }
  if (end > size) throw new FileError(file, `is cut off: ${previous} ends at byte ${end}, the file at ${size}`);
  if (end < size) throw new FileError(file, `has ${size - end} bytes after the last tensor that no tensor claims`);
  return { tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])), metadata };
}

function parseEntry(file: string, path: string, name: string, entry: unknown, dataStart: number): TensorInfo {
  const fail = (problem: string): never => {
    throw new FileError(file, `tensor ${JSON.stringify(name)} ${problem}`);
  };
  if (!isObject(entry)) return fail("has no description");
  const { dtype, shape, data_offsets: offsets } = entry;
  if (!isDtype(dtype)) return fail(`has dtype ${JSON.stringify(dtype)}, which the format does not define`);
  if (!isIntegers(shape)) return fail(`has shape ${JSON.stringify(shape)}, not a list of integers from 0 up`);
  if (!isIntegers(offsets) || offsets.length !== 2 || offsets[1]! < offsets[0]!)
    return fail(`has data_offsets ${JSON.stringify(offsets)}, not a begin and an end`);
  let bits: number = DTYPE_BITS[dtype];
  for (const dimension of shape) {
    bits *= dimension;
    if (!Number.isSafeInteger(bits)) return fail(`has shape [${shape.join(", ")}], which is too large`);
  }
  const [start, end] = offsets as [number, number];
  if (bits !== (end - start) * 8)
    return fail(`of ${dtype} [${shape.join(", ")}] takes ${bits / 8} bytes, but its data_offsets span ${end - start}`);
  return { name, dtype, shape, file: path, start: dataStart + start, end: dataStart + end };
}

function parseMetadata(file: string, metadata: unknown): Record<string, string> {
  if (metadata === undefined || metadata === null) return {};
  if (!isObject(metadata)) throw new FileError(file, "the header's __metadata__ is not an object");
  for (const [key, value] of Object.entries(metadata))
    if (typeof value !== "string")
      throw new FileError(file, `the header's __metadata__ has a value that is not text: ${JSON.stringify(key)}`);
  return metadata as Record<string, string>;
}

function isIntegers(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}

function startsWith(bytes: Uint8Array, text: string): boolean {
  return bytes.length >= text.length && [...text].every((c, i) => bytes[i] === c.charCodeAt(0));
}
