/**
 * A pickle as the safetensors file that it could be: the same source, in which the file's path gives a header and the
 * tensors behind it. Whoever reads safetensors reads pickles so. Values are read from where they are when asked for.
 */

import { FileError } from "../../runtime/errors.ts";
import { checkKind, checkOptions, type OptionNames } from "../../runtime/options.ts";
import { DTYPE_BITS, type Dtype } from "../dtype.ts";
import { layOut } from "../encode.ts";
import { checkPath, label } from "../path.ts";
import { checkRange, delegating, type ModelSource, readInto as readFrom } from "../source.ts";
import { type Bytes, fileBytes } from "./bytes.ts";
import { readTorchFile } from "./file.ts";
import { findState } from "./state.ts";
import { checkTensor, orderedBytes } from "./tensor.ts";

export interface PickleOptions {
  /** "ema": the moving average, where the file keeps one apart from the plain weights. */
  readonly weights?: "plain" | "ema";
  readonly signal?: AbortSignal;
}

const pickleNames: OptionNames<PickleOptions> = { weights: "a text", signal: "an AbortSignal" };

export interface PickleSource extends ModelSource {
  /** Where in the pickle the weights were; "" is the whole of it. */
  readonly place: string;
  /** What else it holds, by name. */
  readonly leftOut: readonly string[];
}

/** Bytes that tensors may have together, for each byte of the file and to begin with: many can be views of the same. */
const VIEWS = 16;
const VIEWS_BASE = 16 * 2 ** 20;

/** {@link PickleSource}; `lazy.ts` has the contract. Its metadata say `weights: "ema"` for a moving average. */
export async function pickleSource(
  source: ModelSource,
  path: string,
  options: PickleOptions = {},
): Promise<PickleSource> {
  checkOptions("pickleSource", options, pickleNames);
  checkKind("pickleSource", "source", "a source of files", source);
  checkKind("pickleSource", "path", "a text", path);
  const { weights = "plain", signal } = options;
  const file = label(source, checkPath(source, path));
  const bytes = await fileBytes(source, path, signal);
  const state = findState(await readTorchFile(bytes, file, signal), weights === "ema", file);
  for (const [name, tensor] of state.tensors) checkTensor(file, name, tensor);
  const total = [...state.tensors.values()].reduce((sum, tensor) => sum + tensor.byteLength, 0);
  if (total > VIEWS * bytes.size + VIEWS_BASE)
    throw new FileError(file, `claims tensors of ${total} bytes, of a file of ${bytes.size}`);

  // Large elements first, so that all are aligned; then as they lie in the file, so that it is read forwards.
  const size = (dtype: Dtype | undefined) => DTYPE_BITS[dtype as Dtype];
  const sorted = [...state.tensors].sort(
    ([, a], [, b]) =>
      size(b.type.dtype) - size(a.type.dtype) || a.storage.order - b.storage.order || a.offset - b.offset,
  );
  const metadata: Record<string, string> = { format: "pt", ...(state.ema ? { weights: "ema" } : {}) };
  const { header } = layOut(
    sorted.map(([name, { type, shape }]) => ({ name, dtype: type.dtype as Dtype, shape })),
    metadata,
  );
  const parts: { start: number; end: number; bytes: Bytes }[] = [];
  let end = header.byteLength;
  for (const [name, tensor] of sorted) {
    parts.push({ start: end, end: end + tensor.byteLength, bytes: orderedBytes(tensor, file, name) });
    end += tensor.byteLength;
  }

  async function readInto(start: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    const stop = start + target.byteLength;
    checkRange(file, start, stop, end);
    if (start < header.byteLength) target.set(header.subarray(start, stop));
    for (let i = firstEnding(parts, start); i < parts.length; i++) {
      const part = parts[i] as (typeof parts)[number];
      if (part.start >= stop) break;
      signal?.throwIfAborted();
      const [from, to] = [Math.max(part.start, start), Math.min(part.end, stop)];
      await part.bytes.readInto(from - part.start, target.subarray(from - start, to - start), signal);
    }
  }

  return {
    ...delegating(source),
    place: state.place,
    leftOut: state.leftOut,
    async read(other, range, signal, limit) {
      if (other !== path) return source.read(other, range, signal, limit);
      const { start, end: stop } = range ?? { start: 0, end };
      checkRange(file, start, stop, end);
      const target = new Uint8Array(stop - start);
      await readInto(start, target, signal);
      return target;
    },
    async readInto(other, start, target, signal) {
      return other === path ? readInto(start, target, signal) : readFrom(source, other, start, target, signal);
    },
    size: async (other, signal) => (other === path ? end : source.size(other, signal)),
  };
}

/** The first part that ends behind `start`, by halving. */
function firstEnding(parts: readonly { readonly end: number }[], start: number): number {
  let [low, high] = [0, parts.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((parts[middle] as { end: number }).end > start) high = middle;
    else low = middle + 1;
  }
  return low;
}
