// Bundles the page with Vite, serves it together with the shipped weights and the golden files, and opens it in the system's Chromium.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Page } from "playwright-core";
import { build } from "vite";
import { launchChromium } from "../../scripts/chromium.mjs";
import { serveFolders } from "../support/staticServer.ts";

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

export interface OpenPage {
  /** At an origin of its own, with the core as `globalThis.ddim` and the shipped models below `/weights/`, golden files below `/golden/`. */
  readonly page: Page;
  /** What the page or the browser wrote to the console as an error, with its place, and what was thrown uncaught. */
  readonly errors: string[];
  /** Method and path of every request that the server had. */
  readonly requests: string[];
  close(): Promise<void>;
}

/** Fills up with what the page or the browser reports as an error from now on. */
export function collectErrors(page: Page): string[] {
  const errors: string[] = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(`${message.text()} ${message.location().url}`);
  });
  return errors;
}

/** @param folders - served beside the page, the shipped models and the golden files */
export async function openPage(folders: Record<`/${string}`, string> = {}): Promise<OpenPage> {
  const bundle = await mkdtemp(join(tmpdir(), "ddim-page-"));
  await build({
    root: path("page"),
    configFile: false,
    logLevel: "warn",
    // Without links for scripts to come, which a worker has no document for.
    build: { outDir: bundle, emptyOutDir: true, target: "es2022", modulePreload: false },
  });
  const server = await serveFolders({
    "/": bundle,
    "/weights/": path("../../weights"),
    "/golden/": path("../golden"),
    ...folders,
  });
  const browser = await launchChromium();
  const page = await (await browser.newContext()).newPage();
  const errors = collectErrors(page);
  await page.goto(`${server.origin}/`);
  await page.waitForFunction(() => "ddim" in globalThis);
  return {
    page,
    errors,
    requests: server.requests,
    async close() {
      await browser.close();
      await server.close();
      await rm(bundle, { recursive: true });
    },
  };
}
