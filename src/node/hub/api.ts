/**
 * What the Hub says of a model: the commit that a revision is, and its files with their sizes and hashes.
 *
 * `@huggingface/hub` asks these two questions, through a `fetch` of ours. It does not download: `snapshotDownload` (2.17)
 * takes every file of a repository, begins from the start after a cut, does not check what came, is not ended by a signal, tries
 * nothing twice and shows no bytes. Nor does it get the token, of which it would refuse all that do not begin with `hf_`, and which it
 * would send to whatever host a list of several pages names as its next one.
 */

import { DdimError, FileError } from "../../runtime/errors.ts";
import { said } from "../../runtime/printable.ts";
import type { HubId } from "../../weights/hub.ts";
import { type Answer, answered, type Fetch, Requests } from "../../weights/requests.ts";
import { tooLong } from "../../weights/source.ts";
import { type Env, hubEndpoint, hubToken, type Token } from "./settings.ts";

/** A file as the Hub lists it. */
export interface HubFile {
  readonly path: string;
  readonly size: number;
  /** SHA-256 of a large file, or git's SHA-1 of a small one, in hex; it is the name of the file's blob in the cache. */
  readonly hash: string;
}

/** The files of one commit, by path. */
export interface Listing {
  readonly commit: string;
  readonly files: ReadonlyMap<string, HubFile>;
}

/** The Hub answered, and did not give what was asked for. */
export class HubRefusal extends FileError {}

/** Most bytes of one answer, and most files: a model of a thousand shards has some hundred kB and a few thousand. */
const ANSWER_BYTES = 16 * 2 ** 20;
const MOST_FILES = 100_000;

const COMMIT = /^[0-9a-f]{40}$/;
export const isCommit = (text: string): boolean => COMMIT.test(text);

export class HubClient {
  private constructor(
    private readonly id: HubId,
    private readonly endpoint: URL,
    private readonly token: Token | undefined,
    private readonly requests: Requests,
  ) {}

  /** @throws UsageError, FileError for settings that cannot be right */
  static async open(id: HubId, env: Env, fetch: Fetch = (to, init) => globalThis.fetch(to, init)): Promise<HubClient> {
    return new HubClient(id, hubEndpoint(env), await hubToken(env), new Requests(fetch));
  }

  /** Without a slash at the end. */
  private get hubUrl(): string {
    return this.endpoint.href.replace(/\/+$/, "");
  }

