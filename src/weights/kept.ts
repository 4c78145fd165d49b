/**
 * What a page keeps of models: in the browser's Cache storage, since that can be written from pages and workers of every
 * browser, one cache a model. Files are kept in pieces, each under its file's version and with its digest, so that damage
 * shows, an interrupted load goes on, and two tabs write the same. A list of the files, with those that are not there, is
 * written when a load has succeeded: only then the next one asks the server nothing.
 */

import { FileError } from "../runtime/errors.ts";
import type { Version } from "./answers.ts";
import { sha256, textDigest, toHex } from "./digests.ts";
import { label } from "./path.ts";
import type { Fetch } from "./requests.ts";
import { CHANGED, checkRange, type ModelSource, readInto, tooLong } from "./source.ts";
import { serverSource } from "./url.ts";

/** Bytes of a piece: as much as is read at once when weights are loaded. */
const PIECE_BYTES = 8 * 2 ** 20;

const PREFIX = "ddim-webgpu model 1 ";
const LIST = "files";

/** Of a file; null where there is none. */
type Facts = { readonly size: number; version?: Version; tag?: string } | null;

interface KeptOptions {
  readonly fetch: Fetch | undefined;
  readonly reload: boolean;
  readonly onWarning: (text: string) => void;
  readonly pieceBytes?: number;
}

const cacheName = async (id: string) => PREFIX + (await textDigest(id)).slice(0, 32);

const ownNames = async () => (await caches.keys()).filter((name) => name.startsWith(PREFIX));

/** Bytes of all entries of all models. */
export async function keptBytes(): Promise<number> {
  let sum = 0;
  for (const name of await ownNames().catch(() => []))
    for (const entry of await (await caches.open(name)).matchAll()) sum += Number(entry.headers.get("content-length"));
  return sum;
}

/** Removes a model, or all of them. Where there is no storage, there is nothing to remove. */
export async function forget(id?: string): Promise<void> {
  try {
    for (const name of id === undefined ? await ownNames() : [await cacheName(id)]) await caches.delete(name);
  } catch {
    // The same that kept it from being written.
  }
}

/** Entries of one model, by the parts of their names. */
class Entries {
  private constructor(private readonly cache: Cache) {}

  static async open(id: string): Promise<Entries> {
    return new Entries(await caches.open(await cacheName(id)));
  }

  /** Keys of a cache are URLs; nothing is ever fetched from this one. */
  static key(...parts: readonly string[]): string {
    return `https://model.invalid/${parts.map(encodeURIComponent).join("/")}`;
  }

  /** @returns undefined where there is no such entry, or a damaged one */
  async read(key: string): Promise<Uint8Array | undefined> {
    const entry = await this.cache.match(key);
    const bytes = entry && new Uint8Array(await entry.arrayBuffer());
    const whole = bytes && entry.headers.get("digest") === toHex(await sha256(bytes));
    return whole ? bytes : undefined;
  }

  async write(key: string, bytes: Uint8Array): Promise<void> {
    const headers = { "content-length": String(bytes.byteLength), digest: toHex(await sha256(bytes)) };
    await this.cache.put(key, new Response(bytes as Uint8Array<ArrayBuffer>, { headers }));
  }

  /** Removes the pieces of other versions. */
  async retain(folders: ReadonlySet<string>): Promise<void> {
    for (const { url } of await this.cache.keys())
      if (!folders.has(url.slice(0, url.lastIndexOf("/"))) && url !== Entries.key(LIST)) await this.cache.delete(url);
  }

  async list(): Promise<Map<string, Facts>> {
    const bytes = await this.read(Entries.key(LIST));
    return new Map(bytes && Object.entries(JSON.parse(new TextDecoder().decode(bytes))));
  }
}

/**
 * A source below a folder's URL that keeps what is read, and reads what is kept. Where nothing can be kept it is read all
 * the same, with one warning.
 */
