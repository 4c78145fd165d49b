/** What pages keep of models, on a Cache storage in memory; test/browser/kept.test.ts has the browser's. */
import fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { forget, keptBytes, keptSource } from "../../src/weights/kept.ts";
import { readInto } from "../../src/weights/source.ts";
import { failure } from "./memory-source.ts";

/** As much of the browser's as is used, where what is stored can be damaged and refused. */
class MemoryCache {
  readonly entries = new Map<string, { headers: Headers; bytes: Uint8Array<ArrayBuffer> }>();
  static room = Number.POSITIVE_INFINITY;

  async match(key: string) {
    const entry = this.entries.get(key);
    return entry && new Response(entry.bytes, { headers: entry.headers });
  }
  async matchAll() {
    return [...this.entries.values()].map(({ bytes, headers }) => new Response(bytes, { headers }));
  }
  async keys() {
    return [...this.entries.keys()].map((key) => new Request(key));
  }
  async put(key: string, response: Response) {
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (bytes.byteLength > MemoryCache.room) throw new DOMException("full", "QuotaExceededError");
    this.entries.set(new Request(key).url, { headers: response.headers, bytes });
  }
  delete = async (key: string) => this.entries.delete(key);
}

const stored = new Map<string, MemoryCache>();
const storage = {
  async open(name: string) {
    const cache = stored.get(name) ?? new MemoryCache();
    stored.set(name, cache);
    return cache;
  },
  keys: async () => [...stored.keys()],
  delete: async (name: string) => stored.delete(name),
};

/** A server's files, by path, and what it says of their versions. */
let files: Record<string, Uint8Array<ArrayBuffer>> = {};
let headersOf: (path: string) => Record<string, string> = () => ({});
let asked: string[] = [];
let warnings: string[] = [];

async function serve(url: string, init: RequestInit = {}): Promise<Response> {
  const path = decodeURIComponent(new URL(url).pathname.slice("/model/".length));
  const range = /bytes=(\d+)-(\d+)/.exec(new Headers(init.headers).get("range") ?? "");
  asked.push(`${init.method ?? "GET"} ${path}${range ? ` ${range[0]}` : ""}`);
  const body = files[path];
  if (!body) return new Response(null, { status: 404 });
  const headers = { ...headersOf(path), "content-length": String(body.byteLength) };
  if (init.method === "HEAD") return new Response(null, { headers });
  if (!range) return new Response(body, { headers });
  const [from, to] = [Number(range[1]), Math.min(Number(range[2]), body.byteLength - 1)];
  const part = body.slice(from, to + 1);
  const told = { "content-range": `bytes ${from}-${to}/${body.byteLength}`, "content-length": String(part.byteLength) };
  return new Response(part, { status: 206, headers: { ...headers, ...told } });
}

const open = (options: { reload?: boolean; pieceBytes?: number } = {}) =>
  keptSource(new URL("https://example.com/model"), "https://example.com/model", {
    fetch: serve,
    reload: false,
    onWarning: (text) => warnings.push(text),
    pieceBytes: 100,
    ...options,
  });

const patterned = (length: number, seed = 1) => Uint8Array.from({ length }, (_, i) => (i * 31 + seed * 101) % 251);
const etags = (path: string) => ({ etag: `"${files[path]?.reduce((sum, byte) => (sum * 31 + byte) % 65521, 7)}"` });

beforeEach(() => {
  stored.clear();
  MemoryCache.room = Number.POSITIVE_INFINITY;
  [asked, warnings, headersOf] = [[], [], etags];
  files = { "config.json": patterned(30), "unet/w.bin": patterned(1234) };
  vi.stubGlobal("caches", storage);
});
afterEach(() => vi.unstubAllGlobals());

/** Reads a model as a load does, and says that it was loaded. */
async function load(options?: Parameters<typeof open>[0]): Promise<Uint8Array> {
  const source = await open(options);
  expect(await source.exists("model_index.json")).toBe(false);
  expect(await source.read("config.json")).toEqual(files["config.json"]);
  const bytes = new Uint8Array(await source.size("unet/w.bin"));
  for (let at = 0; at < bytes.byteLength; at += 300)
    await readInto(source, "unet/w.bin", at, bytes.subarray(at, at + 300));
  await source.keep?.();
  return bytes;
}