  /**
   * The files of the revision, as it is now.
   * @throws HubRefusal where there is no such model or revision, or not for us; FileError when the Hub cannot be asked
   */
  async list(signal?: AbortSignal): Promise<Listing> {
    const { name, revision } = this.id;
    const { listFiles, modelInfo } = await this.#package();
    const { hubUrl } = this;
    const fetch = ((url: string | URL, init?: RequestInit) =>
      this.#ask(String(url), init ?? {}, signal)) as typeof globalThis.fetch;
    try {
      const commit = isCommit(revision)
        ? revision
        : (await modelInfo({ name, revision, additionalFields: ["sha"], hubUrl, fetch })).sha;
      if (typeof commit !== "string" || !isCommit(commit)) throw new TypeError("no commit");
      const files = new Map<string, HubFile>();
      for await (const entry of listFiles({ repo: name, revision: commit, recursive: true, hubUrl, fetch })) {
        if (entry.type === "file") files.set(entry.path, fileOf(entry));
        if (files.size > MOST_FILES) throw new TypeError(`more than ${MOST_FILES} files`);
      }
      return { commit, files };
    } catch (cause) {
      signal?.throwIfAborted();
      if (cause instanceof DdimError) throw cause;
      throw new FileError(name, `${this.endpoint.host} does not answer as the Hugging Face Hub does (${said(cause)})`, {
        cause,
      });
    }
  }

  /** A file's bytes, all or those of `range()`, which is asked at every try; as {@link Requests.get} gives them. */
  get<T>(
    { commit }: Listing,
    { path }: HubFile,
    range: () => string | undefined,
    signal: AbortSignal | undefined,
    use: (answer: Answer) => Promise<T>,
  ): Promise<T> {
    const { name } = this.id;
    const segments = [...name.split("/"), "resolve", commit, ...path.split("/")].map(encodeURIComponent);
    const url = new URL(`${this.hubUrl}/${segments.join("/")}`);
    const init = (): RequestInit => {
      const part = range();
      // The hash is that of the file as it is.
      const headers = { ...this.#login(url), "Accept-Encoding": "identity", ...(part ? { Range: part } : {}) };
      return { headers };
    };
    return this.requests.get(`${name}/${path}`, url.href, init, signal, async (answer) => {
      const { status } = answer.response;
      if (answer.response.ok || status === 416) return use(answer);
      await answer.cancel();
      throw status === 404
        ? new HubRefusal(`${name}/${path}`, "there is no such file on the server")
        : this.#refusal(answer.response);
    });
  }

  /** The first bytes of a file. */
  async head(listing: Listing, file: HubFile, length: number, signal?: AbortSignal): Promise<Uint8Array> {
    const bytes = new Uint8Array(Math.min(length, file.size));
    await this.get(
      listing,
      file,
      () => `bytes=0-${bytes.byteLength - 1}`,
      signal,
      async (answer) => {
        let filled = 0;
        // A server without ranges sends more.
        for (let part = await answer.next(); part && filled < bytes.byteLength; part = await answer.next()) {
          bytes.set(part.subarray(0, bytes.byteLength - filled), filled);
          filled += part.byteLength;
        }
        await answer.cancel();
        if (filled < bytes.byteLength)
          throw new FileError(`${this.id.name}/${file.path}`, `ended after ${filled} of ${file.size} bytes`);
      },
    );
    return bytes;
  }

  async #package() {
    try {
      return await import("@huggingface/hub");
    } catch (cause) {
      const { name } = this.id;
      throw new FileError(
        name,
        "is no folder here, and to ask the Hugging Face Hub for it takes the optional package @huggingface/hub: " +
          `npm install @huggingface/hub; or hf download ${name} --local-dir ${name}, which makes it a folder here`,
        { cause },
      );
    }
  }

  /** One answer for the package, whole. */
  #ask(url: string, init: RequestInit, signal?: AbortSignal): Promise<Response> {
    const headers = { ...(init.headers as Record<string, string>), ...this.#login(new URL(url)) };
    const file = `${this.id.name} on ${this.endpoint.host}`;
    return this.requests.get(file, url, { ...init, headers }, signal, async (answer) => {
      const { response } = answer;
      if (!response.ok) {
        await answer.cancel();
        throw this.#refusal(response);
      }
      const bytes = await answer.all(ANSWER_BYTES, () => tooLong(`${this.id.name}: the list of files`, ANSWER_BYTES));
      return new Response(bytes, { headers: response.headers });
    });
  }

  /** Only the Hub itself gets the token; where it redirects to, fetch leaves the header out. */
  #login({ origin }: URL): Record<string, string> {
    return this.token && origin === this.endpoint.origin ? { Authorization: `Bearer ${this.token.text}` } : {};
  }

  /** What to do about an answer that is none, as `hf_raise_for_status` of huggingface_hub reads them. */
  #refusal(response: Response): HubRefusal {
    const { status, headers } = response;
    const { id, token, endpoint } = this;
    const code = headers.get("x-error-code");
    const say = (problem: string) => new HubRefusal(id.name, problem);
    const login = "log in (hf auth login) or set HF_TOKEN";
    if (code === "RevisionNotFound") return say(`${endpoint.host} has no branch, tag or commit ${id.revision} of it`);
    const page = `${this.hubUrl}/${id.name}`;
    const mayNot = token ? `, and the token in ${token.from} may not read it` : "";
    if (code === "GatedRepo") return say(`is gated${mayNot}: accept its conditions on ${page}, then ${login}`);
    if (status === 403) return say(`${answered(response)}${mayNot}: ${login}, of somebody who may read ${page}`);
    if (status === 401 && token)
      return say(`${endpoint.host} does not accept the token in ${token.from} for it: check the id, and ${login} anew`);
    if (status === 401 || status === 404) {
      const which = token ? `that the token in ${token.from} may read` : "that can be read without logging in";
      return say(
        `there is no such folder here, and ${endpoint.host} has no model of this id ${which}: check the spelling; for a private or gated one ${login}`,
      );
    }
    return say(answered(response));
  }
}

/** @throws TypeError for what is no file */
function fileOf({
  path,
  size,
  oid,
  lfs,
}: {
  path: string;
  size: number;
  oid?: string;
  lfs?: { oid: string; size: number };
}): HubFile {
  const hash = lfs ? lfs.oid : oid;
  const bytes = lfs?.size ?? size;
  const known = typeof path === "string" && Number.isSafeInteger(bytes) && bytes >= 0;
  if (!known || typeof hash !== "string" || !(lfs ? /^[0-9a-f]{64}$/ : COMMIT).test(hash))
    throw new TypeError(`a file without a size and a hash: ${String(path)}`);
  return { path, size: bytes, hash };
}
