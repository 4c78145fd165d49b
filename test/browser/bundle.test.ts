/** What a web page downloads when it uses all of ".": one self-contained script. */
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build, type Rolldown } from "vite";
import { expect, test } from "vitest";

/** With autoencoders, the layouts of four systems and the kernels of both kinds of adapters it takes about 100 KiB. */
const LIMIT = 112 * 1024;

test("the core is small and needs nothing of Node", async ({ annotate }) => {
  const built = await build({
    root: fileURLToPath(new URL("page", import.meta.url)),
    configFile: false,
    logLevel: "silent",
    build: { write: false, target: "es2022", modulePreload: { polyfill: false } },
  });
  const { output } = built as Rolldown.RolldownOutput;
  const scripts = output.filter((file) => file.type === "chunk");
  expect(scripts).toHaveLength(1);
  const [{ code, imports, dynamicImports }] = scripts as [Rolldown.OutputChunk];
  expect([...imports, ...dynamicImports]).toEqual([]);
  expect(code).not.toMatch(/["'`]node:|\bBuffer\b|\bprocess\./);
  const bytes = gzipSync(code, { level: 9 }).byteLength;
  await annotate(`${(code.length / 1024).toFixed(1)} KiB minified, ${(bytes / 1024).toFixed(1)} KiB gzipped`);
  expect(bytes).toBeLessThanOrEqual(LIMIT);
  expect(bytes).toBeGreaterThan(LIMIT / 10);
});
