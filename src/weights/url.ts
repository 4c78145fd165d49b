/**
 * A model on a web server, read with range requests. Servers differ: some ignore `Range`, some refuse HEAD, some hide
 * headers from other origins, buckets answer 403 for what is missing, and single-page servers answer with their front page.
 * What cannot be read rightly is an error here, never other bytes than those asked for.
 */

import { FileError, UsageError } from "../runtime/errors.ts";
import { checkOptions, type OptionNames } from "../runtime/options.ts";
import { shown } from "../runtime/printable.ts";
import {
  contentLength,
  isEncoded,
  isMissing,
  rangeTotal,
  readExactly,
  refusal,
  sameVersion,
  type Version,
} from "./answers.ts";
import { folderRequests } from "./folderRequests.ts";
import { MAX_TEXT_BYTES } from "./json.ts";
import { OrderedBody } from "./ordered.ts";
import { label } from "./path.ts";
import { type Answer, answered, type Fetch } from "./requests.ts";
import { CHANGED, checkRange, type ModelSource, tooLong } from "./source.ts";

const urlNames: OptionNames<{ fetch?: Fetch }> = { fetch: true };

/** Largest file that is fetched whole, and kept, from a server that ignores `Range`; larger ones are read in order. */
const WHOLE_FILE_LIMIT = 32 * 2 ** 20;

/** Configurations and indices: read whole when they are looked for, which spares a request, and kept. */
const TEXT = /\.(json|ya?ml)$/;

/**
 * A source below a folder's URL. Its query, if any, is sent with every request to the URL's own origin, and a user and
 * password as basic authentication; where a server redirects to, neither is sent.
 *
 * @param options.fetch - replaces the platform's fetch, e.g. to add headers or a cache
 */
export function urlSource(url: string | URL, options: { fetch?: Fetch } = {}): ModelSource {
  checkOptions("urlSource", options, urlNames);
  if (!URL.canParse(Object(url).href ?? (typeof url === "string" ? url : "")))
    throw new UsageError("url", `urlSource: ${shown(url)} is no web address`);
  return serverSource(url, options, new Map());
}

