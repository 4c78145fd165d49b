// A Hugging Face Hub on the loopback interface: its API as far as huggingface_hub and @huggingface/hub use it for downloads, large
// files behind a redirect to a signed address on another port, and troubles on demand.
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Repo {
  /** Files by path. */
  readonly files: Readonly<Record<string, Uint8Array | string>>;
  /** Revisions beside `main`, which is the last commit. */
  readonly refs?: Readonly<Record<string, string>>;
  /** Who may read it; anybody without. */
  readonly token?: string;
  /** Its conditions have to be accepted: the API answers anybody, files are for the token. */
  readonly gated?: true;
}

/** One request that arrived, at the Hub or at the server behind it. */
export interface Asked {
  readonly server: "hub" | "cdn";
  readonly method: string;
  readonly path: string;
  readonly range?: string;
  readonly authorization?: string;
  status?: number;
}

/** What happens instead of, or to, an answer. */
export interface Trouble {
  readonly status?: number;
  readonly headers?: Record<string, string>;
  readonly body?: Uint8Array | string;
  /** The connection breaks off after so many bytes of the body, */
  readonly cutAfter?: number;
  /** or nothing comes after them. */
  readonly stallAfter?: number;
}

export interface TestHub {
  readonly origin: string;
  /** The commit that `main` of a model is. */
  commit(name: string): string;
  readonly asked: Asked[];
  /** Looked at before each answer. */
  trouble: (asked: Asked) => Trouble | undefined;
  /** As the Hub says how many files a page of a list holds. */
  pageSize: number;
  repos: Record<string, Repo>;
  close(): Promise<void>;
}

const LARGE = /\.(safetensors|bin|ckpt|pt|pth|msgpack|onnx)$/;

export const bytesOf = (data: Uint8Array | string): Uint8Array =>
  typeof data === "string" ? new TextEncoder().encode(data) : data;

export const sha256 = (data: Uint8Array) => createHash("sha256").update(data).digest("hex");
export const gitHash = (data: Uint8Array) =>
  createHash("sha1").update(`blob ${data.byteLength}\0`).update(data).digest("hex");
/** The name of a file's blob in the cache. */
export const blobName = (path: string, data: Uint8Array) => (LARGE.test(path) ? sha256(data) : gitHash(data));

