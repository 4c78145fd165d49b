/** Models of a Hugging Face Hub: which files come, into which cache, and what troubles of a server or a disk do. */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { type HubOptions, hubSource } from "../../src/node/hub/source.ts";
import { openModel } from "../../src/node/model.ts";
import { parseHubId } from "../../src/weights/hub.ts";
import { readInto } from "../../src/weights/source.ts";
import { scratchFolder } from "../support/cli.ts";
import { type Asked, blobName, bytesOf, serveHub, sha256, type TestHub, type Trouble } from "../support/hub.ts";
import { goldenPath, readFolder, shippedPath } from "../support/models.ts";
import { failure } from "../weights/memory-source.ts";

const TOKEN = "hf_abcdefgh";
const WEIGHTS = "unet/diffusion_pytorch_model.safetensors";
const shipped = readFolder(shippedPath("pixel-avatars-16"));
const large = Uint8Array.from({ length: 3_000_000 }, (_, i) => (i * i) % 251);
const scratch = scratchFolder();

let hub: TestHub;
/** A home of each test's own. */
let home: string;
let count = 0;

beforeAll(async () => {
  hub = await serveHub({});
});
afterAll(() => hub.close());
beforeEach(() => {
  home = join(scratch, String(count++));
  hub.trouble = () => undefined;
  hub.pageSize = 1000;
  hub.asked.length = 0;
  hub.repos = {
    "org/avatars": {
      files: {
        ...shipped,
        "README.md": "what it is",
        "unet/diffusion_pytorch_model.bin": new Uint8Array(100),
        "unet/diffusion_pytorch_model.fp16.safetensors": new Uint8Array(100),
        "unet/diffusion_flax_model.msgpack": new Uint8Array(100),
        "unet/model.onnx": new Uint8Array(100),
        "text_encoder/model.safetensors": new Uint8Array(100),
      },
      refs: { v1: "x" },
    },
    "org/large": { files: { "config.json": "{}", "model.safetensors": large } },
    "org/private": { files: shipped, token: TOKEN },
    "org/gated": { files: shipped, token: TOKEN, gated: true },
  };
});
afterEach(() => {
  vi.doUnmock("@huggingface/hub");
  vi.resetModules();
});

const env = (more: Record<string, string> = {}) => ({ HF_ENDPOINT: hub.origin, HOME: home, ...more });
const open = (name: string, options: HubOptions = {}) =>
  hubSource(parseHubId(name)!, { ...options, env: env(options.env as Record<string, string>) });
const read = (name: string, path: string, options?: HubOptions) => open(name, options).read(path);
const why = (name: string, path = "config.json", options?: HubOptions) => failure(read(name, path, options));

const folder = (name = "org/large") => join(home, ".cache/huggingface/hub", `models--${name.replace("/", "--")}`);
const blob = (data: Uint8Array = large) => join(folder(), "blobs", sha256(data));
const blobs = () => (existsSync(join(folder(), "blobs")) ? readdirSync(join(folder(), "blobs")) : []);
const files = () =>
  hub.asked.filter(({ path }) => path.includes("/resolve/")).map(({ path }) => path.split("/").slice(5).join("/"));
const fromCdn = () => hub.asked.filter(({ server }) => server === "cdn");

/** Quicker than toEqual. */
const same = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

/** A trouble of the first so many requests of a kind. */
function first(times: number, is: (asked: Asked) => boolean, trouble: Trouble) {
  let left = times;
  hub.trouble = (asked) => (is(asked) && left-- > 0 ? trouble : undefined);
}
const isCdn = ({ server }: Asked) => server === "cdn";

