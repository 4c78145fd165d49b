// onnxruntime-web's WebGPU provider in the system's Chromium, headless, as a peer of the benchmarks. Which adapter it
// gets is the browser's choice: its settings say which. Commands as JSON lines on stdin, see bench/harness/protocol.ts.
import { createReadStream, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { dirname, extname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { launchChromium } from "../../scripts/chromium.mjs";
import { serve } from "./serve.mjs";

const entry = createRequire(import.meta.url).resolve("onnxruntime-web/webgpu");
const dist = dirname(entry);
const { version } = JSON.parse(readFileSync(join(dist, "../package.json"), "utf8"));
const here = dirname(fileURLToPath(import.meta.url));

const PAGE = `<!doctype html><link rel="icon" href="data:,"><script type="module">
import * as ort from "/dist/ort.webgpu.min.mjs";
import { openSession } from "/session.mjs";
const bytes = async (path) => new Uint8Array(await (await fetch(path)).arrayBuffer());
let session;
globalThis.peer = {
  async adapter() {
    const info = (await navigator.gpu?.requestAdapter())?.info;
    return info ? [info.vendor, info.architecture, info.description].filter(Boolean).join(" ") : null;
  },
  async open(job) {
    await session?.close();
    const options = { executionProviders: [{ name: "webgpu", preferredLayout: "NHWC" }], graphOptimizationLevel: "all" };
    session = await openSession(ort, options, await bytes("/job/onnx"), await bytes("/job/inputs"), job);
  },
  run: (times) => session.run(times),
  output: async () => Array.from(await session.output()),
};
</script>`;

const TYPES = { ".mjs": "text/javascript", ".wasm": "application/wasm" };
/** @type {{ onnx?: string, inputs?: string }} */
let job = {};

// A page needs an origin, and threads of wasm one that is isolated from others.
const server = createServer((request, response) => {
  const path = new URL(request.url ?? "/", "http://localhost").pathname;
  const isolated = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };
  if (path === "/") return response.writeHead(200, { ...isolated, "Content-Type": "text/html" }).end(PAGE);
  const name = path.slice(path.lastIndexOf("/") + 1);
  const file =
    path === "/session.mjs"
      ? join(here, name)
      : path.startsWith("/dist/")
        ? join(dist, name)
        : path === "/job/onnx"
          ? job.onnx
          : path === "/job/inputs"
            ? job.inputs
            : undefined;
  if (!file) return response.writeHead(404).end();
  const type = /** @type {Record<string, string>} */ (TYPES)[extname(file)] ?? "application/octet-stream";
  response.writeHead(200, { ...isolated, "Content-Type": type });
  createReadStream(file).pipe(response);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());

const browser = await launchChromium();
const page = await browser.newPage();
await page.goto(`http://127.0.0.1:${port}/`);
await page.waitForFunction(() => "peer" in globalThis, undefined, { timeout: 60_000 });

/**
 * Calls a function of the page's peer.
 * @param {string} name
 * @param {unknown} [argument]
 * @returns {Promise<any>}
 */
const call = (name, argument) =>
  page.evaluate(([f, a]) => /** @type {any} */ (globalThis).peer[/** @type {string} */ (f)](a), [name, argument]);

await serve({
  async hello() {
    const adapter = await call("adapter");
    if (!adapter) throw new Error("Chromium offers no WebGPU adapter");
    return { version, settings: { provider: "webgpu", layout: "NHWC", browser: browser.version(), adapter } };
  },
  async open(args) {
    job = args.job;
    const start = performance.now();
    await call("open", job);
    return { modes: ["host"], ms: performance.now() - start };
  },
  run: async ({ times }) => ({ ms: await call("run", times) }),
  async output({ path }) {
    writeFileSync(path, new Uint8Array(Float32Array.from(await call("output")).buffer));
    return {};
  },
  close: async () => ({}),
  // The browser's memory is not this process's.
  stats: async () => ({}),
});
await browser.close();
process.exit(0);
