/**
 * Requests to a web server that may be busy, break off or fall silent: tried again where that can help, ended where it
 * cannot, and told without what an address's query holds, which may be a signature.
 */

import { DdimError, FileError } from "../runtime/errors.ts";

export type Fetch = (url: string, init?: RequestInit) => Promise<Response>;

/** A server that sends nothing for so long sends nothing any more. */
const SILENCE_MS = 30_000;

/** Tries of one request in all, and the pause before the second; each further pause is twice as long. */
const TRIES = 4;
const FIRST_PAUSE_MS = 500;
/** The longest pause that a server may ask for. */
const LONGEST_PAUSE_MS = 60_000;

/** Of servers that are busy, or whose other side is: RFC 9110 and 6585. */
const PASSING = new Set([408, 429, 500, 502, 503, 504]);

/** A failure that may be over when it is tried again. */
class Passing extends Error {
  constructor(
    readonly failure: unknown,
    readonly pause = 0,
  ) {
    super();
  }
}

/** Runs out when nothing comes, and when the caller's signal is aborted. */
class Watch {
  readonly #controller = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #outer = () => this.#controller.abort(this.given?.reason);

  constructor(
    private readonly file: string,
    private readonly given?: AbortSignal,
  ) {
    if (given?.aborted) this.#outer();
    given?.addEventListener("abort", this.#outer);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** What `promise` gives, unless it is silent for too long. */
  async guard<T>(promise: Promise<T>): Promise<T> {
    const { signal } = this;
    const silent = new FileError(this.file, `the server sent nothing for ${SILENCE_MS / 1000} s`);
    this.#timer = setTimeout(() => this.#controller.abort(silent), SILENCE_MS);
    let stop = () => {};
    const stopped = new Promise<never>((_, reject) => {
      stop = () => reject(signal.reason);
      if (signal.aborted) stop();
      else signal.addEventListener("abort", stop);
    });
    try {
      // Not every fetch that a caller brings heeds the signal.
      return await Promise.race([promise, stopped]);
    } catch (error) {
      throw signal.aborted ? signal.reason : error;
    } finally {
      clearTimeout(this.#timer);
      signal.removeEventListener("abort", stop);
      promise.catch(() => {});
    }
  }

  end(): void {
    clearTimeout(this.#timer);
    this.given?.removeEventListener("abort", this.#outer);
  }
}

/** A response, and its body piece by piece. Has to be read to its end, or cancelled. */
export class Answer {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;

  constructor(
    readonly response: Response,
    private readonly watch: Watch,
  ) {
    this.#reader = response.body?.getReader();
    if (!this.#reader) watch.end();
  }

  /** The next bytes of the body; undefined after the last. A body that breaks off may be tried again. */
  async next(): Promise<Uint8Array | undefined> {
    if (!this.#reader) return undefined;
    try {
      const { done, value } = await this.watch.guard(this.#reader.read());
      if (done) this.watch.end();
      return value;
    } catch (error) {
      await this.cancel();
      throw error instanceof DdimError || this.watch.signal.aborted ? error : new Passing(error);
    }
  }

  /** The whole body. @throws `tooLong()` where it has more than `limit` bytes */
  async all(limit: number, tooLong: () => FileError): Promise<Uint8Array<ArrayBuffer>> {
    const parts: Uint8Array[] = [];
    let length = 0;
    for (let part = await this.next(); part; part = await this.next()) {
      parts.push(part);
      length += part.byteLength;
      if (length > limit) {
        await this.cancel();
        throw tooLong();
      }
    }
    const bytes = new Uint8Array(length);
    let at = 0;
    for (const part of parts) {
      bytes.set(part, at);
      at += part.byteLength;
    }
    return bytes;
  }

  async cancel(): Promise<void> {
    this.watch.end();
    // Not waited for: a body that is stuck may never say that it was cancelled.
    this.#reader?.cancel().catch(() => {});
  }
}

/** Requests of one server. */
export class Requests {
  #answered = false;

  constructor(private readonly fetch: Fetch) {}

  /**
   * What `use` makes of the answer. Both are tried again when the server is busy or the connection breaks off.
   *
   * @param file - for messages
   * @param init - of every try, or what it is by then
   * @throws FileError when it cannot be had, and whatever `use` throws; the signal's reason
   */
  async get<T>(
    file: string,
    url: string,
    init: RequestInit | (() => RequestInit),
    signal: AbortSignal | undefined,
    use: (answer: Answer) => Promise<T>,
  ): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      signal?.throwIfAborted();
      try {
        return await use(await this.#ask(file, url, typeof init === "function" ? init() : init, signal));
      } catch (error) {
        if (!(error instanceof Passing)) throw error;
        if (attempt === TRIES || error.pause > LONGEST_PAUSE_MS || this.#hopeless(error))
          throw this.#failure(file, error);
        await pause(Math.max(error.pause, FIRST_PAUSE_MS * 2 ** (attempt - 1)), signal);
      }
    }
  }

  async #ask(file: string, url: string, init: RequestInit, signal?: AbortSignal): Promise<Answer> {
    const watch = new Watch(file, signal);
    let response: Response;
    try {
      response = await watch.guard(this.fetch(url, { ...init, signal: watch.signal }));
    } catch (error) {
      watch.end();
      throw watch.signal.aborted || error instanceof DdimError ? error : new Passing(error);
    }
    this.#answered = true;
    const answer = new Answer(response, watch);
    if (!PASSING.has(response.status)) return answer;
    await answer.cancel();
    const asked = retryAfter(response);
    const wait = asked > LONGEST_PAUSE_MS ? `, and asks to be left alone for ${Math.ceil(asked / 1000)} s` : "";
    throw new Passing(new FileError(file, answered(response) + wait), asked);
  }

  /** A server that never answered: there is none of that name, or it forbids the pages of other sites to read it. */
  #hopeless({ failure }: Passing): boolean {
    return !this.#answered && (isPage() || NOBODY.has(codeOf(failure)));
  }

  #failure(file: string, { failure }: Passing): unknown {
    if (failure instanceof DdimError) return failure;
    const { message = String(failure) } = (failure ?? {}) as { message?: string };
    const code = codeOf(failure) && ` (${codeOf(failure)})`;
    // Browsers do not tell a page which it is.
    const cors =
      !this.#answered && isPage()
        ? "; if the server is there, it may not allow pages of other sites to read it (CORS): it has to send Access-Control-Allow-Origin"
        : "";
    return new FileError(file, `cannot be read: ${withoutQueries(message)}${code}${cors}`, { cause: failure });
  }
}

/** Pages and their workers know where they are. */
export const isPage = () => "location" in globalThis;

/** Of Node's network errors, which its fetch wraps. */
const codeOf = (error: unknown): string => {
  const { cause } = (error ?? {}) as { cause?: { code?: unknown } };
  return typeof cause?.code === "string" ? cause.code : "";
};

/** There is no such host, or nobody listens there. */
const NOBODY = new Set(["ENOTFOUND", "ECONNREFUSED"]);

export const answered = ({ status, statusText }: Response): string =>
  `the server answered ${status} ${statusText}`.trimEnd();

/** Addresses in a text without their queries. */
const withoutQueries = (text: string): string => text.replace(/(\b[a-z]+:\/\/[^\s?#"']*)[?#][^\s"']*/gi, "$1");

/** Milliseconds of `Retry-After`, which gives seconds or a date; 0 without one. */
function retryAfter({ headers }: Response): number {
  const text = headers.get("retry-after") ?? "";
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  const ms = Date.parse(text) - Date.now();
  return ms > 0 ? ms : 0;
}

async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  let stop = () => {};
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, ms);
    stop = () => {
      clearTimeout(timer);
      resolve();
    };
    signal?.addEventListener("abort", stop);
  });
  signal?.removeEventListener("abort", stop);
  signal?.throwIfAborted();
}
