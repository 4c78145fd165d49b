/** Servers that are busy, break off, fall silent, replace files, forbid, redirect or lie: the right bytes, or one sentence. */
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { openModel } from "../../src/pipeline/model.ts";
import { openScheduler } from "../../src/pipeline/scheduler.ts";
import { DdimError } from "../../src/runtime/errors.ts";
import { openCheckpoint } from "../../src/weights/checkpoint.ts";
import { encodeSafetensors } from "../../src/weights/encode.ts";
import { parseJson } from "../../src/weights/json.ts";
import type { ModelSource } from "../../src/weights/source.ts";
import { urlSource } from "../../src/weights/url.ts";
import { goldenPath, readFolder, shippedPath } from "../support/models.ts";
import { failure } from "./memory-source.ts";

const MiB = 2 ** 20;
const BASE = "https://models.example/m?token=secret";

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers: Headers;
  readonly signal: AbortSignal | null;
  /** Both included; undefined without a Range header. */
  readonly range: [number, number] | undefined;
}
type Serve = (asked: Asked) => Response | Promise<Response>;

/** A fetch that `serve` answers, and what it was asked. */
function server(serve: Serve) {
  const log: string[] = [];
  const fetch = async (url: string, init: RequestInit = {}) => {
    const { pathname, search } = new URL(url);
    expect(search).toBe("?token=secret");
    const headers = new Headers(init.headers);
    const range = /^bytes=(\d+)-(\d+)$/.exec(headers.get("range") ?? "");
    const path = decodeURIComponent(pathname.slice("/m/".length));
    const { method = "GET", signal = null } = init;
    const asked: Asked = {
      method,
      path,
      headers,
      signal,
      range: range ? [Number(range[1]), Number(range[2])] : undefined,
    };
    const response = await serve(asked);
    log.push(`${response.status} ${method} ${path}${range ? ` ${range[1]}-${range[2]}` : ""}`);
    return response;
  };
  return { log, source: urlSource(BASE, { fetch }) };
}

const headersOf = (bytes: Uint8Array, more: Record<string, string> = {}) => ({
  "content-type": "application/octet-stream",
  "content-length": String(bytes.length),
  ...more,
});

/** As a good server answers. */
function good(bytes: Uint8Array | undefined, { method, range }: Asked, more: Record<string, string> = {}): Response {
  if (!bytes) return new Response(method === "HEAD" ? null : "no", { status: 404 });
  if (method === "HEAD") return new Response(null, { headers: headersOf(bytes, more) });
  if (!range) return new Response(bytes as BodyInit, { headers: headersOf(bytes, more) });
  const [start, end] = [range[0], Math.min(range[1], bytes.length - 1)];
  if (start >= bytes.length)
    return new Response("", { status: 416, headers: { "content-range": `bytes */${bytes.length}` } });
  const part = bytes.slice(start, end + 1);
  return new Response(part, {
    status: 206,
    headers: headersOf(part, { "content-range": `bytes ${start}-${end}/${bytes.length}`, ...more }),
  });
}

/** The first bytes, then an error. */
const cut = (bytes: Uint8Array, after: number, init: ResponseInit) => {
  let sent = false;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (sent) return controller.error(new TypeError("terminated"));
      sent = true;
      controller.enqueue(bytes.slice(0, after));
    },
  });
  return new Response(body, init);
};

const folder = (files: Record<string, Uint8Array | string>): Serve => {
  const encoder = new TextEncoder();
  return (asked) => {
    const file = files[asked.path];
    return good(typeof file === "string" ? encoder.encode(file) : file, asked);
  };
};

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** Lets the fake time go by until the promise is settled; how long that took, in seconds. */
async function elapse<T>(promise: Promise<T>): Promise<{ value: T; seconds: number }> {
  const start = Date.now();
  let open = true;
  const settle = () => {
    open = false;
  };
  promise.then(settle, settle);
  while (open) await vi.advanceTimersByTimeAsync(100);
  return { value: await promise, seconds: (Date.now() - start) / 1000 };
}
const elapsedFailure = async (promise: Promise<unknown>) => (await elapse(failure(promise))).value;

const shipped = readFolder(shippedPath("pixel-avatars-16"));
const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i % 251);

