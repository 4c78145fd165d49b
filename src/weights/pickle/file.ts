/**
 * Checkpoints of `torch.save`: a zip archive since 1.6, before that pickles followed by raw storages
 * (torch/serialization.py, `_load` and `_legacy_load`). A bare pickle of arrays is read, too.
 */

import { FileError } from "../../runtime/errors.ts";
import { type Bytes, readAll, slice } from "./bytes.ts";
import { Storage, torchType } from "./tensor.ts";
import { type FindStorage, lastName, type Nested, torchMeanings } from "./torch.ts";
import { unpickle } from "./unpickle.ts";
import { Dict, Global } from "./values.ts";
import { zipParts } from "./zip.ts";

/** What a legacy file begins with, as a pickle of its own: 0x1950a86a20f9469cfc6c. */
const MAGIC = 0x1950a86a20f9469cfc6cn;
const LEGACY_PROTOCOL = 1001;

/** @returns the object that was saved. @throws FileError for all that is not one, cut off, damaged, or a bomb */
export async function readTorchFile(bytes: Bytes, file: string, signal?: AbortSignal, depth = 0): Promise<unknown> {
  const head = await readAll(slice(bytes, 0, Math.min(bytes.size, 512)), signal);
  const starts = (text: string, at = 0) => [...text].every((c, i) => head[at + i] === c.charCodeAt(0));
  const not = (what: string) => new FileError(file, what);
  if (starts("PK\x03\x04")) return readZip(bytes, file, signal, depth);
  if (starts("version https://git-lfs"))
    throw not("is a Git LFS pointer, not the weights: fetch them with `git lfs pull`");
  if (starts("ustar", 257))
    throw not("is in PyTorch's tar format of before 0.1.10: load it with torch.load and save it again");
  if (head[8] === 0x7b) throw not("seems to be a safetensors file: give it a name that ends in .safetensors");
  if (head[0] !== 0x80) throw not("is not a PyTorch checkpoint: neither a zip archive nor a pickle");
  return readLegacy(bytes, file, signal, depth);
}

async function readZip(bytes: Bytes, file: string, signal: AbortSignal | undefined, depth: number): Promise<unknown> {
  const parts = await zipParts(bytes, file, signal);
  const pickles = [...parts.keys()].filter((name) => /^([^/]+\/)?data\.pkl$/.test(name));
  const [name] = pickles;
  if (name === undefined || pickles.length > 1)
    throw new FileError(file, "is a zip archive, but not one of torch.save: it has no data.pkl");
  const folder = name.slice(0, -"data.pkl".length);
  if (parts.has(`${folder}constants.pkl`))
    throw new FileError(file, "is a TorchScript program, not a checkpoint: save the module's state_dict");
  const order = parts.get(`${folder}byteorder`);
  const byteOrder = order && order.size < 8 ? new TextDecoder().decode(await readAll(order, signal)) : "little";
  if (byteOrder !== "little" && byteOrder !== "big") throw new FileError(file, "is damaged: its byte order is none");
  const places = new Map([...parts.keys()].map((part, i) => [part, i]));

  const storages = new Map<string, Storage>();
  const find: FindStorage = (id) => {
    const { type, key, count } = storageId(id, file);
    const known = storages.get(`${key} ${type.dtype} ${count}`);
    if (known) return known;
    const part = `${folder}data/${key}`;
    const data = parts.get(part);
    if (!data || data.size < count * type.bytes)
      throw new FileError(file, `is damaged: storage ${key} has ${data?.size ?? 0} bytes, not ${count * type.bytes}`);
    const storage = new Storage(type, count);
    storage.bytes = slice(data, 0, count * type.bytes);
    storage.bigEndian = byteOrder === "big";
    storage.order = places.get(part) as number;
    storages.set(`${key} ${type.dtype} ${count}`, storage);
    return storage;
  };
  const meanings = torchMeanings(file, find);
  const { value } = await unpickle(parts.get(name) as Bytes, 0, meanings, file, signal);
  await resolveNested(meanings.nested, file, signal, depth);
  return value;
}

/** Where the values of a legacy file's storage are: itself, or a part of another's. */
interface LegacyView {
  readonly root: string;
  readonly from: number;
  readonly storage: Storage;
}

