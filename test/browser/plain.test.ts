/** The built files in a page as they are, without a bundler: what it asks for to load a model, and that it samples. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { launchChromium } from "../../scripts/chromium.mjs";
import { type StaticServer, serveFolders } from "../support/staticServer.ts";
import { collectErrors } from "./openPage.ts";

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));
const PAGE = `<link rel="icon" href="data:," />
<script type="module">
  addEventListener("unhandledrejection", ({ reason }) => { globalThis.failed = String(reason); });
  import { loadPipeline } from "/node_modules/ddim-webgpu/dist/index.js";
  const pipe = await loadPipeline("/node_modules/ddim-webgpu/weights/pixel-avatars-16");
  globalThis.loaded = true;
  const { images } = await pipe.generate({ seed: 1, steps: 2 });
  globalThis.pixels = images[0].data.length;
</script>`;

let server: StaticServer;
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "ddim-plain-"));
  writeFileSync(join(folder, "index.html"), PAGE);
  server = await serveFolders({
    "/": folder,
    "/node_modules/ddim-webgpu/dist/": path("../../dist"),
    "/node_modules/ddim-webgpu/weights/": path("../../weights"),
  });
});
afterAll(async () => {
  await server?.close();
  rmSync(folder, { recursive: true });
});

test("a script of a page imports them, in two rounds of requests, and loads nothing more for a plain model", async () => {
  const browser = await launchChromium();
  try {
    const page = await browser.newPage();
    const errors = collectErrors(page);
    const asked: string[] = [];
    page.on("request", (request) => {
      const { pathname } = new URL(request.url());
      asked.push(pathname.replace("/node_modules/ddim-webgpu/", ""));
    });
    await page.goto(`${server.origin}/`);
    await page.waitForFunction(() => "loaded" in globalThis || "failed" in globalThis);
    expect(await page.evaluate(() => (globalThis as { failed?: string }).failed)).toBe(undefined);
    const scripts = asked.filter((name) => name.startsWith("dist/"));
    expect(scripts[0]).toBe("dist/index.js");
    expect(scripts.slice(1).toSorted()).toEqual(
      ["autoencoder", "core", "errors", "images", "kept", "kernels", "sampler"].map((name) => `dist/chunks/${name}.js`),
    );
    // Configurations of the pipeline, the network and the scheduler, the weights' length, header and tensors.
    const model = asked.filter((name) => name.startsWith("weights/"));
    expect(model.length).toBeLessThanOrEqual(8);
    await page.waitForFunction(() => "pixels" in globalThis);
    expect(await page.evaluate(() => (globalThis as { pixels?: number }).pixels)).toBe(16 * 16 * 4);
    expect(asked.filter((name) => name.startsWith("dist/"))).toEqual(scripts);
    expect(errors).toEqual([]);
  } finally {
    await browser.close();
  }
});