export async function keptSource(url: URL, id: string, options: KeptOptions): Promise<ModelSource> {
  const { fetch, reload, onWarning, pieceBytes = PIECE_BYTES } = options;
  const versions = new Map<string, Version>();
  const ask = fetch ?? ((to, init) => globalThis.fetch(to, init));
  const again: Fetch = (to, init) => ask(to, { ...init, cache: "reload" });
  const source = serverSource(url, { fetch: reload ? again : fetch }, versions);
  const facts = new Map<string, Facts>();
  let entries: Entries | undefined;
  function warn(error: unknown): void {
    const why = (error as Error)?.name ?? error;
    onWarning(`${source.name}: the browser keeps nothing of it (${why}), so every visit downloads it`);
  }
  try {
    entries = await Entries.open(id);
    if (!reload) for (const [path, fact] of await entries.list()) facts.set(path, fact);
  } catch (error) {
    warn(error);
    return source;
  }
  for (const [path, fact] of facts) if (fact?.version) versions.set(path, fact.version);
  const complete = facts.size > 0;
  let [loaded, news] = [false, reload];
  /** Of files whose versions nothing tells, so that what is read of them is never mixed with another load's. */
  const unknown = crypto.randomUUID();
  /** Pieces of this load, which are right even where none of before counts. */
  const fresh = new Set<string>();
  let last: { key: string; bytes: Uint8Array } | undefined;
  let writing = Promise.resolve();

  async function giveUp(error: unknown): Promise<undefined> {
    if (!entries) return;
    entries = undefined;
    warn(error);
    if (!complete) await forget(id);
  }

  function write(what: (entries: Entries) => Promise<void>): void {
    writing = writing.then(() => entries && what(entries)).catch(giveUp);
  }

  function saveList(): void {
    write(async (entries) => {
      const list = [...facts].map(([path, fact]) => [path, fact && { ...fact, version: versions.get(path) }]);
      const text = JSON.stringify(Object.fromEntries(list));
      await entries.write(Entries.key(LIST), new TextEncoder().encode(text));
      const folders = [...facts].flatMap(([path, fact]) => (fact?.tag ? Entries.key(path, fact.tag) : []));
      await entries.retain(new Set(folders));
    });
  }

  function changed(): void {
    news = true;
    if (loaded) saveList();
  }

  async function find(path: string, signal?: AbortSignal): Promise<Facts> {
    const known = facts.get(path);
    if (known !== undefined) return known;
    const found = (await source.exists(path, signal)) ? { size: await source.size(path, signal) } : null;
    facts.set(path, found);
    changed();
    return found;
  }

  function tagOf(path: string, size: number): string | undefined {
    const { etag, modified } = versions.get(path) ?? {};
    return (etag ?? modified) === undefined ? undefined : JSON.stringify([etag, modified, size]);
  }

  /** The key of a piece, once its file's version is known; it stays what it was when it was first known. */
  function keyOf(path: string, fact: NonNullable<Facts>, index: number, tag = fact.tag ?? tagOf(path, fact.size)) {
    if (tag !== undefined && fact.tag === undefined) {
      fact.tag = tag;
      changed();
    }
    return tag === undefined ? undefined : Entries.key(path, tag, String(index));
  }

  async function piece(path: string, fact: NonNullable<Facts>, index: number, signal?: AbortSignal) {
    signal?.throwIfAborted();
    const start = index * pieceBytes;
    const length = Math.min(pieceBytes, fact.size - start);
    const known = keyOf(path, fact, index);
    if (known !== undefined) {
      if (last?.key === known) return last.bytes;
      const kept = !reload || fresh.has(known) ? await entries?.read(known).catch(giveUp) : undefined;
      if (kept?.byteLength === length) {
        last = { key: known, bytes: kept };
        return kept;
      }
    }
    const bytes = new Uint8Array(length);
    try {
      await readInto(source, path, start, bytes, signal);
    } catch (error) {
      // What is kept is another version's: the next load asks the server.
      if (error instanceof FileError && error.problem === CHANGED) {
        entries = undefined;
        await forget(id);
      }
      throw error;
    }
    const key = keyOf(path, fact, index) ?? (keyOf(path, fact, index, unknown) as string);
    last = { key, bytes };
    fresh.add(key);
    // Not more than one waits to be written.
    await writing;
    write((entries) => entries.write(key, bytes));
    return bytes;
  }

  async function fillFrom(
    path: string,
    fact: NonNullable<Facts>,
    start: number,
    target: Uint8Array,
    signal?: AbortSignal,
  ) {
    checkRange(label(source, path), start, start + target.byteLength, fact.size);
    for (let filled = 0; filled < target.byteLength; ) {
      const index = Math.floor((start + filled) / pieceBytes);
      const from = start + filled - index * pieceBytes;
      const part = (await piece(path, fact, index, signal)).subarray(from, from + target.byteLength - filled);
      target.set(part, filled);
      filled += part.byteLength;
    }
  }

  return {
    name: source.name,
    remote: true,
    refusal: () => source.refusal?.(),
    exists: async (path, signal) => (await find(path, signal)) !== null,
    size: async (path, signal) => (await find(path, signal))?.size ?? source.size(path, signal),
    stamp: async (path, signal) => source.stamp?.(path, signal),
    async read(path, range, signal, limit = Number.POSITIVE_INFINITY) {
      const fact = await find(path, signal);
      if (!fact) return source.read(path, range, signal, limit);
      const { start, end } = range ?? { start: 0, end: fact.size };
      if (!range && end > limit) throw tooLong(label(source, path), limit);
      checkRange(label(source, path), start, end, fact.size);
      const bytes = new Uint8Array(end - start);
      await fillFrom(path, fact, start, bytes, signal);
      return bytes;
    },
    async readInto(path, start, target, signal) {
      const fact = await find(path, signal);
      if (!fact) return readInto(source, path, start, target, signal);
      await fillFrom(path, fact, start, target, signal);
    },
    async keep() {
      loaded = true;
      if (news) saveList();
      await writing;
    },
  };
}