test.each([
  ["of versions by ETag", etags],
  ["of versions by date", () => ({ "last-modified": "Sat, 28 Nov 2026 00:00:00 GMT" })],
  ["of no versions", () => ({})],
])("a second load asks nothing of a server %s, not even for what is not there", async (_, headers) => {
  headersOf = headers;
  expect(await load()).toEqual(files["unet/w.bin"]);
  expect(asked.length).toBeGreaterThan(3);
  asked = [];
  expect(await load()).toEqual(files["unet/w.bin"]);
  expect(asked).toEqual([]);
  expect(warnings).toEqual([]);
  expect(await keptBytes()).toBeGreaterThanOrEqual(1264);
});

test("whatever is read, in whatever order and pieces, is what the server has; read again, it asks nothing", async () => {
  const names = ["a.json", "b.bin", "c.bin", "none"];
  const read = fc.record({ name: fc.constantFrom(...names), start: fc.nat(400), length: fc.nat(300) });
  await fc.assert(
    fc.asyncProperty(
      fc.record({ "a.json": fc.nat(300), "b.bin": fc.nat(700), "c.bin": fc.nat(20) }),
      fc.array(read, { maxLength: 12 }),
      fc.nat(11),
      fc.integer({ min: 1, max: 150 }),
      fc.constantFrom(etags, () => ({}) as Record<string, string>),
      async (sizes, reads, keptAfter, pieceBytes, headers) => {
        stored.clear();
        headersOf = headers;
        files = Object.fromEntries(Object.entries(sizes).map(([name, size]) => [name, patterned(size, size)]));
        for (const visit of ["first", "second"]) {
          asked = [];
          const source = await open({ pieceBytes });
          for (const [i, { name, start, length }] of reads.entries()) {
            if (i === keptAfter) await source.keep?.();
            const file = files[name];
            expect(await source.exists(name)).toBe(file !== undefined);
            if (!file) continue;
            const end = Math.min(start + length, file.byteLength);
            if (start <= end) expect(await source.read(name, { start, end })).toEqual(file.slice(start, end));
            else expect(await failure(source.read(name, { start, end: start }))).toContain("is cut off");
          }
          await source.keep?.();
          if (visit === "second") expect(asked).toEqual([]);
        }
      },
    ),
    { numRuns: 150 },
  );
});

test("a load that fails settles nothing: the next one asks again", async () => {
  const source = await open();
  expect(await source.exists("model_index.json")).toBe(false);
  await source.read("config.json");
  files["model_index.json"] = patterned(5);
  files["config.json"] = patterned(31, 2);
  const next = await open();
  expect(await next.exists("model_index.json")).toBe(true);
  expect(await next.read("config.json")).toEqual(files["config.json"]);
});

test("an interrupted load goes on with the pieces that it has, if the file is the same", async () => {
  const half = await open();
  await half.read("unet/w.bin", { start: 0, end: 650 });
  // Its last piece is written while the next one is read.
  await half.read("unet/w.bin", { start: 700, end: 710 });
  asked = [];
  expect(await load()).toEqual(files["unet/w.bin"]);
  expect(asked.filter((request) => request.includes("bytes=")).map((request) => request.split("=")[1])).toEqual([
    ...["0-99", "800-899", "900-999", "1000-1099", "1100-1199", "1200-1233"],
  ]);
});

test("an interrupted load of a file that is another now does not mix the two", async () => {
  for (const headers of [etags, () => ({})]) {
    stored.clear();
    headersOf = headers;
    files["unet/w.bin"] = patterned(1234);
    await (await open()).read("unet/w.bin", { start: 0, end: 900 });
    files["unet/w.bin"] = patterned(1234, 2);
    expect(await load()).toEqual(files["unet/w.bin"]);
    asked = [];
    expect(await load()).toEqual(files["unet/w.bin"]);
    expect(asked).toEqual([]);
    // What was left of the other is gone.
    expect(await keptBytes()).toBeLessThan(1234 + 30 + 600);
  }
});

