/** What a web page downloads when it uses all of ".": one script, and two more that only some pages ask for. */
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build, type Rolldown } from "vite";
import { expect, test } from "vitest";

/**
 * With autoencoders, the layouts of four systems, the kernels of both kinds of adapters, and readers that trust no file and no
 * server, it takes about 125 KiB.
 */
const LIMIT = 128 * 1024;
/** The readers of pickles and of pictures. */
const LAZY = 2;
const LAZY_LIMIT = 16 * 1024;

test("the core is small and needs nothing of Node", async ({ annotate }) => {
  const built = await build({
    root: fileURLToPath(new URL("page", import.meta.url)),
    configFile: false,
    logLevel: "silent",
    build: { write: false, target: "es2022", modulePreload: { polyfill: false } },
  });
  const { output } = built as Rolldown.RolldownOutput;
  const scripts = output.filter((file) => file.type === "chunk");
  const main = scripts.find(({ isEntry }) => isEntry) as Rolldown.OutputChunk;
  const lazy = scripts.filter((script) => script !== main);
  expect(main.imports).toEqual([]);
  expect(main.dynamicImports.toSorted()).toEqual(lazy.map(({ fileName }) => fileName).toSorted());
  expect(lazy).toHaveLength(LAZY);
  for (const { code } of scripts) expect(code).not.toMatch(/["'`]node:|\bBuffer\b|\bprocess\./);
  for (const { code } of lazy) expect(gzipSync(code, { level: 9 }).byteLength).toBeLessThanOrEqual(LAZY_LIMIT);
  const { code } = main;
  const bytes = gzipSync(code, { level: 9 }).byteLength;
  await annotate(`${(code.length / 1024).toFixed(1)} KiB minified, ${(bytes / 1024).toFixed(1)} KiB gzipped`);
  expect(bytes).toBeLessThanOrEqual(LIMIT);
  expect(bytes).toBeGreaterThan(LIMIT / 10);
});