describe("what is downloaded", () => {
  test("the files that loading reads, one of several formats, and nothing else", async () => {
    const events: [string, number, number][] = [];
    const model = await openModel(open("org/avatars", { onDownload: (...event) => events.push(event) }));
    expect(model.name).toBe("avatars");
    await model.source.download?.();
    expect([...new Set(files())].sort()).toEqual(
      ["model_index.json", "scheduler/scheduler_config.json", "unet/config.json", WEIGHTS].sort(),
    );
    const bytes = shipped[WEIGHTS]!.length;
    expect(events.filter(([file]) => file === WEIGHTS).at(-1)).toEqual([WEIGHTS, bytes, bytes]);
    hub.asked.length = 0;
    await (await openModel(open("org/avatars"))).source.download?.();
    expect(files()).toEqual([]);
    expect(hub.asked).toHaveLength(2);
  });

  test("a variant, where it is asked for", async () => {
    const fp16 = shipped[WEIGHTS]!;
    const { [WEIGHTS]: _, ...rest } = shipped;
    hub.repos = {
      "org/half": {
        files: { ...rest, [WEIGHTS]: new Uint8Array(9), "unet/diffusion_pytorch_model.fp16.safetensors": fp16 },
      },
    };
    await openModel(open("org/half"), { variant: "fp16" });
    expect(files()).toContain("unet/diffusion_pytorch_model.fp16.safetensors");
    expect(files()).not.toContain(WEIGHTS);
  });

  test("of weights no more than their header, before the model is judged", async () => {
    hub.repos = { "org/odd": { files: { ...shipped, "unet/config.json": '{"_class_name": "Odd"}' } } };
    await expect(openModel(open("org/odd"))).rejects.toThrow("org/odd");
    expect(fromCdn().every(({ range }) => /^bytes=0-\d{1,6}$/.test(range ?? ""))).toBe(true);
  });

  test("shards, of a list in several pages", async () => {
    hub.pageSize = 2;
    hub.repos = { "org/sharded": { files: readFolder(goldenPath("models/ddpm_sharded")) } };
    const model = await openModel(open("org/sharded"));
    expect(model.checkpoint.tensors.size).toBeGreaterThan(10);
    expect(hub.asked.filter(({ path }) => path.includes("/tree/")).length).toBeGreaterThan(2);
  });

  test("of one commit, whatever the branch becomes meanwhile", async () => {
    const source = open("org/large");
    await source.read("config.json");
    const commit = hub.commit("org/large");
    hub.repos = { "org/large": { files: { "config.json": "{}", "model.safetensors": new Uint8Array(5) } } };
    // The Hub still has the commit.
    hub.repos["org/large"] = {
      files: { "config.json": "{}", "model.safetensors": large },
      refs: { [commit]: commit, main: "0".repeat(40) },
    };
    expect(await source.size("model.safetensors")).toBe(large.length);
    await source.read("model.safetensors");
    expect(hub.asked.filter(({ path }) => path.includes("/revision/"))).toHaveLength(1);
    expect(source.address?.()).toBe(`org/large@${commit}`);
  });
});

