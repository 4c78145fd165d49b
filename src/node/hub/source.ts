/**
 * A model of the Hugging Face Hub as a source. A file is downloaded into the cache when it is first read, so that the choice
 * among a repository's formats, variants and parts is the loader's own; of safetensors the header comes first, alone, so that
 * a model that does not fit is refused before gigabytes have come.
 */
import { FileError } from "../../runtime/errors.ts";
import type { HubId } from "../../weights/hub.ts";
import { label } from "../../weights/path.ts";
import type { Fetch } from "../../weights/requests.ts";
import { CHANGED, type ModelSource, readInto, tooLong } from "../../weights/source.ts";
import { folderSource } from "../folder.ts";
import { HubClient, type HubFile, HubRefusal, type Listing } from "./api.ts";
import { HubCache } from "./cache.ts";
import { download, sweepParts } from "./download.ts";
import { type Env, hubCache, isOffline } from "./settings.ts";

export interface HubOptions {
  /** Default: the process's. */
  readonly env?: Env;
  readonly fetch?: Fetch;
  /** Bytes of a file that is downloaded, so far and in all. */
  readonly onDownload?: (file: string, loaded: number, total: number) => void;
  /** Told where the cache's version stands in for one that could not be asked for. */
  readonly onWarning?: (text: string) => void;
}

/** A header is asked for with at most so many bytes to begin with. */
const FIRST_BYTES = 2 ** 20;

/** One commit of the model, and reading of its files. */
interface Snapshot {
  readonly commit: string;
  readonly source: ModelSource;
}

/**
 * A source over one revision, which is the same commit throughout. Nothing is asked before the first question to it.
 * With HF_HUB_OFFLINE, and where the Hub cannot be reached, it is what the cache holds.
 */
export function hubSource(id: HubId, options: HubOptions = {}): ModelSource {
  let opening: Promise<Snapshot> | undefined;
  let commit: string | undefined;
  const opened = async (signal?: AbortSignal): Promise<ModelSource> => {
    signal?.throwIfAborted();
    opening ??= openSnapshot(id, options, signal);
    try {
      const snapshot = await opening;
      commit = snapshot.commit;
      return snapshot.source;
    } catch (error) {
      opening = undefined;
      throw error;
    }
  };
  return {
    name: id.name,
    address: () => `${id.name}@${commit ?? id.revision}`,
    read: async (path, range, signal, limit) => (await opened(signal)).read(path, range, signal, limit),
    readInto: async (path, start, target, signal) => readInto(await opened(signal), path, start, target, signal),
    size: async (path, signal) => (await opened(signal)).size(path, signal),
    exists: async (path, signal) => (await opened(signal)).exists(path, signal),
    stamp: async (path, signal) => (await opened(signal)).stamp?.(path, signal),
    list: async (folder, signal) => (await opened(signal)).list?.(folder, signal) ?? [],
    download: async (signal) => (await opened(signal)).download?.(signal),
  };
}

async function openSnapshot(id: HubId, options: HubOptions, signal?: AbortSignal): Promise<Snapshot> {
  const { env = process.env, fetch, onWarning } = options;
  const cache = new HubCache(hubCache(env), id);
  if (isOffline(env)) {
    const kept = await cached(cache);
    if (kept) return kept;
    throw new FileError(
      id.name,
      `is no folder here, and the cache has nothing of its revision ${id.revision}; HF_HUB_OFFLINE forbids to ask`,
    );
  }
  const client = await HubClient.open(id, env, fetch);
  try {
    const listing = await client.list(signal);
    return await openListing(id, listing, { cache, client, options });
  } catch (error) {
    const kept = error instanceof FileError && !(error instanceof HubRefusal) ? await cached(cache) : undefined;
    if (!kept) throw error;
    onWarning?.(`${(error as FileError).message}; what the cache has of commit ${kept.commit} is used`);
    return kept;
  }
}

/** What the cache holds of the revision. */
async function cached(cache: HubCache): Promise<Snapshot | undefined> {
  const commit = await cache.commit();
  if (commit === undefined) return undefined;
  try {
    return { commit, source: folderSource(cache.snapshot(commit)) };
  } catch {
    return undefined;
  }
}

