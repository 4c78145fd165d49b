/** What a bundler makes of the built package: how much a page loads at once, and what only some pages load later. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build, type Rolldown } from "vite";
import { afterAll, beforeAll, expect, test } from "vitest";

/** Bytes of `import { loadPipeline }`, gzipped, before anything is loaded. */
const LIMIT = 105_000;
/** Of everything that "." exports. */
const LIMIT_ALL = 121_000;
/** Of what is loaded later, each by itself. */
const LIMIT_LAZY = 12_000;
/** For models that are not plain networks of diffusers on pixels, and for what is not sampling. */
const LAZY = [
  "autoencoder",
  "conditional",
  "denoising",
  "denoisingBody",
  "kept",
  "madeUp",
  "operations",
  "originals",
  "packed",
  "pickle",
  "pictures",
  "randn",
  "shipped",
  "tuning",
];

const DIST = fileURLToPath(new URL("../../dist/index.js", import.meta.url));

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "ddim-bundle-"));
  writeFileSync(join(folder, "index.html"), '<script type="module" src="./main.js"></script>');
});
afterAll(() => rmSync(folder, { recursive: true }));

async function bundle(names: string) {
  writeFileSync(join(folder, "main.js"), `import ${names} from ${JSON.stringify(DIST)};\nglobalThis.used = [used];`);
  const built = await build({
    root: folder,
    configFile: false,
    logLevel: "silent",
    build: { write: false, modulePreload: { polyfill: false } },
  });
  const scripts = (built as Rolldown.RolldownOutput).output.filter((file) => file.type === "chunk");
  const first = scripts.filter(({ isEntry }) => isEntry);
  for (const script of first)
    first.push(...scripts.filter((other) => script.imports.includes(other.fileName) && !first.includes(other)));
  const sizes = new Map(scripts.map(({ fileName, code }) => [fileName, gzipSync(code, { level: 9 }).byteLength]));
  const sum = first.reduce((bytes, { fileName }) => bytes + (sizes.get(fileName) ?? 0), 0);
  return { scripts, sizes, first, sum, lazy: scripts.filter((script) => !first.includes(script)) };
}

test("loadPipeline is small, and nothing is in two files", async ({ annotate }) => {
  const { scripts, sizes, sum, first, lazy } = await bundle("{ loadPipeline as used }");
  await annotate(`${sum} bytes gzipped at once`);
  expect(sum).toBeLessThanOrEqual(LIMIT);
  expect(sum).toBeGreaterThan(LIMIT / 2);
  expect(first).toHaveLength(1);
  expect(lazy.map(({ name }) => name).toSorted()).toEqual(LAZY);
  for (const { fileName, imports } of lazy) {
    expect(sizes.get(fileName), fileName).toBeLessThanOrEqual(LIMIT_LAZY);
    // One request each: what they share with others is in what is loaded already, or a layout's.
    expect(imports.length, fileName).toBeLessThanOrEqual(fileName.includes("madeUp") ? 4 : 1);
  }
  const modules = scripts.flatMap((script) => Object.keys(script.modules));
  expect(modules.length).toBe(new Set(modules).size);
  for (const { code } of scripts) expect(code).not.toMatch(/["'`]node:|\bBuffer\b|\bprocess\./);
});

test("all of the core is not much more", async ({ annotate }) => {
  const { sum, scripts } = await bundle("* as used");
  await annotate(`${sum} bytes gzipped at once`);
  expect(sum).toBeLessThanOrEqual(LIMIT_ALL);
  expect(scripts.flatMap(({ dynamicImports }) => dynamicImports)).not.toEqual([]);
});

test.each([
  ["makeSchedule", 15_000],
  ["encodePng", 6_000],
])("%s alone is a fraction of it", async (name, limit) => {
  const { sum } = await bundle(`{ ${name} as used }`);
  expect(sum).toBeLessThanOrEqual(limit);
});