describe("the cache", () => {
  test("has the layout of huggingface_hub", async () => {
    await read("org/avatars", WEIGHTS);
    const commit = hub.commit("org/avatars");
    const at = folder("org/avatars");
    const pointer = join(at, "snapshots", commit, WEIGHTS);
    expect(lstatSync(pointer).isSymbolicLink()).toBe(true);
    expect(readlinkSync(pointer)).toBe(`../../../blobs/${blobName(WEIGHTS, shipped[WEIGHTS]!)}`);
    expect(same(readFileSync(pointer), shipped[WEIGHTS]!)).toBe(true);
    expect(readFileSync(join(at, "refs/main"), "utf8")).toBe(commit);
    await read("org/avatars", "unet/config.json");
    expect(readdirSync(join(at, "blobs")).sort()).toEqual(
      [WEIGHTS, "unet/config.json"].map((path) => blobName(path, shipped[path]!)).sort(),
    );
  });

  test.each([
    [{}, ".cache/huggingface/hub"],
    [{ XDG_CACHE_HOME: "@/x" }, "x/huggingface/hub"],
    [{ HF_HOME: "~/h" }, "h/hub"],
    [{ HF_HOME: "@/h", HUGGINGFACE_HUB_CACHE: "$HF_HOME/old" }, "h/old"],
    [{ HF_HOME: "@/h", HUGGINGFACE_HUB_CACHE: "@/old", HF_HUB_CACHE: `$\{HOME}/c` }, "c"],
  ])("is where %j says", async (given: Record<string, string>, where) => {
    const more = Object.fromEntries(
      Object.entries(given).map(([key, value]) => [key, value.replace("@/", `${home}/`)]),
    );
    await read("org/large", "config.json", { env: more });
    expect(existsSync(join(home, where, "models--org--large/refs/main"))).toBe(true);
  });

  test("offline, what Python downloaded is all there is to it", async () => {
    const commit = "1234567890".repeat(4);
    const at = join(folder("org/avatars"), "snapshots", commit);
    for (const [path, data] of Object.entries(shipped)) {
      mkdirSync(dirname(join(at, path)), { recursive: true });
      writeFileSync(join(at, path), data);
    }
    mkdirSync(join(folder("org/avatars"), "refs/refs/pr"), { recursive: true });
    writeFileSync(join(folder("org/avatars"), "refs/refs/pr/1"), commit);
    const offline = { env: { HF_HUB_OFFLINE: "1" } };
    for (const revision of ["refs/pr/1", commit]) {
      const source = open(`org/avatars@${revision}`, offline);
      expect((await openModel(source)).name).toBe("avatars");
      expect(source.address?.()).toBe(`org/avatars@${commit}`);
    }
    expect(await why("org/avatars", "x", offline)).toMatch(
      /^org\/avatars: .*cache has nothing of its revision main; HF_HUB_OFFLINE/,
    );
    expect(hub.asked).toEqual([]);
  });

  test("stands in for a Hub that cannot be reached, with a warning", async () => {
    await read("org/large", "config.json");
    const warnings: string[] = [];
    const nowhere = { env: { HF_ENDPOINT: "http://127.0.0.1:9" }, onWarning: (text: string) => warnings.push(text) };
    expect(
      await read("org/large", "config.json", {
        ...nowhere,
        fetch: () => Promise.reject(new TypeError("fetch failed", { cause: { code: "ECONNREFUSED" } })),
      }),
    ).toEqual(bytesOf("{}"));
    expect(warnings.join()).toMatch(/127\.0\.0\.1:9: cannot be read.*commit [0-9a-f]{40} is used/);
  });

  test("a file that is shorter there than it should be comes again", async () => {
    await read("org/large", "model.safetensors");
    writeFileSync(blob(), "cut");
    expect(same(await read("org/large", "model.safetensors"), large)).toBe(true);
  });

  test("that cannot be written is one sentence", async () => {
    writeFileSync(join(scratch, "file"), "");
    expect(await why("org/large", "config.json", { env: { HF_HUB_CACHE: join(scratch, "file") } })).toMatch(
      /file\/models--org--large: cannot be written \(ENOTDIR\): HF_HUB_CACHE names another folder$/,
    );
  });
});

