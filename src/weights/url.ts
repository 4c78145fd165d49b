/**
 * A model on a web server, read with range requests. Servers differ: some ignore `Range`, some refuse HEAD, some hide
 * headers from other origins, and single-page servers answer a missing file with their front page. What cannot be read
 * rightly is an error here, never other bytes than those asked for.
 */

import { FileError } from "../runtime/errors.ts";
import { checkOptions, type OptionNames } from "../runtime/options.ts";
import { checkPath, label } from "./path.ts";
import { checkRange, fill, type ModelSource, readFailure } from "./source.ts";

export type Fetch = (url: string, init?: RequestInit) => Promise<Response>;

const urlNames: OptionNames<{ fetch?: Fetch }> = { fetch: true };

/** Largest file that is fetched whole, and kept, from a server that ignores `Range`. */
const WHOLE_FILE_LIMIT = 32 * 2 ** 20;

/**
 * A source below a folder's URL; its query string, if any, is sent with every request.
 *
 * @param options.fetch - replaces the platform's fetch, e.g. to add headers or a cache
 */
export function urlSource(url: string | URL, options: { fetch?: Fetch } = {}): ModelSource {
  checkOptions("urlSource", options, urlNames);
  const base = new URL(url);
  const fetchFile = options.fetch ?? ((to: string, init?: RequestInit) => globalThis.fetch(to, init));
  const source = { name: base.origin + base.pathname.replace(/\/+$/, "") };
  const sizes = new Map<string, number>();
  let whole: { path: string; bytes: Uint8Array } | undefined;

  async function request(path: string, init: RequestInit, signal?: AbortSignal): Promise<Response> {
    signal?.throwIfAborted();
    const segments = checkPath(source, path).split("/").map(encodeURIComponent);
    try {
      return await fetchFile(`${source.name}/${segments.join("/")}${base.search}`, { ...init, signal });
    } catch (error) {
      throw readFailure(label(source, path), error, signal);
    }
  }

  const getRange = (path: string, start: number, end: number, signal?: AbortSignal) =>
    request(path, { headers: { Range: `bytes=${start}-${end - 1}` } }, signal);

  /** The file's size, or undefined where the server has no such file. */
  async function find(path: string, signal?: AbortSignal): Promise<number | undefined> {
    const known = sizes.get(path);
    if (known !== undefined) return known;
    let response = await request(path, { method: "HEAD" }, signal);
    let size = response.ok ? contentLength(response) : undefined;
    if (size === undefined && !isMissing(response)) {
      // HEAD is refused, or tells no length: the first byte's range tells it.
      response = await getRange(path, 0, 1, signal);
      size = response.status === 200 ? contentLength(response) : rangeTotal(response);
      await response.body?.cancel();
      if (size === undefined && response.ok && !isMissing(response))
        size = (await keepWhole(path, await request(path, {}, signal), signal)).byteLength;
    }
    if (isMissing(response)) return undefined;
    if (size === undefined) throw new FileError(label(source, path), answered(response));
    sizes.set(path, size);
    return size;
  }

  /** The whole file, of a server that does not serve parts; kept until another one is asked for. */
  async function keepWhole(path: string, response: Response, signal?: AbortSignal): Promise<Uint8Array> {
    whole = { path, bytes: await readAll(path, response, WHOLE_FILE_LIMIT, signal) };
    return whole.bytes;
  }

  async function readAll(path: string, response: Response, limit: number, signal?: AbortSignal): Promise<Uint8Array> {
    const file = label(source, path);
    if (isMissing(response) || response.status !== 200 || !response.body) {
      await response.body?.cancel();
      throw new FileError(file, isMissing(response) ? "there is no such file on the server" : answered(response));
    }
    const parts: Uint8Array[] = [];
    let length = 0;
    const reader = response.body.getReader();
    try {
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        parts.push(part.value);
        length += part.value.byteLength;
        if (length > limit)
          throw new FileError(
            file,
            `the server does not serve parts of files (range requests), and this one is over ${limit >> 20} MiB: download the folder and open it from disk`,
          );
      }
    } catch (error) {
      await reader.cancel().catch(() => {});
      throw readFailure(file, error, signal);
    }
    const bytes = new Uint8Array(length);
    let at = 0;
    for (const part of parts) {
      bytes.set(part, at);
      at += part.byteLength;
    }
    return bytes;
  }

  async function readInto(path: string, start: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    const file = label(source, path);
    const end = start + target.byteLength;
    checkRange(file, start, end, Number.MAX_SAFE_INTEGER);
    if (target.byteLength === 0) return;
    let bytes = whole?.path === path ? whole.bytes : undefined;
    if (!bytes) {
      const response = await getRange(path, start, end, signal);
      if (response.status === 206) return fillFromPart(file, response, start, target, signal);
      if (response.status === 416) {
        await response.body?.cancel();
        throw new FileError(
          file,
          `is cut off: bytes ${start} to ${end} were needed, and the server does not have them`,
        );
      }
      bytes = await keepWhole(path, response, signal);
    }
    checkRange(file, start, end, bytes.byteLength);
    target.set(bytes.subarray(start, end));
  }

  return {
    ...source,
    readInto,
    async read(path, range, signal) {
      if (!range) return readAll(path, await request(path, {}, signal), Infinity, signal);
      checkRange(label(source, path), range.start, range.end, Number.MAX_SAFE_INTEGER);
      const bytes = new Uint8Array(range.end - range.start);
      await readInto(path, range.start, bytes, signal);
      return bytes;
    },
    async size(path, signal) {
      const size = await find(path, signal);
      if (size === undefined) throw new FileError(label(source, path), "there is no such file on the server");
      return size;
    },
    exists: async (path, signal) => (await find(path, signal)) !== undefined,
  };
}

async function fillFromPart(
  file: string,
  response: Response,
  start: number,
  target: Uint8Array,
  signal?: AbortSignal,
): Promise<void> {
  // Another origin's script may not see Content-Range unless the server exposes it; the length is then the only witness.
  const range = response.headers.get("content-range");
  const encoding = response.headers.get("content-encoding") ?? "identity";
  const wanted = `bytes ${start}-${start + target.byteLength - 1}/`;
  if ((range !== null && !range.startsWith(wanted)) || encoding !== "identity" || !response.body) {
    await response.body?.cancel();
    throw new FileError(
      file,
      `the server answered with another part (${range}, ${encoding}) than ${wanted.slice(0, -1)}`,
    );
  }
  try {
    await fill(file, response.body, target);
  } catch (error) {
    throw readFailure(file, error, signal);
  }
}

/** No such file: says so, or is the HTML page that servers of single-page applications send instead. */
function isMissing(response: Response): boolean {
  if (response.status === 404 || response.status === 410) return true;
  return response.ok && (response.headers.get("content-type") ?? "").startsWith("text/html");
}

function contentLength(response: Response): number | undefined {
  // The length of compressed content says nothing about the file's.
  if ((response.headers.get("content-encoding") ?? "identity") !== "identity") return undefined;
  return wholeNumber(response.headers.get("content-length"));
}

/** The file's size out of `Content-Range: bytes 0-0/1234`, or `bytes *\/0` of an empty file. */
function rangeTotal(response: Response): number | undefined {
  if (response.status !== 206 && response.status !== 416) return undefined;
  return wholeNumber(response.headers.get("content-range")?.split("/")[1]);
}

function wholeNumber(text: string | null | undefined): number | undefined {
  return text && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

function answered(response: Response): string {
  return `the server answered ${response.status} ${response.statusText}`.trimEnd();
}