describe("what a server is asked", () => {
  const flat = {
    "config.json": shipped["unet/config.json"]!,
    "diffusion_pytorch_model.safetensors": shipped["unet/diffusion_pytorch_model.safetensors"]!,
    "scheduler_config.json": shipped["scheduler/scheduler_config.json"]!,
  };

  test("a good pipeline is opened without a question in vain, in one request per file and one more for weights", async () => {
    const { log, source } = server(folder(shipped));
    const model = await openModel(source);
    expect(model.scheduler).not.toBeNull();
    expect(log.filter((line) => line.startsWith("404"))).toEqual([]);
    expect(log).toHaveLength(5);
  });

  test("shards are found with one question in vain", async () => {
    const shards = readFolder(goldenPath("models/ddpm_sharded"));
    const { log, source } = server(folder(shards));
    await openCheckpoint(source, "unet");
    expect(log.filter((line) => line.startsWith("404"))).toEqual(["404 HEAD unet/diffusion_pytorch_model.safetensors"]);
  });

  test("a flat folder is opened too", async () => {
    const { log, source } = server(folder(flat));
    expect((await openModel(source)).scheduler).not.toBeNull();
    // It does not tell that it is no pipeline, nor that it has no first stage.
    expect(log.filter((line) => line.startsWith("404")).map((line) => line.slice(8))).toEqual([
      ...["model_index.json", "unet/config.json", "vae/config.json", "vqvae/config.json"],
    ]);
  });

  test.each<[string, Serve, string]>([
    ["404", () => new Response("", { status: 404 }), "has neither unet/config.json nor config.json or config.yaml"],
    [
      "403",
      () => new Response("", { status: 403 }),
      "(the server answered 403 every time: the address may need a token)",
    ],
    [
      "a front page",
      () => new Response("<p>", { headers: { "content-type": "text/html" } }),
      "has neither unet/config.json",
    ],
    [
      "401",
      () => new Response("", { status: 401, statusText: "Unauthorized" }),
      "the server answered 401 Unauthorized",
    ],
    ["503", () => new Response("", { status: 503 }), "the server answered 503"],
    ["no answer", () => Promise.reject(new TypeError("fetch failed")), "cannot be read: fetch failed"],
  ])("a wrong address that answers with %s costs at most four requests", async (_, serve, problem) => {
    for (const open of [openModel, openScheduler] as ((source: ModelSource) => Promise<unknown>)[]) {
      let asked = 0;
      const counted: Serve = (request) => {
        asked++;
        return serve(request);
      };
      const opening = open(server(counted).source);
      if (open === openModel) expect(await elapsedFailure(opening)).toContain(problem);
      else await elapse(opening.catch(() => {}));
      expect(asked).toBeLessThanOrEqual(4);
    }
  });

  test("a bucket that answers 403 for what is missing is read", async () => {
    const { source } = server((asked) =>
      asked.path in flat ? folder(flat)(asked) : new Response("", { status: 403 }),
    );
    expect((await openModel(source)).config.in_channels).toBe(3);
    expect(await source.exists("unet/x.safetensors")).toBe(false);
    expect(await failure(source.read("x.bin"))).toContain("the server answered 403");
  });

  test("a server that answers 403 or 0 to HEAD is asked otherwise", async () => {
    const heads = [{ status: 403 }, { status: 405 }, { headers: { "content-length": "0" } }];
    for (const init of heads) {
      const serve: Serve = (asked) => (asked.method === "HEAD" ? new Response(null, init) : good(bytes, asked));
      expect(await server(serve).source.size("a.bin")).toBe(1000);
    }
  });

  test("user and password are sent as basic authentication, and never printed", async () => {
    const seen: (string | null)[] = [];
    const source = urlSource("https://me:pass%21@models.example/m", {
      fetch: async (url, init) => {
        expect(url).toBe("https://models.example/m/a.bin");
        seen.push(new Headers(init?.headers).get("authorization"));
        return new Response("", { status: 401 });
      },
    });
    expect(await failure(source.read("a.bin"))).toBe("https://models.example/m/a.bin: the server answered 401");
    expect(seen).toEqual([`Basic ${btoa("me:pass!")}`]);
  });
});