describe("the token", () => {
  test.each([
    [{ HF_TOKEN: ` ${TOKEN}\n` }, undefined],
    [{ HUGGING_FACE_HUB_TOKEN: TOKEN }, undefined],
    [{ HF_TOKEN: " ", HF_TOKEN_PATH: "~/t" }, "t"],
    [{ HF_HOME: "~/h" }, "h/token"],
    [{}, ".cache/huggingface/token"],
  ])("of %j and the file %s goes to the Hub and nowhere else", async (given: Record<string, string>, file) => {
    if (file) {
      mkdirSync(dirname(join(home, file)), { recursive: true });
      writeFileSync(join(home, file), `${TOKEN}\n`);
    }
    expect(same(await read("org/private", WEIGHTS, { env: given }), shipped[WEIGHTS]!)).toBe(true);
    expect(
      hub.asked
        .filter(({ server }) => server === "hub")
        .every(({ authorization }) => authorization === `Bearer ${TOKEN}`),
    ).toBe(true);
    expect(fromCdn().map(({ authorization, status }) => [authorization, status])).toEqual([[undefined, 200]]);
  });

  test("does not follow a list to another host", async () => {
    const seen: string[] = [];
    hub.trouble = ({ path }) =>
      path.includes("/tree/") && seen.push(path) === 1
        ? { headers: { link: `<http://localhost:${new URL(hub.origin).port}${path}>; rel="next"` } }
        : undefined;
    expect(await failure(read("org/private", "config.json", { env: { HF_TOKEN: TOKEN } }))).toContain("org/private");
    const lists = hub.asked.filter(({ path }) => path.includes("/tree/"));
    expect(lists.map(({ authorization }) => authorization)).toEqual([`Bearer ${TOKEN}`, undefined]);
  });

  test.each([
    ["org/private", {}, /no such folder here.*no model of this id.*check the spelling.*hf auth login.*HF_TOKEN$/],
    ["org/nobody", {}, /no such folder here.*no model of this id.*check the spelling.*hf auth login.*HF_TOKEN$/],
    ["org/nobody", { HF_TOKEN: TOKEN }, /no model of this id that the token in HF_TOKEN may read: check the spelling/],
    ["org/private", { HF_TOKEN: "hf_other" }, /no model of this id that the token in HF_TOKEN may read/],
    [
      "org/gated",
      {},
      /is gated: accept its conditions on http:.*\/org\/gated, then log in \(hf auth login\) or set HF_TOKEN$/,
    ],
    ["org/gated", { HF_TOKEN: "hf_other" }, /is gated, and the token in HF_TOKEN may not read it/],
    ["org/large@v2", {}, /has no branch, tag or commit v2 of it$/],
    ["org/private", { HF_TOKEN: "hf_\u0001secret" }, /^HF_TOKEN: holds characters/],
  ])("%s with %j is one sentence", async (name, given: Record<string, string>, sentence) => {
    const said = await why(name, WEIGHTS, { env: given });
    expect(said).toMatch(sentence);
    expect(said).not.toMatch(/hf_[^ ]|\n/);
  });

  test("goes nowhere where HF_ENDPOINT is none", async () => {
    for (const endpoint of ["ftp://x", "x", "https://user:password@x", "https://x?y"])
      await expect(read("org/private", WEIGHTS, { env: { HF_ENDPOINT: endpoint } })).rejects.toThrow(
        /^HF_ENDPOINT must be/,
      );
  });

  test("that is no longer valid is told by its place", async () => {
    hub.trouble = () => ({
      status: 401,
      headers: { "x-error-message": "Invalid credentials in Authorization header" },
    });
    expect(await why("org/private", WEIGHTS, { env: { HF_TOKEN: TOKEN } })).toMatch(
      /does not accept the token in HF_TOKEN/,
    );
  });
});