async function readLegacy(
  bytes: Bytes,
  file: string,
  signal: AbortSignal | undefined,
  depth: number,
): Promise<unknown> {
  const roots = new Map<string, Storage>();
  const views = new Map<string, LegacyView>();
  const find: FindStorage = (id) => {
    const { type, key, count } = storageId(id, file);
    const root = roots.get(key) ?? new Storage(type, count);
    if (root.count !== count || root.type.bytes !== type.bytes)
      throw new FileError(file, `is damaged: storage ${key} is of two lengths`);
    roots.set(key, root);
    const [viewKey, from, length] = Array.isArray(id[5]) ? id[5] : [];
    if (viewKey === undefined) return root;
    if (typeof from !== "number" || typeof length !== "number" || from < 0 || length < 0 || from + length > count)
      throw new FileError(file, `is damaged: a view of storage ${key} is none`);
    const known = views.get(String(viewKey));
    const view = known ?? { root: key, from, storage: new Storage(type, length) };
    views.set(String(viewKey), view);
    return view.storage;
  };
  const meanings = torchMeanings(file, find);
  let at = 0;
  const next = async () => {
    const { value, end } = await unpickle(bytes, at, meanings, file, signal);
    at = end;
    return value;
  };
  let value = await next();
  if (value === MAGIC) {
    if ((await next()) !== LEGACY_PROTOCOL)
      throw new FileError(file, "is of a protocol of PyTorch's that is not known");
    const system = await next();
    if (system instanceof Dict && system.named().get("little_endian") === false)
      throw new FileError(file, "was written on a big-endian machine: load it with torch.load there and save it again");
    value = await next();
    const keys = await next();
    if (!Array.isArray(keys)) throw new FileError(file, "is damaged: its storages have no order");
    placeStorages(bytes, at, keys.map(String), roots, file);
    for (const { root, from, storage } of views.values()) {
      const whole = roots.get(root) as Storage;
      const size = storage.type.bytes;
      storage.bytes = whole.bytes && slice(whole.bytes, from * size, storage.count * size);
      storage.order = whole.order;
    }
  }
  await resolveNested(meanings.nested, file, signal, depth);
  return value;
}

/** Storages lie one after the other, each behind its length in elements, a 64-bit integer. */
function placeStorages(
  bytes: Bytes,
  start: number,
  keys: readonly string[],
  roots: Map<string, Storage>,
  file: string,
): void {
  let at = start;
  for (const [i, key] of keys.entries()) {
    const storage = roots.get(key);
    if (!storage || storage.bytes) throw new FileError(file, `is damaged: storage ${key} belongs to nothing`);
    const size = storage.count * storage.type.bytes;
    if (at + 8 + size > bytes.size)
      throw new FileError(
        file,
        `is cut off: storage ${key} would end at byte ${at + 8 + size}, the file at ${bytes.size}`,
      );
    storage.bytes = afterLength(bytes, at, storage, key, file);
    storage.order = i;
    at += 8 + size;
  }
}

/** A storage's bytes; that its length is the one said before is checked with the first read. */
function afterLength(bytes: Bytes, at: number, { count, type }: Storage, key: string, file: string): Bytes {
  let checked = false;
  return {
    size: count * type.bytes,
    async readInto(start, target, signal) {
      if (!checked) {
        const length = new DataView((await readAll(slice(bytes, at, 8), signal)).buffer).getBigInt64(0, true);
        if (length !== BigInt(count))
          throw new FileError(file, `is damaged: storage ${key} has ${length} elements, not ${count}`);
        checked = true;
      }
      await bytes.readInto(at + 8 + start, target, signal);
    },
  };
}

/** What a pickle says of a storage: ("storage", class, key, device, length in elements, …). */
function storageId(id: readonly unknown[], file: string) {
  const [, type, key, , count] = id;
  const found = type instanceof Global ? torchType(lastName(type)) : undefined;
  if (!found)
    throw new FileError(
      file,
      `holds a storage of a type that is not known${type instanceof Global ? `, ${type.name}` : ""}`,
    );
  if (typeof count !== "number" || !Number.isSafeInteger(count * found.bytes) || count < 0)
    throw new FileError(file, "is damaged: a storage has no length");
  return { type: found, key: String(key), count };
}

/** Storages that are files of their own inside this one. */
async function resolveNested(nested: readonly Nested[], file: string, signal: AbortSignal | undefined, depth: number) {
  for (const [i, storage] of nested.entries()) {
    const inner = depth > 0 ? undefined : await readTorchFile(storage.saved, file, signal, depth + 1);
    if (!(inner instanceof Storage) || !inner.bytes)
      throw new FileError(file, "is damaged: a storage inside it is none");
    storage.bytes = inner.bytes;
    storage.bigEndian = inner.bigEndian;
    storage.type = inner.type;
    storage.count = inner.count;
    storage.order = i;
  }
}