describe("busy servers and cut connections", () => {
  /** Fails as told, once for each entry, then serves well. */
  const failing = (failures: ((asked: Asked) => Response | Promise<Response>)[]): Serve => {
    const left = [...failures];
    return (asked) => left.shift()?.(asked) ?? good(bytes, asked);
  };
  const status =
    (status: number, headers: Record<string, string> = {}) =>
    () =>
      new Response("", { status, headers });
  const broken = () => Promise.reject(new TypeError("other side closed"));
  const cutOff = (asked: Asked) => {
    const { status, headers } = good(bytes, asked);
    return cut(bytes.slice(asked.range?.[0]), 30, { status, headers });
  };
  const fine = (asked: Asked) => good(bytes, asked);

  test.each([
    ["429", [status(429)], 0.5],
    ["503 twice", [status(503), status(503)], 1.5],
    ["three kinds", [status(500), status(502), status(504)], 3.5],
    ["Retry-After in seconds", [status(429, { "retry-after": "7" })], 7],
    [
      "Retry-After of a date",
      [() => new Response("", { status: 503, headers: { "retry-after": new Date(Date.now() + 9000).toUTCString() } })],
      8,
    ],
    ["a body that breaks off", [cutOff], 0.5],
    ["a body that breaks off three times", [cutOff, cutOff, cutOff], 3.5],
    ["a connection that breaks off", [broken, status(503), broken], 3.5],
  ])("%s: tried again after a pause", async (_, failures, pause) => {
    for (const whole of [false, true]) {
      const { source } = server(failing(failures));
      const reading = whole ? source.read("a.bin") : source.read("a.bin", { start: 100, end: 200 });
      const { value, seconds } = await elapse(reading);
      expect(value).toEqual(whole ? bytes : bytes.slice(100, 200));
      expect(seconds).toBeGreaterThanOrEqual(pause);
      expect(seconds).toBeLessThanOrEqual(pause + 1.5);
    }
  });

  test("four times in all, then it is told", async () => {
    const { log, source } = server(status(503));
    expect(await elapsedFailure(source.read("a.bin"))).toBe("https://models.example/m/a.bin: the server answered 503");
    expect(log).toHaveLength(4);
    const cutting = server(cutOff);
    expect(await elapsedFailure(cutting.source.read("a.bin"))).toContain("a.bin: cannot be read: terminated");
    expect(cutting.log).toHaveLength(4);
  });

  test("what does not pass is not tried again", async () => {
    for (const code of [400, 401, 404, 410, 501]) {
      const { log, source } = server(status(code));
      await failure(source.read("a.bin"));
      expect(log).toHaveLength(1);
    }
    const { log, source } = server(status(429, { "retry-after": "3600" }));
    expect(await failure(source.read("a.bin"))).toContain("answered 429, and asks to be left alone for 3600 s");
    expect(log).toHaveLength(1);
  });

  test("nor is a host that nobody answers at", async () => {
    for (const code of ["ENOTFOUND", "ECONNREFUSED"]) {
      let asked = 0;
      const { source } = server(() => {
        asked++;
        return Promise.reject(new TypeError("fetch failed", { cause: { code } }));
      });
      expect(await failure(source.read("a.bin"))).toContain(`cannot be read: fetch failed (${code})`);
      expect(asked).toBe(1);
    }
  });

  test("a pause ends when it is aborted", async () => {
    const controller = new AbortController();
    const reading = server(status(503)).source.read("a.bin", undefined, controller.signal);
    setTimeout(() => controller.abort(new Error("enough")), 200);
    await expect(elapse(reading)).rejects.toThrow("enough");
  });

  test("thirty seconds of silence are an end, in answers and in bodies", async () => {
    const never = () => new Promise<Response>(() => {});
    const stuck = (asked: Asked) => {
      const { status, headers } = good(bytes, asked);
      let sent = false;
      const pull = (controller: ReadableStreamDefaultController<Uint8Array>) => {
        if (sent) return new Promise<void>(() => {});
        sent = true;
        controller.enqueue(bytes.slice(0, 10));
      };
      return new Response(new ReadableStream({ pull }), { status, headers });
    };
    for (const serve of [never, stuck])
      for (const range of [undefined, { start: 0, end: 100 }]) {
        const { value, seconds } = await elapse(failure(server(serve).source.read("a.bin", range)));
        expect(value).toBe("https://models.example/m/a.bin: the server sent nothing for 30 s");
        expect(seconds).toBeGreaterThanOrEqual(30);
        expect(seconds).toBeLessThan(31);
      }
  });

  test("a slow body is no silent one", async () => {
    const slow = (asked: Asked) => {
      const { status, headers } = good(bytes, asked);
      let at = 0;
      const pull = async (controller: ReadableStreamDefaultController<Uint8Array>) => {
        await new Promise((resolve) => setTimeout(resolve, 20_000));
        controller.enqueue(bytes.slice(at, at + 250));
        at += 250;
        if (at === 1000) controller.close();
      };
      return new Response(new ReadableStream({ pull }), { status, headers });
    };
    expect((await elapse(server(slow).source.read("a.bin"))).value).toEqual(bytes);
  });

  test("in a page the other site may forbid it; elsewhere that is no reason", async () => {
    const reading = () => server(() => Promise.reject(new TypeError("Failed to fetch"))).source.read("a.bin");
    expect(await elapsedFailure(reading())).toBe("https://models.example/m/a.bin: cannot be read: Failed to fetch");
    vi.stubGlobal("location", new URL("https://page.example/"));
    expect(await failure(reading())).toMatch(
      /cannot be read: Failed to fetch; .*may not allow pages of other sites to read it \(CORS\)/,
    );
    const { source } = server(failing([fine, broken, broken, broken, broken]));
    await source.read("a.bin");
    expect(await elapsedFailure(source.read("a.bin"))).not.toContain("CORS");
  });
});

