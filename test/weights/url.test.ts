import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { openCheckpoint } from "../../src/weights/checkpoint.ts";
import { encodeSafetensors } from "../../src/weights/encode.ts";
import { readInto } from "../../src/weights/source.ts";
import { urlSource } from "../../src/weights/url.ts";
import { failure } from "./memory-source.ts";

const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i % 251);
const files = new Map<string, Uint8Array>([
  ["/good/a.bin", bytes],
  ["/good/empty.bin", new Uint8Array(0)],
  ["/good/ä b#?.bin", bytes.subarray(0, 10)],
]);

/** What the server does wrong, by the first segment of the path. */
type Quirk = (request: IncomingMessage, response: ServerResponse, body: Uint8Array) => void;
const quirks: Record<string, Quirk> = {
  good: serve,
  "no-range": (_, response, body) => response.writeHead(200, { "content-length": body.length }).end(body),
  "no-range-no-length": (_, response, body) => response.writeHead(200).end(body),
  "no-head": (request, response, body) =>
    request.method === "HEAD" ? response.writeHead(405).end() : serve(request, response, body),
  gzip(request, response, body) {
    if (request.headers.range && request.method !== "HEAD") return serve(request, response, body);
    const packed = gzipSync(body);
    response.writeHead(200, { "content-encoding": "gzip", "content-length": packed.length }).end(packed);
  },
  "wrong-part": (_, response, body) =>
    response.writeHead(206, { "content-range": `bytes 0-9/${body.length}` }).end(body.subarray(0, 10)),
  "short-part": (_, response, body) => response.writeHead(206).end(body.subarray(0, 3)),
  "hidden-range": (request, response, body) => {
    const [, from, to] = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? "")!.map(Number);
    response.writeHead(206).end(body.subarray(from, to! + 1));
  },
  front: (_, response) => response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end("<html>"),
  private: (_, response) => response.writeHead(401, "Unauthorized").end(),
  broken: (_, response) => response.destroy(),
  endless: (request, response) => {
    response.writeHead(200);
    const more = () => {
      if (!response.destroyed) response.write(new Uint8Array(2 ** 20), () => setImmediate(more));
    };
    if (request.method === "HEAD") response.end();
    else more();
  },
};

function serve(request: IncomingMessage, response: ServerResponse, body: Uint8Array): void {
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
  if (!range) return void response.writeHead(200, { "content-length": body.length }).end(body);
  const [from, to] = [Number(range[1]), Math.min(Number(range[2]), body.length - 1)];
  if (from >= body.length) return void response.writeHead(416, { "content-range": `bytes */${body.length}` }).end();
  response.writeHead(206, { "content-range": `bytes ${from}-${to}/${body.length}` }).end(body.subarray(from, to + 1));
}

let server: Server;
let base: string;
const log: string[] = [];

