// What somebody does with the examples' pages, and what they have to see.
import type { Page } from "playwright-core";
import { expect } from "vitest";
import { collectErrors } from "../browser/openPage.ts";

/** {@link collectErrors}, but for the icon that browsers ask every site for. */
export function collectPageErrors(page: Page): () => string[] {
  const errors = collectErrors(page);
  return () => errors.filter((error) => !error.endsWith("/favicon.ico"));
}

/** The bytes of all canvases, RGBA. */
export const drawn = (page: Page): Promise<number[][]> =>
  page.evaluate(() =>
    [...document.querySelectorAll("canvas")].map((canvas) => {
      const { width, height } = canvas;
      const context = canvas.getContext("2d") as CanvasRenderingContext2D;
      return [...context.getImageData(0, 0, width, height).data];
    }),
  );

/**
 * Presses buttons as soon as they can be, each followed by what the page has to say then. All in the page: on a quick GPU a
 * run is over in less time than a test takes to look twice.
 */
const press = (page: Page, ...buttons: (readonly [label: string, ...statuses: string[]])[]): Promise<void> =>
  page.evaluate(async (buttons) => {
    const text = (element?: Element | null) => element?.textContent?.trim();
    const status = () => text(document.querySelector("[role=status]"));
    const end = performance.now() + 100_000;
    const until = async <T>(find: () => T | undefined | false, what: string) => {
      for (;;) {
        const found = find();
        if (found) return found;
        if (performance.now() > end) throw new Error(`no ${what}: the page says ${status()}`);
        await new Promise((resolve) => setTimeout(resolve));
      }
    };
    for (const [label, ...statuses] of buttons) {
      const enabled = () => [...document.querySelectorAll("button")].find((b) => text(b) === label && !b.disabled);
      (await until(enabled, label)).click();
      for (const awaited of statuses) await until(() => status() === awaited, awaited);
    }
  }, buttons);

const progress = (page: Page) => page.locator("progress").evaluate((bar: HTMLProgressElement) => bar.value);

/** As many, of 16 x 16 pixels and of many colours. */
function expectPictures(pictures: readonly number[][], count: number): void {
  expect(pictures.map(({ length }) => length)).toEqual(Array(count).fill(16 * 16 * 4));
  for (const bytes of pictures) expect(new Set(bytes).size).toBeGreaterThan(8);
}

/** The components of React, Vue and Next: loads, makes pictures with previews, begins again, stops, and goes on. */
export async function tryOut(page: Page): Promise<void> {
  await press(page, ["hat", "generating", "ready"]);
  const pictures = await drawn(page);
  expectPictures(pictures, 4);
  expect(await progress(page)).toBe(1);
  await press(page, ["glasses", "generating"], ["stop", "ready"]);
  expect(await progress(page)).toBeLessThan(1);
  await press(page, ["plain", "generating", "ready"]);
  expect(await drawn(page)).not.toEqual(pictures);
}

/** The same component, left while it shows a preview. */
export async function leave(page: Page): Promise<void> {
  await press(page, ["hat", "generating"]);
  await page.locator("canvas").nth(3).waitFor();
  await page.evaluate(() => document.dispatchEvent(new Event("unmount")));
  await expect.poll(() => page.locator("button").count()).toBe(0);
}

/** The page of the worker: makes a picture, begins again, stops, and goes on. */
export async function tryOutWorker(page: Page): Promise<void> {
  await press(page, ["generate", "generating", "ready"]);
  expectPictures(await drawn(page), 1);
  await press(page, ["generate", "generating"], ["stop", "stopped"], ["generate", "generating", "ready"]);
}