describe("a file that is replaced while it is read", () => {
  const other = bytes.map((b) => b ^ 1);
  const [before, after] = [
    { etag: '"1"', "last-modified": "Mon, 01 Jan 2024 00:00:00 GMT" },
    { etag: '"2"', "last-modified": "Tue, 02 Jan 2024 00:00:00 GMT" },
  ];

  test.each<[string, Uint8Array, Record<string, string>, Record<string, string>]>([
    ["another ETag", other, before, { ...before, etag: '"2"' }],
    ["another weak ETag", other, { etag: 'W/"1"' }, { etag: 'W/"2"' }],
    [
      "another date, where tags are hidden",
      other,
      { "last-modified": before["last-modified"] },
      { "last-modified": after["last-modified"] },
    ],
    ["another length", new Uint8Array(1001), {}, {}],
  ])("%s", async (_, replaced, was, is) => {
    const reads = [
      (source: ReturnType<typeof urlSource>) => source.read("a.bin", { start: 10, end: 20 }),
      (source: ReturnType<typeof urlSource>) => source.read("a.bin"),
    ];
    for (const first of reads)
      for (const second of reads) {
        let now = false;
        const { source } = server((asked) => good(now ? replaced : bytes, asked, now ? is : was));
        await first(source);
        now = true;
        expect(await failure(second(source))).toContain("a.bin: changed while it was read");
      }
  });

  test("is known by its strong tag alone", async () => {
    for (const [headers, stamp] of [
      [before, '"1" 1000'],
      [{ etag: 'W/"1"' }, undefined],
      [{}, undefined],
    ] as const) {
      const { source } = server((asked) => good(bytes, asked, headers));
      await source.read("a.bin", { start: 0, end: 9 });
      expect(await source.stamp?.("a.bin")).toBe(stamp);
    }
  });
});

describe("a server without Range, and a file that is too large to keep", () => {
  const values = Float32Array.from({ length: (33 * MiB) / 4 }, (_, i) => i);
  const file = encodeSafetensors({
    a: { dtype: "F32", shape: [1000], data: values.subarray(0, 1000) },
    b: { dtype: "F32", shape: [values.length], data: values },
  });
  const path = "diffusion_pytorch_model.safetensors";
  const piecewise = (bytes: Uint8Array, end = bytes.length) => {
    let at = 0;
    return new ReadableStream<Uint8Array>({
      pull(controller) {
        if (at >= end) return end < bytes.length ? controller.error(new TypeError("terminated")) : controller.close();
        controller.enqueue(bytes.slice(at, at + 65536));
        at += 65536;
      },
    });
  };
  const plain: Serve = (asked) => {
    if (asked.path !== path) return new Response("", { status: 404 });
    return new Response(asked.method === "HEAD" ? null : piecewise(file), { headers: headersOf(file) });
  };
  const load = async (source: ReturnType<typeof urlSource>) => {
    const checkpoint = await openCheckpoint(source, "");
    let sum = 0;
    for await (const { name, offset, values: part } of checkpoint.floats(["a", "b"])) {
      expect(part[0]).toBe(values[offset]);
      expect(part.at(-1)).toBe(values[offset + part.length - 1]);
      sum += name === "b" ? part.length : 0;
    }
    expect(sum).toBe(values.length);
    return checkpoint;
  };

  test("is read once, in order; going back reads it once more", async () => {
    const { log, source } = server(plain);
    const checkpoint = await load(source);
    const gets = () => log.filter((line) => line.startsWith("200 GET")).length;
    expect(gets()).toBe(1);
    expect((await checkpoint.read("a"))[999]).toBe(999);
    expect(gets()).toBe(2);
  });

  test("a body that breaks off is read again; one of another file is not", async () => {
    for (const tag of ['"1"', '"2"']) {
      let bodies = 0;
      const { source } = server((asked) => {
        const first = asked.method !== "HEAD" && asked.path === path && bodies++ === 0;
        const etag = first || asked.method === "HEAD" ? '"1"' : tag;
        if (asked.path !== path) return new Response("", { status: 404 });
        const body = asked.method === "HEAD" ? null : piecewise(file, first ? 20 * MiB : undefined);
        return new Response(body, { headers: headersOf(file, { etag }) });
      });
      if (tag === '"1"') await elapse(load(source));
      else expect(await elapsedFailure(load(source))).toContain("changed while it was read");
      expect(bodies).toBe(2);
    }
  });
});