test("damaged, cut and lost entries are fetched again, and only those", async () => {
  await load();
  const [cache] = [...stored.values()] as [MemoryCache];
  const pieces = [...cache.entries].filter(([key]) => key.includes("w.bin"));
  expect(pieces).toHaveLength(13);
  pieces[2]![1].bytes[7]! ^= 1;
  pieces[5]![1].bytes = pieces[5]![1].bytes.slice(0, 50);
  pieces[6]![1].headers = new Headers();
  cache.entries.delete(pieces[9]![0]);
  asked = [];
  expect(await load()).toEqual(files["unet/w.bin"]);
  expect(asked).toEqual([200, 500, 600, 900].map((at) => `GET unet/w.bin bytes=${at}-${at + 99}`));
  asked = [];
  expect(await load()).toEqual(files["unet/w.bin"]);
  expect(asked).toEqual([]);
});

test("a damaged list is as none", async () => {
  await load();
  const [cache] = [...stored.values()] as [MemoryCache];
  const list = [...cache.entries].find(([key]) => key.endsWith("/files"))!;
  list[1].bytes[3]! ^= 4;
  expect(await load()).toEqual(files["unet/w.bin"]);
  expect(asked.length).toBeGreaterThan(3);
  asked = [];
  await load();
  expect(asked).toEqual([]);
});

test("what was changed on the server is found out where the rest is asked for, and the next load is of the new", async () => {
  const first = await open();
  await first.read("unet/w.bin", { start: 0, end: 250 });
  await first.keep?.();
  files["unet/w.bin"] = patterned(1234, 2);
  const second = await open();
  expect(await second.read("unet/w.bin", { start: 0, end: 250 })).toEqual(patterned(1234).slice(0, 250));
  expect(await failure(second.read("unet/w.bin", { start: 900, end: 950 }))).toBe(
    "https://example.com/model/unet/w.bin: changed while it was read: open the model again",
  );
  expect(await load()).toEqual(files["unet/w.bin"]);
});

test("reload asks the server for everything, and keeps the answers", async () => {
  await load();
  files["unet/w.bin"] = patterned(1000, 3);
  expect(await load({ reload: false }).catch(() => "kept")).toEqual(patterned(1234));
  expect(await load({ reload: true })).toEqual(files["unet/w.bin"]);
  asked = [];
  expect(await load()).toEqual(files["unet/w.bin"]);
  expect(asked).toEqual([]);
});

test("without room the load goes on, with one warning and nothing left behind", async () => {
  MemoryCache.room = 99;
  expect(await load()).toEqual(files["unet/w.bin"]);
  expect(warnings).toEqual([
    expect.stringMatching(/^https:\/\/example\.com\/model: the browser keeps nothing .*Quota/),
  ]);
  expect(await keptBytes()).toBe(0);
});

test("without a storage the load goes on, with one warning", async () => {
  const closed = () => Promise.reject(new DOMException("no", "SecurityError"));
  for (const caches of [undefined, { open: closed, keys: closed, delete: closed }]) {
    warnings = [];
    vi.stubGlobal("caches", caches);
    expect(await load()).toEqual(files["unet/w.bin"]);
    expect(warnings).toHaveLength(1);
    expect(await keptBytes()).toBe(0);
    await forget();
    await forget("https://example.com/model");
  }
});

test("two loads at once leave what one would have left", async () => {
  for (const headers of [etags, () => ({})]) {
    stored.clear();
    headersOf = headers;
    expect(await Promise.all([load(), load()])).toEqual([files["unet/w.bin"], files["unet/w.bin"]]);
    expect(await load()).toEqual(files["unet/w.bin"]);
    asked = [];
    expect(await load()).toEqual(files["unet/w.bin"]);
    expect(asked).toEqual([]);
  }
});

test("a model is removed by itself, or all are, and nothing of the page's own", async () => {
  await storage.open("the page's own");
  await load();
  await forget("https://example.com/other");
  expect(await keptBytes()).toBeGreaterThan(1264);
  await forget("https://example.com/model");
  expect(await keptBytes()).toBe(0);
  await load();
  await forget();
  expect([...stored.keys()]).toEqual(["the page's own"]);
});
