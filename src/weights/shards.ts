/** The tensors of a file of weights, or of all the files that it is one of: headers only. */
import { FileError } from "../runtime/errors.ts";
import { listed } from "../runtime/printable.ts";
import { isObject, readJson } from "./json.ts";
import { isPickle, isUsualName, shardSet } from "./locate.ts";
import { checkPath, joinPath, label } from "./path.ts";
import { readHeader, type TensorInfo } from "./safetensors.ts";
import type { ModelSource } from "./source.ts";

/** A file's header; where it is a shard that no index names, with those of all its set. */
export async function readFile(source: ModelSource, path: string, warn: (text: string) => void, signal?: AbortSignal) {
  const paths = shardSet(path);
  if (paths.length === 1) {
    const isNamed = source.weights !== undefined || isPickle(path);
    if (!isNamed && !isUsualName(path)) warn("taken for the weights, as no other safetensors file lies there");
    return readHeader(source, path, signal);
  }
  const tensors = new Map<string, TensorInfo>();
  let metadata: Readonly<Record<string, string>> = {};
  for (const shard of paths) {
    if (!(await source.exists(shard, signal)))
      throw new FileError(label(source, shard), `this shard is missing; ${label(source, path)} is one of its set`);
    const header = await readHeader(source, shard, signal);
    metadata = { ...metadata, ...header.metadata };
    for (const [name, tensor] of header.tensors) {
      const other = tensors.get(name);
      if (other) throw new FileError(label(source, shard), `holds ${name}, and so does ${label(source, other.file)}`);
      tensors.set(name, tensor);
    }
  }
  warn(`no index names its shards: all ${paths.length} of the set are read together`);
  return { tensors, metadata };
}

/** The shards that an index names, and the tensors that it says are in each. */
export async function expectedShards(source: ModelSource, folder: string, indexPath: string, signal?: AbortSignal) {
  const index = label(source, indexPath);
  const { weight_map: weightMap } = await readJson(source, indexPath, signal);
  if (!isObject(weightMap)) throw new FileError(index, "has no weight_map");
  const expected = new Map<string, Set<string>>();
  for (const [tensor, shard] of Object.entries(weightMap)) {
    if (typeof shard !== "string") throw new FileError(index, `weight_map gives no file for ${JSON.stringify(tensor)}`);
    const path = checkPath(source, joinPath(folder, shard));
    expected.set(path, (expected.get(path) ?? new Set()).add(tensor));
  }
  for (const path of expected.keys())
    if (!(await source.exists(path, signal)))
      throw new FileError(label(source, path), `this shard is missing; ${index} names it`);
  return expected;
}

/** Reads the headers of all the shards, and checks them against their index. */
export async function readShards(
  source: ModelSource,
  expected: Map<string, Set<string>>,
  index: string,
  signal?: AbortSignal,
) {
  const tensors = new Map<string, TensorInfo>();
  let metadata: Readonly<Record<string, string>> = {};
  for (const [path, names] of expected) {
    const header = await readHeader(source, path, signal);
    metadata = { ...metadata, ...header.metadata };
    const absent = [...names].filter((name) => !header.tensors.has(name));
    const extra = [...header.tensors.keys()].filter((name) => !names.has(name));
    if (absent.length > 0)
      throw new FileError(label(source, path), `lacks ${listed(absent)}, which ${index} puts here`);
    if (extra.length > 0)
      throw new FileError(label(source, path), `holds ${listed(extra)}, which ${index} does not put here`);
    for (const [name, tensor] of header.tensors) tensors.set(name, tensor);
  }
  return { tensors, metadata };
}
