import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, test, vi } from "vitest";
import { folderSource } from "../../src/node/folder.ts";
import { toNodeSource } from "../../src/node/source.ts";
import { openModel } from "../../src/pipeline/model.ts";
import { modelId } from "../../src/pipeline/modelId.ts";
import { shippedSource } from "../../src/weights/shipped.ts";
import { SHIPPED, VERSION } from "../../src/weights/shippedNames.ts";
import { toSource } from "../../src/weights/to-source.ts";
import { shippedPath } from "../support/models.ts";
import { failure, memorySource } from "./memory-source.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const REPOSITORY = `https://raw.githubusercontent.com/ddim-webgpu/ddim-webgpu/v${VERSION}/`;

/** The repository's server, and the package's own files where a bundle or a platform gives them an address. */
async function fetch(url: string, init: RequestInit = {}): Promise<Response> {
  const path = url.startsWith("file:") ? fileURLToPath(url) : url.replace(REPOSITORY, root);
  const bytes = readFileSync(path);
  const range = /bytes=(\d+)-(\d+)/.exec(new Headers(init.headers).get("range") ?? "");
  if (!range) return new Response(bytes, { headers: { "content-length": String(bytes.byteLength) } });
  const [from, to] = [Number(range[1]), Number(range[2])];
  const headers = { "content-range": `bytes ${from}-${to}/${bytes.byteLength}` };
  return new Response(bytes.subarray(from, to + 1), { status: 206, headers });
}

test("names mean the state of this version's repository", () => {
  expect(VERSION).toBe(JSON.parse(readFileSync(`${root}/package.json`, "utf8")).version);
});

describe.each([...SHIPPED])("%s without a disk", (name) => {
  test("is the same model as its folder", async () => {
    const [given, own] = [await openModel(toSource(name, { fetch })), await openModel(folderSource(shippedPath(name)))];
    const { name: called, labels, nullClass, scheduler, config } = given;
    expect(called).toBe(name);
    expect({ labels, nullClass, scheduler, config }).toEqual({
      ...{ labels: own.labels, nullClass: own.nullClass, scheduler: own.scheduler, config: own.config },
    });
    expect(await modelId(given)).toBe(await modelId(own));
  });

  test("that cannot be had is an error that names its address, and the way out", async () => {
    const asked: string[] = [];
    const missing = async (url: string) => {
      asked.push(url);
      return new Response(null, { status: 404 });
    };
    const problem = await failure(openModel(toSource(name, { fetch: missing })));
    expect(problem).toContain(`weights/${name}/unet/diffusion_pytorch_model.safetensors`);
    expect(problem).toMatch(/folder weights\/[\w-]+.* URL/);
    if (name === "crawl-tiles-32") expect(new Set(asked)).toEqual(new Set([expect.stringContaining(REPOSITORY)]));
  });
});

describe("what bundlers put in the place of the weights' address", () => {
  const Own = URL;
  /** The class that the literal makes something of. */
  const bundled = (href: string) =>
    class {
      constructor(url: string | URL, base?: string) {
        // biome-ignore lint/correctness/noConstructorReturn: Next's is an object that has an address
        return /^\.\.\/.*\.safetensors$/.test(String(url)) ? ({ href } as never) : new Own(url, base);
      }
    };
  afterEach(() => vi.unstubAllGlobals());
  const path = "unet/diffusion_pytorch_model.safetensors";

  test("is read where it is the file itself", async () => {
    vi.stubGlobal("URL", bundled("data:application/octet-stream;base64,AAECAwQ="));
    const source = shippedSource("pixel-avatars-16", () => expect.fail("no server has it"), globalThis.fetch);
    expect(await source.size(path)).toBe(5);
    expect(await source.read(path, { start: 1, end: 3 })).toEqual(Uint8Array.of(1, 2));
  });

  test.each([
    ["a hashed name", "https://example.com/assets/weights-x7Qa.safetensors"],
    ["a path alone", "/_next/static/media/weights.3f.safetensors"],
    [
      "a place beside Vite's copy of this module",
      "https://example.com/node_modules/weights/pixel-avatars-16/w.safetensors",
    ],
  ])("is fetched where it is %s", async (_, href) => {
    vi.stubGlobal("URL", bundled(href));
    vi.stubGlobal("location", new Own("https://example.com/page/"));
    const asked: string[] = [];
    const place = (url: URL) => {
      asked.push(url.href);
      return { source: memorySource({}), path: "w" };
    };
    shippedSource("pixel-avatars-16", place, fetch);
    expect(asked).toEqual([
      new Own(href, "https://example.com").href.replace("/node_modules/", "/node_modules/ddim-webgpu/"),
    ]);
  });
});

test.each(["pixel-avatars", "pixel-avatars-16.", "crawl_tiles_32", "toString"])("%s alone is no model", (name) => {
  expect(() => toSource(name)).toThrow(
    `${name} is no model that comes with this package (pixel-avatars-16, crawl-tiles-32): give a URL`,
  );
  expect(() => toNodeSource(name)).toThrow(
    /^[\w.-]+: there is no such folder, here or in weights\/; .*pixel-avatars-16 and crawl-tiles-32.* URL, or org\/name/,
  );
});

test("in Node a model of the package that is not on the disk is read from the repository", async () => {
  vi.resetModules();
  vi.doMock("../../src/node/packageRoot.ts", () => ({ packageRoot: () => "/nowhere" }));
  const { toNodeSource } = await import("../../src/node/source.ts");
  const here = process.cwd();
  process.chdir(tmpdir());
  try {
    const source = toNodeSource("crawl-tiles-32", { fetch });
    expect(source.name).toBe("crawl-tiles-32");
    expect(await source.size("unet/diffusion_pytorch_model.safetensors")).toBe(7911174);
  } finally {
    process.chdir(here);
    vi.doUnmock("../../src/node/packageRoot.ts");
    vi.resetModules();
  }
});