describe("a connection", () => {
  test("that breaks off is taken up by a range", async () => {
    first(2, isCdn, { cutAfter: 1_200_000 });
    expect(same(await read("org/large", "model.safetensors"), large)).toBe(true);
    const ranges = fromCdn().map(({ range }) => range);
    expect(ranges[0]).toBeUndefined();
    expect(ranges.slice(1).every((range) => /^bytes=[1-9]\d*-$/.test(range ?? ""))).toBe(true);
    expect(blobs()).toEqual([sha256(large)]);
  });

  test("that breaks off again and again is taken up by the next process, killed or not", async () => {
    // Written so far, by a process that has ended.
    const { pid } = spawnSync(process.execPath, ["-e", ""]);
    await read("org/large", "config.json");
    writeFileSync(`${blob()}.${pid}.0123abcd.incomplete`, large.slice(0, 1_000_000));
    expect(same(await read("org/large", "model.safetensors"), large)).toBe(true);
    expect(fromCdn().map(({ range }) => range)).toEqual(["bytes=1000000-"]);
    expect(blobs().filter((name) => name.includes("incomplete"))).toEqual([]);
  });

  test("parts of processes that are gone are removed once the whole has come by another way", async () => {
    const { pid } = spawnSync(process.execPath, ["-e", ""]);
    await read("org/large", "model.safetensors");
    const parts = [pid, 1].map((writer) => `${blob()}.${writer}.0123abcd.incomplete`);
    const foreign = `${blob()}.0123abcd.incomplete`;
    for (const part of [...parts, foreign]) writeFileSync(part, large.slice(0, 1000));
    await read("org/large", "config.json");
    expect([...parts, foreign].map((part) => existsSync(part))).toEqual([false, true, true]);
  });

  test("that is given up, or ended by a signal, leaves what came", async () => {
    const controller = new AbortController();
    hub.trouble = (asked) => (isCdn(asked) ? { stallAfter: 1_500_000 } : undefined);
    const onDownload = (_: string, loaded: number) => loaded >= 1_000_000 && controller.abort(new Error("enough"));
    await expect(
      open("org/large", { onDownload }).read("model.safetensors", undefined, controller.signal),
    ).rejects.toThrow("enough");
    const [left] = blobs().filter((name) => name.endsWith(".incomplete"));
    const kept = statSync(join(folder(), "blobs", left!)).size;
    expect(kept).toBeGreaterThanOrEqual(1_000_000);
    hub.trouble = () => undefined;
    hub.asked.length = 0;
    expect(same(await read("org/large", "model.safetensors"), large)).toBe(true);
    expect(fromCdn().map(({ range }) => range)).toEqual([`bytes=${kept}-`]);
  });

  test("another process's part is left alone while it lives, and taken when it is old", async () => {
    await read("org/large", "config.json");
    const part = `${blob()}.1.0123abcd.incomplete`;
    writeFileSync(part, large.slice(0, 1000));
    expect(same(await read("org/large", "model.safetensors"), large)).toBe(true);
    expect(fromCdn().map(({ range }) => range)).toEqual([undefined]);
    expect(existsSync(part)).toBe(true);
    rmSync(blob());
    utimesSync(part, 1, 1);
    expect(same(await read("org/large", "model.safetensors"), large)).toBe(true);
    expect(fromCdn().map(({ range }) => range)).toEqual([undefined, "bytes=1000-"]);
    expect(existsSync(part)).toBe(false);
  });

  test("goes on after what an earlier version of huggingface_hub left, which stays", async () => {
    await read("org/large", "config.json");
    writeFileSync(`${blob()}.incomplete`, large.slice(0, 2000));
    expect(same(await read("org/large", "model.safetensors"), large)).toBe(true);
    expect(fromCdn().map(({ range }) => range)).toEqual(["bytes=2000-"]);
    expect(statSync(`${blob()}.incomplete`).size).toBe(2000);
  });

  test("begins again where the part that was there is damaged, or longer, or the server knows no ranges", async () => {
    for (const part of [large.slice(1, 5000), new Uint8Array(4_000_000)]) {
      await read("org/large", "config.json");
      writeFileSync(`${blob()}.incomplete`, part);
      expect(same(await read("org/large", "model.safetensors"), large)).toBe(true);
      rmSync(blob());
    }
    writeFileSync(`${blob()}.incomplete`, large.slice(0, 5000));
    hub.trouble = (asked) =>
      isCdn(asked) ? { status: 200, body: large, headers: { "content-length": String(large.length) } } : undefined;
    expect(same(await read("org/large", "model.safetensors"), large)).toBe(true);
  });

  test("that brings other content than the Hub lists is refused, and nothing is kept", async () => {
    const other = large.slice().reverse();
    first(9, isCdn, { body: other });
    expect(await why("org/large", "model.safetensors")).toMatch(
      /^org\/large\/model.safetensors: what came is not what the Hub lists/,
    );
    expect(blobs()).toEqual([]);
    first(9, isCdn, {
      body: new Uint8Array(large.length + 1),
      headers: { "content-length": String(large.length + 1) },
    });
    expect(await why("org/large", "model.safetensors")).toMatch(/gave more than the 3000000 bytes/);
    first(9, ({ path }) => path.endsWith("config.json"), { body: "[]" });
    expect(await why("org/large", "config.json")).toMatch(/^org\/large\/config.json: what came is not/);
  });

  test("waits as 429 asks, and not for ever", async () => {
    first(1, ({ path }) => path.startsWith("/api/"), { status: 429, headers: { "retry-after": "1" } });
    const start = performance.now();
    expect(await read("org/large", "config.json")).toEqual(bytesOf("{}"));
    expect(performance.now() - start).toBeGreaterThan(900);
    hub.trouble = () => ({ status: 429, headers: { "retry-after": "3600" } });
    expect(await why("org/other")).toMatch(/429 Too Many Requests, and asks to be left alone for 3600 s$/);
  });

  test("two at once do each other no harm: who has begun to read is not disturbed by who comes second", async () => {
    let openGate = () => {};
    const gate = new Promise<void>((resolve) => {
      openGate = resolve;
    });
    const late = async (url: string, init?: RequestInit) => {
      const response = await fetch(url, init);
      if (url.includes("/resolve/")) await gate;
      return response;
    };
    const second = read("org/large", "model.safetensors", { fetch: late });
    const source = open("org/large");
    const half = new Uint8Array(1_500_000);
    await readInto(source, "model.safetensors", 0, half);
    openGate();
    expect(same(await second, large)).toBe(true);
    await readInto(source, "model.safetensors", 1_500_000, half);
    expect(same(half, large.subarray(1_500_000))).toBe(true);
    expect(blobs()).toEqual([sha256(large)]);
  });

  test("two at once give two the right bytes", async () => {
    const both = await Promise.all([read("org/large", "model.safetensors"), read("org/large", "model.safetensors")]);
    for (const bytes of both) expect(same(bytes, large)).toBe(true);
    expect(blobs()).toEqual([sha256(large)]);
  });
});