describe("over the wire", () => {
  const servers: Server[] = [];
  const listen = async (listener: RequestListener) => {
    const server = createServer(listener);
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  };
  beforeEach(() => {
    vi.useRealTimers();
  });
  afterEach(() => {
    for (const server of servers.splice(0)) {
      server.closeAllConnections();
      server.close();
    }
  });

  test("a redirect to a signed address elsewhere keeps its query, gets none of ours, and is never printed", async () => {
    const seen: { url: string | undefined; authorization?: string; cookie?: string; range?: string }[] = [];
    let status = 206;
    const store = await listen((request, response) => {
      const { authorization, cookie, range } = request.headers;
      seen.push({ url: request.url, authorization, cookie, range });
      const [, start, end] = /bytes=(\d+)-(\d+)/.exec(range ?? "") ?? [];
      if (status !== 206) return void response.writeHead(status, { "content-type": "text/plain" }).end("sig=abc");
      const part = bytes.slice(Number(start), Number(end) + 1);
      response.writeHead(206, { "content-range": `bytes ${start}-${end}/1000`, "set-cookie": "a=b" }).end(part);
    });
    const hub = await listen((request, response) => {
      seen.push({ url: request.url, authorization: request.headers.authorization });
      response.writeHead(302, { location: `${store}/blob?sig=abc&exp=1` }).end();
    });
    const source = urlSource(`${hub.replace("//", "//me:pass@")}/m?token=secret`);
    for (let i = 0; i < 2; i++) expect(await source.read("a.bin", { start: 5, end: 9 })).toEqual(bytes.slice(5, 9));
    expect(seen.slice(0, 2)).toEqual([
      { url: "/m/a.bin?token=secret", authorization: `Basic ${btoa("me:pass")}` },
      { url: "/blob?sig=abc&exp=1", range: "bytes=5-8" },
    ]);
    for (const code of [400, 403, 416, 200]) {
      status = code;
      const message = await failure(source.read("a.bin", { start: 5, end: 9 }));
      expect(message).not.toMatch(/sig|abc|secret|token|pass/);
      expect(message).toContain(`${hub}/m/a.bin: `);
    }
  });

  test("a configuration of more than 4 MiB is refused, whatever it was compressed to, without reading on", async () => {
    const packed = gzipSync(Buffer.alloc(64 * MiB, " "));
    expect(packed.length).toBeLessThan(MiB / 8);
    const base = await listen((_, response) =>
      response.writeHead(200, { "content-type": "application/json", "content-encoding": "gzip" }).end(packed),
    );
    const source = urlSource(base);
    expect(await failure(source.exists("model_index.json"))).toContain("model_index.json: is over 4 MiB");
    expect(await failure(source.read("config.json"))).toContain("config.json: is over 4 MiB");
    const fits = gzipSync(JSON.stringify({ a: " ".repeat(4 * MiB - 100) }));
    const good = await listen((_, response) =>
      response.writeHead(200, { "content-type": "application/json", "content-encoding": "gzip" }).end(fits),
    );
    const text = new TextDecoder().decode(await urlSource(good).read("config.json"));
    expect(parseJson("", text)).toHaveProperty("a");
  });
});

