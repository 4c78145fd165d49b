import { afterAll, beforeAll, expect, test } from "vitest";
import { type OpenPage, openPage } from "./openPage.ts";

let browser: OpenPage | undefined;
beforeAll(async () => {
  browser = await openPage();
});
afterAll(() => browser?.close());

test("the page has an adapter", async () => {
  const adapter = await browser!.page.evaluate(async () => {
    const found = await navigator.gpu.requestAdapter();
    return found && { features: [...found.features], min: found.info.subgroupMinSize, max: found.info.subgroupMaxSize };
  });
  expect(adapter?.features).toContain("subgroups");
  expect(browser!.errors).toEqual([]);
});
