/** What a page keeps of models in the browser's own storage, as the server sees it: by its requests. */
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { folderSource } from "../../src/node/folder.ts";
import { modelId, openModel } from "../../src/node/index.ts";
import { goldenPath, shippedPath } from "../support/models.ts";
import { type OpenPage, openPage } from "./openPage.ts";
import type { Ddim } from "./page/main.ts";

declare const ddim: Ddim;

/** One device for all loads of a page, which then compile their kernels once. */
type WithDevice = { device?: ReturnType<Ddim["openDevice"]> };

/** Where jsDelivr has the package's folders, on its own host. */
const CDN = "/npm/ddim-webgpu@0.1.0/";

let scratch: string;
let browser: OpenPage;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), "ddim-kept-"));
  cpSync(goldenPath("corners/no_middle"), join(scratch, "model"), { recursive: true });
  const root = fileURLToPath(new URL("../../", import.meta.url));
  const cdn = { [`${CDN}dist/`]: join(root, "dist"), [`${CDN}weights/`]: join(root, "weights") };
  browser = await openPage({ ...cdn, "/own/": scratch });
});
afterAll(async () => {
  await browser?.close();
  await rm(scratch, { recursive: true });
});
beforeEach(async () => {
  await browser.page.evaluate(() => ddim.modelCache.clear());
});

type Options = Pick<Parameters<Ddim["loadPipeline"]>[1] & object, "cache" | "config">;

interface Loaded {
  readonly id: string;
  readonly warnings: string[];
  /** Of the model's files that the server was asked for. */
  readonly requests: number;
  readonly bytes: number;
}

/** What loading in a page, or in a worker of it, gives and costs. */
async function load(source = "/own/model", options: Options = {}, page: Page = browser.page): Promise<Loaded> {
  const before = browser.requests.length;
  const loaded = await page.evaluate(
    async ([source, options]) => {
      const warnings: string[] = [];
      const onWarning = (text: string) => void warnings.push(text);
      const page = globalThis as WithDevice;
      page.device ??= ddim.openDevice(navigator.gpu);
      const pipe = await ddim.loadPipeline(source, { ...options, device: await page.device, onWarning });
      const id = await ddim.modelId(pipe.model);
      pipe.dispose();
      return { id, warnings, bytes: await ddim.modelCache.size() };
    },
    [source, options] as const,
  );
  const requests = browser.requests.slice(before).filter((request) => / \/(own|assets\/.*safetensors)/.test(request));
  return { ...loaded, requests: requests.length };
}

async function reloadPage(): Promise<void> {
  await browser.page.reload();
  await browser.page.waitForFunction(() => "ddim" in globalThis);
}

const weights = "unet/diffusion_pytorch_model.safetensors";

test("a second load in a page, and one after a reload, make no request", async () => {
  const first = await load();
  expect(first.requests).toBeGreaterThan(2);
  expect(first.bytes).toBeGreaterThan(readFileSync(join(scratch, "model", weights)).byteLength);
  const again = { id: first.id, warnings: [], requests: 0, bytes: first.bytes };
  expect(await load()).toEqual(again);
  // However the address is spelled.
  expect(await load(new URL("/own/model/", browser.page.url()).href)).toEqual(again);
  await reloadPage();
  expect(await load()).toEqual(again);
});

test("one file and a configuration apart from it are kept as well", async () => {
  const options = { config: "/own/model/unet/config.json" };
  const first = await load(`/own/model/${weights}`, options);
  expect(first.requests).toBeGreaterThan(1);
  expect(await load(`/own/model/${weights}`, options)).toEqual({ ...first, requests: 0 });
});

test("a worker has the same storage", async () => {
  const first = await load();
  const before = browser.requests.length;
  const id = await browser.page.evaluate(async () => {
    const script = (document.querySelector("script[type=module]") as HTMLScriptElement).src;
    const source = new URL("/own/model", location.href).href;
    const text = `
      await import(${JSON.stringify(script)});
      const pipe = await ddim.loadPipeline(${JSON.stringify(source)});
      postMessage(await ddim.modelId(pipe.model));`;
    const worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })), { type: "module" });
    try {
      return await new Promise((resolve, reject) => {
        worker.onmessage = ({ data }) => resolve(data);
        worker.onerror = ({ message }) => reject(new Error(message));
      });
    } finally {
      worker.terminate();
    }
  });
  expect(id).toBe(first.id);
  expect(browser.requests.slice(before).filter((request) => request.includes("/own/"))).toEqual([]);
});

test("the package's own model is found by its name, in what the bundler made of it, and kept", async () => {
  const { id } = await load("pixel-avatars-16");
  expect(browser.requests.at(-1)).toMatch(/^GET \/assets\/diffusion_pytorch_model-[\w-]+\.safetensors$/);
  expect(id).toBe(await modelId(await openModel(folderSource(shippedPath("pixel-avatars-16")))));
  expect(await load("pixel-avatars-16")).toMatchObject({ id, warnings: [], requests: 0 });
  await browser.page.evaluate(() => ddim.modelCache.clear("pixel-avatars-16"));
  expect(await browser.page.evaluate(() => ddim.modelCache.size())).toBe(0);
});

