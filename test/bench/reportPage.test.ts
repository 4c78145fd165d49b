/** The report as a page in a headless Chromium: no errors, nothing loaded, charts with names and numbers in words. */

import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { style } from "../../bench/report/style.ts";
import { launchChromium } from "../../scripts/chromium.mjs";
import { collectErrors } from "../browser/openPage.ts";
import { ddim, scratchFolder } from "../support/cli.ts";

const file = join(scratchFolder(), "report.html");
let browser: Browser;

beforeAll(async () => {
  expect(await ddim(["bench", "report", "test/bench/example.results.json", "--html", file])).toMatchObject({ code: 0 });
  browser = await launchChromium();
});
afterAll(() => browser?.close());

async function open(
  colorScheme: "light" | "dark",
  width = 1000,
): Promise<{ page: Page; errors: string[]; requests: string[] }> {
  const page = await browser.newPage({ colorScheme, viewport: { width, height: 800 } });
  const errors = collectErrors(page);
  const requests: string[] = [];
  page.on("request", (request) => requests.push(request.url()));
  await page.goto(pathToFileURL(file).href);
  return { page, errors, requests };
}

test("opens without errors, loads nothing, and has every section", async () => {
  const { page, errors, requests } = await open("light");
  expect(errors).toEqual([]);
  expect(requests).toEqual([pathToFileURL(file).href]);
  expect(await page.title()).toMatch(/^Performance on llvmpipe/);
  expect(await page.locator("main > section").evaluateAll((all) => all.map(({ id }) => id))).toEqual(
    ["summary", "unet", "sampler", "classes", "kernels", "growth", "memory", "engines", "machine", "remarks"], // biome-ignore format: one line
  );
  // Every link of the contents leads somewhere.
  const targets = await page.locator("nav a").evaluateAll((all) => all.map((a) => (a as HTMLAnchorElement).hash));
  for (const hash of targets) expect(await page.locator(hash).count()).toBe(1);
  await page.close();
});

test("every chart has a name, a caption, points with their values and a table beside", async () => {
  const { page } = await open("light");
  const charts = await page.locator("figure").evaluateAll((all) =>
    all.map((figure) => {
      const svg = figure.querySelector("svg")!;
      const text = (attribute: string) => document.getElementById(svg.getAttribute(attribute)!)?.textContent ?? "";
      return {
        id: figure.id,
        role: svg.getAttribute("role"),
        named: text("aria-labelledby").length > 0 && text("aria-describedby").length > 0,
        titles: svg.querySelectorAll("title").length,
        tables: figure.closest("section")!.querySelectorAll("table").length > 0,
        size: svg.getBoundingClientRect().width * svg.getBoundingClientRect().height,
      };
    }),
  );
  const kinds = ["steps", "batch", "resolution", "channels"].flatMap((axis) => [`${axis}-time`, `${axis}-memory`]);
  expect(charts.map(({ id }) => id)).toEqual(
    ["unet-engines", "sampler-engines", "time-by-kind", "roofline", "kernel-engines", ...kinds], // biome-ignore format: one line
  );
  for (const chart of charts) {
    expect(chart).toMatchObject({ role: "img", named: true, tables: true });
    expect(chart.titles).toBeGreaterThan(2);
    expect(chart.size).toBeGreaterThan(1e5);
  }
  expect(await page.locator("#roofline title").first().textContent()).toBe(
    "ddim-webgpu: conv 3x3, 128 → 128, 32×32, 1×128×32×32, f32: 189 operations per byte, 38.5 GFLOP/s, 64 % of the roofline",
  );
  // Ids are unique in the whole page, those inside the charts too.
  const ids = await page.locator("[id]").evaluateAll((all) => all.map(({ id }) => id));
  expect(new Set(ids).size).toBe(ids.length);
  await page.close();
});

test("light, dark and paper; narrow windows do not scroll sideways", async () => {
  const paper = (page: Page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const mark = (page: Page) =>
    page
      .locator("#roofline svg path[fill='var(--series-0)']")
      .first()
      .evaluate((path) => getComputedStyle(path).fill);
  const { page: light } = await open("light", 360);
  const { page: dark } = await open("dark");
  expect(await paper(light)).toBe("rgb(255, 255, 255)");
  expect(await paper(dark)).toBe("rgb(13, 17, 23)");
  expect(await mark(light)).toBe("rgb(0, 95, 158)");
  expect(await mark(dark)).toBe("rgb(86, 180, 233)");
  expect(await light.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
  await dark.emulateMedia({ media: "print" });
  expect(await paper(dark)).toBe("rgb(255, 255, 255)");
  await Promise.all([light.close(), dark.close()]);
});

describe("colours stand out from the paper (WCAG 2: text 4.5, marks 3)", () => {
  const [light, dark] = [...style.matchAll(/:root \{([^}]+)\}/g)].map(
    ([, body = ""]) => new Map([...body.matchAll(/--([\w-]+): (#\w{6})/g)].map(([, name, hex]) => [name!, hex!])),
  );
  const luminance = (hex: string) => {
    const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => {
      const c = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a: string, b: string) => {
    const [low = 0, high = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  test.each([
    ["light", light],
    ["dark", dark],
  ])("%s", (_, colors) => {
    const paper = colors!.get("paper")!;
    for (const name of ["ink", "faint", "link"]) expect(contrast(colors!.get(name)!, paper)).toBeGreaterThan(4.5);
    for (let i = 0; i < 8; i++) {
      expect(contrast(colors!.get(`series-${i}`)!, paper)).toBeGreaterThan(3);
      expect(contrast(colors!.get(`series-${i}`)!, colors!.get("on-series")!)).toBeGreaterThan(4.5);
    }
  });
});