/** @param versions - that files had at an earlier visit, which they have to have still; those of other files are added */
export function serverSource(
  url: string | URL,
  options: { fetch?: Fetch },
  versions: Map<string, Version>,
): ModelSource {
  const folder = folderRequests(url, options.fetch ?? ((to, init) => globalThis.fetch(to, init)));
  const source = { name: folder.name };
  const { request, getRange } = folder;
  /** What is known of files: null of those that are not there. */
  const sizes = new Map<string, number | null>();
  const texts = new Map<string, Uint8Array>();
  /** Whether anything was found, and how the rest was refused. */
  let [found, forbidden]: [boolean, string | undefined] = [false, undefined];
  let whole: { path: string; bytes: Uint8Array } | undefined;
  let ordered: OrderedBody | undefined;

  /** Compares a file with what it was, or remembers it. @throws FileError when it is another one */
  function checkVersion(path: string, response: Response, size: number | undefined): void {
    // A compressed answer has a tag of its own.
    if (isEncoded(response.headers)) return;
    const version = sameVersion(versions.get(path) ?? {}, response, size);
    const found = sizes.get(path);
    if (!version || (typeof found === "number" && size !== undefined && found !== size))
      throw new FileError(label(source, path), CHANGED);
    versions.set(path, version);
  }

  /** The file's size, or null where the server has no such file. */
  async function find(path: string, signal?: AbortSignal): Promise<number | null> {
    const known = sizes.get(path);
    if (known !== undefined) return known;
    const size = TEXT.test(path) ? await findText(path, signal) : await findSize(path, signal);
    sizes.set(path, size);
    found ||= size !== null;
    return size;
  }

  /** A file that is not there, or not for us. */
  function missing(response: Response): null {
    if (response.status === 403) forbidden = answered(response);
    return null;
  }

  async function findText(path: string, signal?: AbortSignal): Promise<number | null> {
    return request(path, {}, signal, async (answer) => {
      if (isMissing(answer.response)) {
        await answer.cancel();
        return missing(answer.response);
      }
      const bytes = await readAll(path, answer, MAX_TEXT_BYTES);
      texts.set(path, bytes);
      return bytes.byteLength;
    });
  }

  async function findSize(path: string, signal?: AbortSignal): Promise<number | null> {
    const told = await request(path, { method: "HEAD" }, signal, async (answer) => {
      const { response } = answer;
      await answer.cancel();
      // Not every server that refuses HEAD refuses GET.
      if (isMissing(response)) return response.status === 403 ? undefined : null;
      // Nor are all those right that tell a length of 0.
      return (response.ok && contentLength(response)) || undefined;
    });
    if (told !== undefined) return told;
    // The first byte's range tells it.
    const size = await getRange(path, 0, 1, signal, async (answer) => {
      const { response } = answer;
      await answer.cancel();
      if (isMissing(response)) return missing(response);
      const size = response.status === 200 ? contentLength(response) : rangeTotal(response);
      if (size === undefined && !response.ok) throw new FileError(label(source, path), answered(response));
      return size;
    });
    if (size !== undefined) return size;
    return request(path, {}, signal, async (answer) => (await keepWhole(path, answer)).byteLength);
  }

  /** The whole file, of a server that does not serve parts; kept until another one is asked for. */
  async function keepWhole(path: string, answer: Answer): Promise<Uint8Array> {
    const problem =
      `the server does not serve parts of files (range requests), and this one is over ${WHOLE_FILE_LIMIT >> 20} MiB, ` +
      "which it does not tell either: download the folder and open it from disk";
    const bytes = await readAll(path, answer, WHOLE_FILE_LIMIT, problem);
    whole = { path, bytes };
    return bytes;
  }

  async function readAll(path: string, answer: Answer, limit: number, problem?: string): Promise<Uint8Array> {
    const file = label(source, path);
    const { response } = answer;
    if (isMissing(response) || response.status !== 200) {
      await answer.cancel();
      throw refusal(file, response);
    }
    const bytes = await answer.all(limit, () => (problem ? new FileError(file, problem) : tooLong(file, limit)));
    const told = contentLength(response);
    if (told !== undefined && told !== bytes.byteLength)
      throw new FileError(file, `gave ${bytes.byteLength} bytes when the server told of ${told}`);
    checkVersion(path, response, told);
    return bytes;
  }

  async function readInto(path: string, start: number, target: Uint8Array, signal?: AbortSignal): Promise<void> {
    const file = label(source, path);
    const end = start + target.byteLength;
    checkRange(file, start, end, Number.MAX_SAFE_INTEGER);
    signal?.throwIfAborted();
    if (target.byteLength === 0) return;
    const copy = (bytes: Uint8Array) => {
      checkRange(file, start, end, bytes.byteLength);
      target.set(bytes.subarray(start, end));
    };
    const text = texts.get(path);
    if (text) return copy(text);
    if (ordered?.path === path) return ordered.readInto(start, target, signal);
    if (whole?.path !== path && !(await fillPart(path, start, target, signal)))
      return readInto(path, start, target, signal);
    if (whole?.path === path) copy(whole.bytes);
  }

  /** @returns false when the server gave all of the file, which is now `whole` or `ordered` */
  function fillPart(path: string, start: number, target: Uint8Array, signal?: AbortSignal): Promise<boolean> {
    const file = label(source, path);
    const end = start + target.byteLength;
    return getRange(path, start, end, signal, async (answer) => {
      const { response } = answer;
      if (response.status === 206) {
        await checkPart(path, answer, start, end);
        await readExactly(answer, target, file);
        return true;
      }
      if (response.status === 416) {
        await answer.cancel();
        checkVersion(path, response, rangeTotal(response));
        throw new FileError(
          file,
          `is cut off: bytes ${start} to ${end} were needed, and the server does not have them`,
        );
      }
      const length = response.status === 200 && !isMissing(response) ? contentLength(response) : undefined;
      if (length === undefined || length <= WHOLE_FILE_LIMIT) {
        await keepWhole(path, answer);
        return false;
      }
      ordered?.close();
      const check = (other: Response) => {
        if (isMissing(other) || other.status !== 200) throw refusal(file, other);
        checkVersion(path, other, contentLength(other));
      };
      check(response);
      const open = <T>(signal: AbortSignal | undefined, use: (answer: Answer) => Promise<T>) =>
        request(path, {}, signal, use);
      ordered = new OrderedBody({ path, file, size: length, open, check }, answer);
      return false;
    });
  }

  async function checkPart(path: string, answer: Answer, start: number, end: number): Promise<void> {
    const { headers } = answer.response;
    // Another origin's script may not see Content-Range unless the server exposes it; the length is then the only witness.
    const range = headers.get("content-range");
    const wanted = `bytes ${start}-${end - 1}/`;
    try {
      checkVersion(path, answer.response, rangeTotal(answer.response));
      if ((range !== null && !range.startsWith(wanted)) || isEncoded(headers) || !answer.response.body)
        throw new FileError(
          label(source, path),
          `the server answered with another part (${range}, ${headers.get("content-encoding") ?? "identity"}) than ${wanted.slice(0, -1)}`,
        );
    } catch (error) {
      await answer.cancel();
      throw error;
    }
  }

  return {
    ...source,
    remote: true,
    address: () => source.name,
    refusal: () => (found ? undefined : forbidden),
    readInto,
    async read(path, range, signal, limit = Number.POSITIVE_INFINITY) {
      signal?.throwIfAborted();
      if (!range) {
        const kept = texts.get(path);
        if (kept) return kept.slice();
        const most = TEXT.test(path) ? Math.min(limit, MAX_TEXT_BYTES) : limit;
        return request(path, {}, signal, (answer) => readAll(path, answer, most));
      }
      checkRange(label(source, path), range.start, range.end, Number.MAX_SAFE_INTEGER);
      const bytes = new Uint8Array(range.end - range.start);
      await readInto(path, range.start, bytes, signal);
      return bytes;
    },
    async size(path, signal) {
      signal?.throwIfAborted();
      const size = await find(path, signal);
      if (size === null) throw new FileError(label(source, path), "there is no such file on the server");
      return size;
    },
    async exists(path, signal) {
      signal?.throwIfAborted();
      return (await find(path, signal)) !== null;
    },
    async stamp(path) {
      const { etag, size } = versions.get(path) ?? {};
      // A weak one (W/"…") may be the same for other bytes.
      return etag?.startsWith('"') && size !== undefined ? `${etag} ${size}` : undefined;
    },
  };
}