export async function serveHub(repos: Record<string, Repo>): Promise<TestHub> {
  const asked: Asked[] = [];
  const hub: TestHub = {
    origin: "",
    asked,
    repos,
    pageSize: 1000,
    trouble: () => undefined,
    commit(name) {
      const all = Object.entries(hub.repos[name]?.files ?? {}).map(
        ([path, data]) => `${path} ${sha256(bytesOf(data))}`,
      );
      return createHash("sha1").update(all.join("\n")).digest("hex");
    },
    close: async () => {
      await Promise.all(servers.map(closed));
    },
  };
  const listen = async (name: Asked["server"], answer: (asked: Asked, url: URL, response: Answer) => void) => {
    const server = createServer((request, response) => {
      const url = new URL(request.url ?? "/", "http://localhost");
      const { method = "GET", headers } = request;
      const path = decodeURIComponent(url.pathname);
      const one: Asked = { server: name, method, path, range: headers.range, authorization: headers.authorization };
      asked.push(one);
      answer(one, url, new Answer(one, request, response, hub.trouble(one)));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return server;
  };
  const cdn = await listen("cdn", (one, url, answer) => {
    // As signed addresses do that get a second way to log in.
    if (one.authorization || url.searchParams.get("Signature") !== "abc") return answer.send(400, "no");
    const data = dataAt(hub, ...(one.path.slice(1).split("//") as [string, string]));
    answer.file(data, { etag: '"anything"' });
  });
  const main = await listen("hub", (one, url, answer) => answerHub(hub, one, url, answer, originOf(cdn)));
  const servers = [cdn, main];
  return Object.assign(hub, { origin: originOf(main) });
}

const originOf = (server: Server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

async function closed(server: Server) {
  server.close();
  server.closeAllConnections();
  await once(server, "close");
}

const dataAt = (hub: TestHub, name: string, path: string): Uint8Array =>
  bytesOf((hub.repos[name] as Repo).files[path] as string);

class Answer {
  constructor(
    readonly asked: Asked,
    readonly request: IncomingMessage,
    readonly response: ServerResponse,
    readonly trouble: Trouble | undefined,
  ) {}

  send(status: number, body: Uint8Array | string, headers: Record<string, string> = {}): void {
    const { trouble, response, request } = this;
    const data = bytesOf(trouble?.body ?? body);
    this.asked.status = trouble?.status ?? status;
    response.writeHead(this.asked.status, {
      "content-length": String(data.byteLength),
      ...headers,
      ...trouble?.headers,
    });
    if (request.method === "HEAD") return void response.end();
    const { cutAfter, stallAfter } = trouble ?? {};
    if (cutAfter !== undefined) return void response.write(data.subarray(0, cutAfter), () => response.destroy());
    if (stallAfter !== undefined) return void response.write(data.subarray(0, stallAfter));
    response.end(data);
  }

  json(value: unknown, headers: Record<string, string> = {}): void {
    this.send(200, JSON.stringify(value), { "content-type": "application/json", ...headers });
  }

  refuse(status: number, code: string): void {
    this.send(status, JSON.stringify({ error: code }), { "content-type": "application/json", "x-error-code": code });
  }

  file(data: Uint8Array, headers: Record<string, string>): void {
    const [, from] = /^bytes=(\d+)-/.exec(this.asked.range ?? "") ?? [];
    const [, to = String(data.byteLength - 1)] = /^bytes=\d+-(\d+)$/.exec(this.asked.range ?? "") ?? [];
    if (from === undefined) return this.send(200, data, { "accept-ranges": "bytes", ...headers });
    const [start, end] = [Number(from), Math.min(Number(to), data.byteLength - 1)];
    if (start >= data.byteLength) return this.send(416, "", { "content-range": `bytes */${data.byteLength}` });
    const range = { "content-range": `bytes ${start}-${end}/${data.byteLength}` };
    this.send(206, data.subarray(start, end + 1), { ...headers, ...range });
  }
}

function answerHub(hub: TestHub, asked: Asked, url: URL, answer: Answer, cdn: string): void {
  const api = /^\/api\/models\/([^/]+\/[^/]+)(?:\/(revision|tree)\/(.+))?$/.exec(asked.path);
  const file = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(asked.path);
  const name = (api ?? file)?.[1] ?? "";
  const repo = hub.repos[name];
  const mayRead = repo !== undefined && (repo.token === undefined || asked.authorization === `Bearer ${repo.token}`);
  if (!repo || !(mayRead || (repo.gated && api)))
    return repo?.gated
      ? answer.refuse(asked.authorization ? 403 : 401, "GatedRepo")
      : answer.refuse(asked.authorization ? 404 : 401, "RepoNotFound");
  const commit = hub.commit(name);
  const revisions: Record<string, string> = { main: commit, [commit]: commit, ...repo.refs };
  const revision = revisions[(api ? api[3] : file?.[2]) ?? "main"];
  if (revision === undefined) return answer.refuse(404, "RevisionNotFound");
  if (file) return answerFile(hub, name, file[3] as string, { answer, cdn, commit });
  if (api?.[2] !== "tree")
    return answer.json({
      _id: "1",
      id: name,
      sha: commit,
      private: false,
      siblings: Object.keys(repo.files).map((rfilename) => ({ rfilename })),
    });
  const entries = Object.entries(repo.files).map(([path, given]) => {
    const data = bytesOf(given);
    const lfs = LARGE.test(path) ? { lfs: { oid: sha256(data), size: data.byteLength, pointerSize: 134 } } : {};
    return { type: "file", oid: gitHash(data), size: data.byteLength, path, ...lfs };
  });
  const from = Number(url.searchParams.get("cursor") ?? 0);
  const next = new URL(url.pathname + url.search, hub.origin);
  next.searchParams.set("cursor", String(from + hub.pageSize));
  const link: Record<string, string> = from + hub.pageSize < entries.length ? { link: `<${next}>; rel="next"` } : {};
  answer.json(entries.slice(from, from + hub.pageSize), link);
}

function answerFile(
  hub: TestHub,
  name: string,
  path: string,
  { answer, cdn, commit }: { answer: Answer; cdn: string; commit: string },
): void {
  if (hub.repos[name]?.files[path] === undefined) return answer.refuse(404, "EntryNotFound");
  const data = dataAt(hub, name, path);
  const etag = blobName(path, data);
  const headers = { etag: `"${etag}"`, "x-repo-commit": commit };
  if (!LARGE.test(path)) return answer.file(data, headers);
  const location = `${cdn}/${encodeURIComponent(name)}//${encodeURIComponent(path)}?Signature=abc&Expires=1`;
  const linked = { location, "x-linked-etag": `"${etag}"`, "x-linked-size": String(data.byteLength) };
  answer.send(302, "", { ...headers, ...linked });
}