describe("a list", () => {
  const list = (body: unknown) => {
    hub.trouble = ({ path }) => (path.includes("/tree/") ? { body: JSON.stringify(body) } : undefined);
  };
  const entry = { type: "file", path: "config.json", size: 2, oid: "0".repeat(40) };

  test.each([
    [{ ...entry, oid: "../../evil" }],
    [{ ...entry, size: -1 }],
    [{ ...entry, size: "many" }],
    [{ ...entry, path: 5 }],
    [{ ...entry, lfs: { oid: "0".repeat(40), size: 2 } }],
    [null],
  ])("with %j is refused", async (odd) => {
    list([odd]);
    expect(await why("org/large")).toMatch(/^org\/large: .* does not answer as the Hugging Face Hub does/);
  });

  test("whose answer is no list, or has no commit, is refused", async () => {
    hub.trouble = ({ path }) => (path.includes("/tree/") ? { body: "<html>" } : undefined);
    expect(await why("org/large")).toMatch(/does not answer as the Hugging Face Hub does/);
    hub.trouble = ({ path }) => (path.includes("/revision/") ? { body: '{"sha": "../.."}' } : undefined);
    expect(await why("org/large")).toMatch(/does not answer as the Hugging Face Hub does \(no commit\)$/);
  });

  test("of names that lead out of the folder writes nothing there", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom("..", ".", "", "a", "b\\..", "C:", "\u0000"), { minLength: 1, maxLength: 4 }),
        async (parts) => {
          const path = parts.join("/");
          list([{ ...entry, path }]);
          const source = open("org/large");
          await source.list?.("");
          const before = readdirSync(scratch, { recursive: true }).length;
          await readInto(source, path, 0, new Uint8Array(2)).catch(() => {});
          const added = readdirSync(scratch, { recursive: true }).length - before;
          if (parts.some((part) => part !== "a")) expect(added).toBe(0);
        },
      ),
      { numRuns: 40 },
    );
  });
});

test("without the package it says how to install it, and what else to do; the cache is used without it", async () => {
  await read("org/avatars", "README.md");
  vi.resetModules();
  vi.doMock("@huggingface/hub", () => {
    throw new Error("Cannot find package '@huggingface/hub'");
  });
  const { hubSource: without } = await import("../../src/node/hub/source.ts");
  const id = parseHubId("org/large")!;
  expect(await failure(without(id, { env: env() }).read("config.json"))).toMatch(
    /^org\/large: is no folder here, .*npm install @huggingface\/hub; or hf download org\/large --local-dir org\/large, /,
  );
  const warnings: string[] = [];
  const source = without(parseHubId("org/avatars")!, { env: env(), onWarning: (text) => warnings.push(text) });
  expect(await source.read("README.md")).toEqual(bytesOf("what it is"));
  expect(warnings.join()).toContain("npm install @huggingface/hub");
});