test("from a CDN's folders, without a bundler, its weights are found beside dist/", async () => {
  // As text: Vitest has an import() of its own.
  const name = await browser.page.evaluate(`(async () => {
    const { loadPipeline } = await import("${CDN}dist/index.js");
    const pipe = await loadPipeline("pixel-avatars-16");
    pipe.dispose();
    return pipe.model.name;
  })()`);
  expect(name).toBe("pixel-avatars-16");
  expect(browser.requests.at(-1)).toBe(`GET ${CDN}weights/pixel-avatars-16/unet/diffusion_pytorch_model.safetensors`);
});

test("other names are refused in one sentence, without a request", async () => {
  const before = browser.requests.length;
  const refused = await browser.page.evaluate(() => ddim.loadPipeline("pixel-avatar-16").catch((error) => `${error}`));
  expect(refused).toMatch(
    /^UsageError: pixel-avatar-16 is no model .*\(pixel-avatars-16, crawl-tiles-32\): give a URL, .*\.\//,
  );
  expect(browser.requests).toHaveLength(before);
});

test("cache: false keeps and reads nothing, reload asks again, clear removes one model", async () => {
  expect((await load("/own/model", { cache: false })).bytes).toBe(0);
  const kept = await load();
  expect((await load("/own/model", { cache: false })).requests).toBeGreaterThan(2);
  expect((await load("/own/model", { cache: "reload" })).requests).toBe(kept.requests);
  await browser.page.evaluate(() => ddim.modelCache.clear("/elsewhere"));
  expect(await load()).toEqual({ ...kept, requests: 0 });
  await browser.page.evaluate(() => ddim.modelCache.clear(new URL("/own/model", location.href)));
  expect(await browser.page.evaluate(() => ddim.modelCache.size())).toBe(0);
  const wrong = await browser.page.evaluate(() => ddim.loadPipeline("/x", { cache: "no" as never }).catch(String));
  expect(wrong).toBe('UsageError: cache must be true, false or "reload", got "no"');
  const id = await browser.page.evaluate(() => ddim.loadPipeline("org/name").catch(String));
  expect(id).toMatch(
    /org\/name: has neither .*; a model of the Hugging Face Hub is https:\/\/huggingface\.co\/org\/name in a page$/,
  );
  const file = browser.page.evaluate(() => ddim.loadPipeline([new File([], "x")], { cache: 1 as never }));
  await expect(file).rejects.toThrow('cache must be true, false or "reload", got 1');
});

test("what was damaged in the storage is fetched again", async () => {
  const first = await load();
  await browser.page.evaluate(async () => {
    for (const name of await caches.keys()) {
      const cache = await caches.open(name);
      for (const request of await cache.keys()) {
        const response = (await cache.match(request)) as Response;
        const bytes = new Uint8Array(await response.arrayBuffer());
        bytes[bytes.length >> 1]! ^= 1;
        await cache.put(request, new Response(bytes, { headers: response.headers }));
      }
    }
  });
  expect(await load()).toMatchObject({ id: first.id, warnings: [] });
  expect(await load()).toEqual({ ...first, requests: 0 });
});

test("a load that fails keeps nothing that the next one would fail of", async () => {
  const place = join(scratch, "model/unet/config.json");
  const config = readFileSync(place);
  writeFileSync(place, "{");
  await expect(load()).rejects.toThrow(/config\.json/);
  writeFileSync(place, config);
  expect(await load()).toMatchObject({ warnings: [] });
});

test("two tabs that load at once leave a whole model", async () => {
  const other = await browser.page.context().newPage();
  await other.goto(browser.page.url());
  await other.waitForFunction(() => "ddim" in globalThis);
  const [one, two] = await Promise.all([load(), load("/own/model", {}, other)]);
  expect(two.id).toBe(one.id);
  await other.close();
  expect(await load()).toMatchObject({ id: one.id, warnings: [] });
  expect(await load()).toMatchObject({ id: one.id, requests: 0 });
});

test("without room, and without a storage, the model is loaded with one warning", async () => {
  await browser.page.evaluate(() => {
    Cache.prototype.put = async () => {
      throw new DOMException("full", "QuotaExceededError");
    };
  });
  const full = await load();
  expect(full).toMatchObject({ bytes: 0, warnings: [expect.stringContaining("QuotaExceededError")] });
  await browser.page.evaluate(() => {
    Object.defineProperty(globalThis, "caches", {
      get() {
        throw new DOMException("The operation is insecure.", "SecurityError");
      },
    });
  });
  expect(await load()).toMatchObject({ id: full.id, warnings: [expect.stringContaining("SecurityError")] });
  await reloadPage();
});