async function openListing(
  id: HubId,
  listing: Listing,
  { cache, client, options }: { cache: HubCache; client: HubClient; options: HubOptions },
): Promise<Snapshot> {
  const { commit, files } = listing;
  const source = { name: id.name };
  const folder = cache.snapshot(commit);
  await cache.open(commit);
  await sweepParts(cache.blobs);
  const onDisk = folderSource(folder);
  const fetching = new Map<string, Promise<void>>();
  const heads = new Map<string, Uint8Array>();

  function known(path: string): HubFile {
    const file = files.get(path);
    if (!file) throw new FileError(label(source, path), "there is no such file");
    return file;
  }

  /** The folder, once the file is in it. */
  async function having(path: string, signal?: AbortSignal): Promise<ModelSource> {
    signal?.throwIfAborted();
    const file = known(path);
    const fetched = fetching.get(path) ?? fetch(file, signal);
    fetching.set(path, fetched);
    try {
      await fetched;
    } catch (error) {
      fetching.delete(path);
      throw error;
    }
    return onDisk;
  }

  async function fetch(file: HubFile, signal?: AbortSignal): Promise<void> {
    if (await cache.has(commit, file)) return;
    const { path } = file;
    await download(
      {
        file,
        label: label(source, path),
        blob: cache.blob(file),
        get: (range, signal, use) => client.get(listing, file, range, signal, use),
        onProgress: (loaded, total) => options.onDownload?.(path, loaded, total),
      },
      signal,
    );
    await cache.link(commit, file);
    const head = heads.get(path);
    if (head && Buffer.compare(head, await onDisk.read(path, { start: 0, end: head.length }, signal)) !== 0)
      throw new FileError(label(source, path), CHANGED);
  }

  /** The bytes from 0 to `end`, if no more than the header of safetensors is asked for, and the file is not here yet. */
  async function headOf(path: string, start: number, end: number, signal?: AbortSignal) {
    const file = known(path);
    if (!path.endsWith(".safetensors") || end > file.size) return undefined;
    const head = heads.get(path);
    if (start > 0 ? end > headerEnd(head) : end > FIRST_BYTES) return undefined;
    if (fetching.has(path) || (await cache.has(commit, file))) return undefined;
    if (head && head.length >= end) return head;
    const longer = await client.head(listing, file, end, signal);
    heads.set(path, longer);
    return longer;
  }

  async function fill(path: string, start: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    const end = start + target.byteLength;
    const head = await headOf(path, start, end, signal);
    if (head) target.set(head.subarray(start, end));
    else await readInto(await having(path, signal), path, start, target, signal);
  }

  return {
    commit,
    source: {
      ...source,
      async read(path, range, signal, limit = Number.POSITIVE_INFINITY) {
        if (!range && known(path).size > limit) throw tooLong(label(source, path), limit);
        if (!range) return (await having(path, signal)).read(path, range, signal, limit);
        const bytes = new Uint8Array(range.end - range.start);
        await fill(path, range.start, bytes, signal);
        return bytes;
      },
      readInto: fill,
      size: async (path) => known(path).size,
      exists: async (path) => files.has(path),
      stamp: async (path, signal) => (await having(path, signal)).stamp?.(path, signal),
      list: async (inside) => namesIn(files.keys(), inside),
      async download(signal) {
        for (const path of heads.keys()) await having(path, signal);
      },
    },
  };
}

/** Where the header ends of a file of safetensors that begins so; 0 where that is not known. */
const headerEnd = (head: Uint8Array | undefined): number =>
  head && head.length >= 8 ? 8 + Number(new DataView(head.buffer, head.byteOffset).getBigUint64(0, true)) : 0;

/** Names of files and folders directly in a folder. */
function namesIn(paths: Iterable<string>, folder: string): string[] {
  const start = folder === "" ? "" : `${folder}/`;
  const names = [...paths]
    .filter((path) => path.startsWith(start))
    .map((path) => path.slice(start.length).split("/")[0]!);
  return [...new Set(names)];
}
