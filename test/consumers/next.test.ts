/** The example with Next.js, built and started: a page whose visitors generate, and a route that generates in Node. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { launchChromium } from "../../scripts/chromium.mjs";
import { readImage } from "../../src/node/image.ts";
import { maxAbs } from "../reference/tensor.ts";
import { load, shippedPath } from "../support/models.ts";
import { copyExample, installPackage, NO_NETWORK, npm, PEERS, startServer, withoutPeers } from "./installed.ts";
import { collectPageErrors, tryOut } from "./tryOut.ts";

test.skipIf(withoutPeers)(
  "next builds; its page and its route make pictures",
  { timeout: 300_000 },
  async ({ skip }) => {
    using installed = await installPackage();
    if (!installed) return skip(NO_NETWORK);
    const folder = copyExample("next", installed);
    await npm(folder, "run", "build");
    await using server = await startServer(folder, join(PEERS, "next/dist/bin/next"), "start", "--port", "0");

    const good = await fetch(`${server.origin}/api/face?class=2&seed=7`);
    expect([good.status, good.headers.get("content-type")]).toEqual([200, "image/png"]);
    const { data } = await readImage(new Uint8Array(await good.arrayBuffer()));
    using pipe = await load(shippedPath("pixel-avatars-16"));
    const { images } = await pipe.generate({ classes: [2], steps: 20, seed: 7 });
    expect(maxAbs(data, images[0]!.data)).toBe(0);
    const bad = await fetch(`${server.origin}/api/face?class=9`);
    expect([bad.status, await bad.text()]).toEqual([400, expect.stringContaining("class")]);

    const browser = await launchChromium();
    try {
      const page = await browser.newPage();
      const errors = collectPageErrors(page);
      await page.goto(server.origin);
      await tryOut(page);
      expect(errors()).toEqual([]);
    } finally {
      await browser.close();
    }
  },
);
