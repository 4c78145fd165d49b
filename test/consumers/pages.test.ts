/** README's page without a bundler, and the examples with Vite, in Chromium, from the installed package. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, test, vi } from "vitest";
import { launchChromium } from "../../scripts/chromium.mjs";
import { maxAbs } from "../reference/tensor.ts";
import { load, shippedPath } from "../support/models.ts";
import { serveFolders } from "../support/staticServer.ts";
import {
  copyExample,
  type Installed,
  installPackage,
  NO_NETWORK,
  npm,
  PEERS,
  startServer,
  withoutPeers,
} from "./installed.ts";
import { collectPageErrors, drawn, leave, tryOut, tryOutWorker } from "./tryOut.ts";

declare global {
  var devices: { opened: number; destroyed: number };
}

/** Counts the page's GPU devices. */
const COUNTING = () => {
  globalThis.devices = { opened: 0, destroyed: 0 };
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = function (...args) {
    devices.opened++;
    return requestDevice.apply(this, args);
  };
  const { destroy } = GPUDevice.prototype;
  GPUDevice.prototype.destroy = function () {
    devices.destroyed++;
    return destroy.apply(this);
  };
};

/** The examples' entries with a way to unmount them. */
const REACT = `
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./App.tsx";
const root = createRoot(document.getElementById("root"));
root.render(<StrictMode><App /></StrictMode>);
document.addEventListener("unmount", () => root.unmount());
`;
const VUE = `
import { createApp } from "vue";
import App from "./App.vue";
const app = createApp(App);
app.mount("#app");
document.addEventListener("unmount", () => app.unmount());
`;

// Several pictures on a software adapter, which others may be using.
vi.setConfig({ testTimeout: 300_000 });

const VITE = join(PEERS, "vite/bin/vite.js");

let installed: Installed;
let browser: Browser;
let page: Page;
let errors: () => string[];
beforeAll(async () => {
  installed = (await installPackage()) as Installed;
  browser = await launchChromium();
});
beforeEach(async ({ skip }) => {
  skip(!installed, NO_NETWORK);
  page = await browser.newPage();
  errors = collectPageErrors(page);
});
afterEach(async () => {
  await page.close();
  expect(errors()).toEqual([]);
});
afterAll(async () => {
  await browser?.close();
  installed?.[Symbol.dispose]();
});

test("README's page, as a static server serves it and with the CDN's addresses, draws what Node draws", async () => {
  const html = readFileSync("examples/page/index.html", "utf8");
  expect(readFileSync("README.md", "utf8")).toContain(`\`\`\`html\n${html}\`\`\``);
  await using server = await serving({ "/": "examples/page", "/package/": installed.root });
  const cdn = "https://cdn.jsdelivr.net/npm/ddim-webgpu@0.1.0/";
  await page.route(`${cdn}**`, async (route) => {
    const response = await route.fetch({ url: route.request().url().replace(cdn, `${server.origin}/package/`) });
    const headers = { ...response.headers(), "access-control-allow-origin": "*" };
    await route.fulfill({ response, headers });
  });
  await page.goto(server.origin);
  await page.waitForFunction(() => document.querySelector("canvas")?.width === 16);
  const [bytes] = await drawn(page);
  using pipe = await load(shippedPath("pixel-avatars-16"));
  const { images } = await pipe.generate({ classes: [2], steps: 20, seed: 7 });
  expect(maxAbs(bytes as number[], images[0]!.data)).toBeLessThanOrEqual(1);
});

describe.skipIf(withoutPeers)("with the peers", () => {
  it.each(["vite-react", "vite-vue"])("%s builds, makes pictures with previews, and stops", async (name) => {
    const folder = copyExample(name, installed);
    await npm(folder, "run", "build");
    await using server = await serving({ "/": join(folder, "dist") });
    await page.goto(server.origin);
    await tryOut(page);
  });

  it.each([
    ["vite-react", "main.tsx", REACT],
    ["vite-vue", "main.ts", VUE],
  ])("%s, while it is developed, loads once and frees all when it is unmounted", async (name, main, code) => {
    const folder = copyExample(name, installed);
    writeFileSync(join(folder, "src", main), code);
    await using server = await startServer(folder, VITE, "--host", "127.0.0.1");
    await page.addInitScript(COUNTING);
    const asked: string[] = [];
    page.on("request", (request) => {
      if (request.url().includes(".safetensors")) asked.push(`${request.method()} ${request.headers().range}`);
    });
    await page.goto(server.origin);
    await leave(page);
    expect(await page.evaluate(() => devices)).toEqual({ opened: 1, destroyed: 1 });
    expect(asked.length).toBeGreaterThan(0);
    expect(asked).toEqual([...new Set(asked)]);
  });

  it("worker builds, makes pictures, and stops by message", async () => {
    const folder = copyExample("worker", installed);
    await npm(folder, "run", "build");
    await using server = await serving({ "/": join(folder, "dist") });
    await page.goto(server.origin);
    await tryOutWorker(page);
  });

  it("worker does the same while it is developed", async () => {
    const folder = copyExample("worker", installed);
    await using server = await startServer(folder, VITE, "--host", "127.0.0.1");
    await page.goto(server.origin);
    await tryOutWorker(page);
  });
});

async function serving(folders: Parameters<typeof serveFolders>[0]) {
  const server = await serveFolders(folders);
  return { ...server, [Symbol.asyncDispose]: () => server.close() };
}