describe("a hostile server", () => {
  /** Tensors whose every value tells the version of the file. */
  const version = (v: number, length: number) =>
    encodeSafetensors({
      a: { dtype: "F32", shape: [300], data: new Float32Array(300).fill(v) },
      b: { dtype: "F32", shape: [length], data: new Float32Array(length).fill(v) },
    });
  const path = "unet/diffusion_pytorch_model.safetensors";
  /** What a request is answered with, by name; the rest are served well. */
  const answers: Record<
    string,
    (file: Uint8Array, asked: Asked, tags: Record<string, string>) => Response | Promise<Response>
  > = {
    good: (file, asked, tags) => good(file, asked, tags),
    whole: (file, asked, tags) => good(file, { ...asked, range: undefined }, tags),
    "whole without its length": (file, asked, tags) =>
      new Response(asked.method === "HEAD" ? null : (file as BodyInit), { headers: tags }),
    "a part without its place": (file, asked, tags) => {
      const { status, body } = good(file, asked);
      return new Response(body, { status, headers: tags });
    },
    "the part before": (file, asked, tags) =>
      good(
        file,
        { ...asked, range: asked.range && [Math.max(0, asked.range[0] - 4), Math.max(0, asked.range[1] - 4)] },
        tags,
      ),
    "a short part": (file, asked, tags) => {
      const { status, headers } = good(file, asked, tags);
      headers.delete("content-length");
      return new Response(asked.method === "HEAD" ? null : file.slice(asked.range?.[0] ?? 0).slice(0, 5), {
        status,
        headers,
      });
    },
    "a long part": (file, asked, tags) => {
      const { status, headers } = good(file, asked, tags);
      return new Response(asked.method === "HEAD" ? null : (file as BodyInit), { status, headers });
    },
    "a cut body": (file, asked, tags) => {
      const { status, headers } = good(file, asked, tags);
      return asked.method === "HEAD"
        ? new Response(null, { status, headers })
        : cut(file.slice(asked.range?.[0] ?? 0), 40, { status, headers });
    },
    "an empty part": (_, asked, tags) =>
      new Response(asked.method === "HEAD" ? null : "", { status: 206, headers: tags }),
    "a front page": () => new Response("<html>", { headers: { "content-type": "text/html" } }),
    "broken off": () => Promise.reject(new TypeError("fetch failed")),
    silent: () => new Promise<Response>(() => {}),
    "busy for long": () => new Response("", { status: 429, headers: { "retry-after": "99999" } }),
    "gzip announced": (file, asked) =>
      new Response(asked.method === "HEAD" ? null : (file as BodyInit), { headers: { "content-encoding": "gzip" } }),
  };
  for (const status of [204, 304, 400, 401, 403, 404, 405, 410, 416, 418, 429, 500, 503])
    answers[status] = () => new Response(null, { status });

  test("gives the bytes of one version of a file, or one sentence", async () => {
    const step = fc.record({ answer: fc.constantFrom(...Object.keys(answers)), replaced: fc.boolean() });
    const versions = fc.constantFrom("etag", "last-modified", "length");
    let [right, refused] = [0, 0];
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 8 }), versions, async (steps, told) => {
        const left = [...steps];
        let v = 1;
        const { source } = server((asked) => {
          const { answer, replaced } = left.shift() ?? { answer: "good", replaced: false };
          if (replaced) v++;
          const file = version(v, told === "length" ? 5000 + v : 5000);
          const tags: Record<string, string> = told === "length" ? {} : { [told]: `"${v}"` };
          if (asked.path !== path) return new Response("", { status: 404 });
          return answers[answer]!(file, asked, tags);
        });
        const load = async () => {
          const checkpoint = await openCheckpoint(source, "unet");
          const seen = new Set<number>();
          let count = 0;
          for await (const { values } of checkpoint.floats(["a", "b"], { chunkBytes: 8000 }))
            for (const value of values) {
              seen.add(value);
              count++;
            }
          return { seen, count, of: checkpoint.totalBytes / 4 };
        };
        const result = await elapse(load().catch((error: unknown) => error));
        if (result.value instanceof Error) {
          expect(result.value).toBeInstanceOf(DdimError);
          expect(result.value.message).not.toMatch(/secret|internal/);
          refused++;
        } else {
          const { seen, count, of } = result.value as Awaited<ReturnType<typeof load>>;
          expect(seen.size).toBe(1);
          expect(count).toBe(of);
          right++;
        }
        // Four tries with their pauses, thirty seconds of silence: no request lasts longer.
        expect(result.seconds).toBeLessThan(300);
      }),
      { numRuns: 200 },
    );
    expect(right).toBeGreaterThan(10);
    expect(refused).toBeGreaterThan(10);
  });
});