beforeAll(async () => {
  server = createServer((request, response) => {
    const url = new URL(request.url!, "http://localhost");
    log.push(`${request.method} ${request.url}${request.headers.range ? ` ${request.headers.range}` : ""}`);
    const [, quirk, ...rest] = decodeURIComponent(url.pathname).split("/");
    const body = files.get(`/good/${rest.join("/")}`);
    const always = quirk === "front" || quirk === "private" || quirk === "broken" || quirk === "endless";
    if (!body && !always) return void response.writeHead(404).end();
    quirks[quirk!]!(request, response, body ?? bytes);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  log.length = 0;
});

const source = (quirk: string) => urlSource(`${base}/${quirk}`);

describe("a server that serves parts", () => {
  test("reads whole files, parts, sizes", async () => {
    const good = source("good");
    expect(await good.read("a.bin")).toEqual(bytes);
    expect(await good.read("a.bin", { start: 500, end: 510 })).toEqual(bytes.slice(500, 510));
    expect(await good.read("a.bin", { start: 5, end: 5 })).toEqual(new Uint8Array(0));
    expect(log).toEqual(["GET /good/a.bin", "GET /good/a.bin bytes=500-509"]);
    expect(await good.size("a.bin")).toBe(1000);
    expect(await good.exists("a.bin")).toBe(true);
    expect(await good.exists("b.bin")).toBe(false);
    expect(await good.size("empty.bin")).toBe(0);
    expect(await good.read("ä b#?.bin")).toEqual(bytes.slice(0, 10));
  });

  test("asks for a size once", async () => {
    const good = source("good");
    for (let i = 0; i < 3; i++) expect(await good.exists("a.bin")).toBe(true);
    await good.size("a.bin");
    expect(log).toEqual(["HEAD /good/a.bin"]);
  });

  test("names the file that is missing or too short", async () => {
    const good = source("good");
    expect(await failure(good.read("b.bin"))).toBe(`${base}/good/b.bin: there is no such file on the server`);
    expect(await failure(good.read("b.bin", { start: 0, end: 1 }))).toContain("there is no such file on the server");
    expect(await failure(good.size("b.bin"))).toContain("there is no such file on the server");
    expect(await failure(good.read("a.bin", { start: 1000, end: 1001 }))).toContain("is cut off");
    // The server sends what it has of this part, which is too little.
    expect(await failure(good.read("a.bin", { start: 990, end: 1001 }))).toContain("another part");
  });

  test("keeps the folder's query string", async () => {
    await urlSource(`${base}/good/?token=1%2F2`).size("a.bin");
    expect(log).toEqual(["HEAD /good/a.bin?token=1%2F2"]);
  });

  test("a checkpoint opens and loads in a handful of requests", async () => {
    const values = Float32Array.from({ length: 300 }, (_, i) => i / 7);
    const tensors = Object.fromEntries(
      Array.from({ length: 50 }, (_, i) => [`t${i}`, { dtype: "F32" as const, shape: [300], data: values }]),
    );
    files.set("/good/unet/diffusion_pytorch_model.safetensors", encodeSafetensors(tensors));
    const checkpoint = await openCheckpoint(source("good"), "unet");
    let seen = 0;
    for await (const piece of checkpoint.floats(checkpoint.tensors.keys())) {
      expect(piece.values).toEqual(values);
      seen++;
    }
    expect(seen).toBe(50);
    expect(log.length).toBeLessThanOrEqual(5);
  });
});

describe("servers that do otherwise never give wrong bytes", () => {
  test.each(["no-range", "no-range-no-length"])("%s: the file is fetched whole, once", async (quirk) => {
    const other = source(quirk);
    expect(await other.size("a.bin")).toBe(1000);
    for (const start of [0, 400, 990])
      expect(await other.read("a.bin", { start, end: start + 10 })).toEqual(bytes.slice(start, start + 10));
    expect(log.filter((line) => line.startsWith("GET")).length).toBeLessThanOrEqual(2);
    expect(await failure(other.read("a.bin", { start: 995, end: 1005 }))).toContain("is cut off: it has 1000 bytes");
  });

  test.each(["no-head", "gzip", "no-range", "no-range-no-length"])("%s: the size is found", async (quirk) => {
    expect(await source(quirk).size("a.bin")).toBe(1000);
    expect(await source(quirk).exists("a.bin")).toBe(true);
    expect(await source(quirk).exists("b.bin")).toBe(false);
    expect(await source(quirk).size("empty.bin")).toBe(0);
    expect(await source(quirk).read("a.bin")).toEqual(bytes);
    expect(await source(quirk).read("a.bin", { start: 7, end: 9 })).toEqual(bytes.slice(7, 9));
  });

  test("hidden-range: a part whose place is hidden is taken by its length", async () => {
    expect(await source("hidden-range").read("a.bin", { start: 7, end: 9 })).toEqual(bytes.slice(7, 9));
  });

  test.each([
    ["wrong-part", "the server answered with another part (bytes 0-9/1000, identity) than bytes 20-29"],
    ["short-part", "gave 3 bytes when 10 were asked for"],
    ["private", "the server answered 401 Unauthorized"],
    ["broken", "cannot be read"],
    ["endless", "does not serve parts of files (range requests), and this one is over 32 MiB"],
    ["front", "there is no such file on the server"],
  ])("%s: an error", async (quirk, problem) => {
    const read = source(quirk).read("a.bin", { start: 20, end: 30 });
    const message = await failure(read);
    expect(message).toContain(`${base}/${quirk}/a.bin: `);
    expect(message).toContain(problem);
  });

  test("the front page of a single-page application is not a file", async () => {
    expect(await source("front").exists("model_index.json")).toBe(false);
    expect(await failure(source("front").read("config.json"))).toContain("there is no such file on the server");
  });

  test("a refusal is not a missing file", async () => {
    expect(await failure(source("private").exists("a.bin"))).toContain("the server answered 401 Unauthorized");
    expect(await failure(source("broken").exists("a.bin"))).toContain("cannot be read");
  });
});

test("aborting ends a request in flight with the signal's reason", async () => {
  const controller = new AbortController();
  const reason = new Error("enough");
  const reading = source("endless").read("a.bin", undefined, controller.signal);
  setTimeout(() => controller.abort(reason), 20);
  await expect(reading).rejects.toBe(reason);
  await expect(readInto(source("good"), "a.bin", 0, new Uint8Array(1), controller.signal)).rejects.toBe(reason);
  await expect(source("good").exists("a.bin", controller.signal)).rejects.toBe(reason);
});
