/** The package as npm packs it: what is in it, how large it is, what its scripts import, what an editor finds. */
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { isBuiltin } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, posix } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { decode } from "@jridgewell/sourcemap-codec";
import ts from "typescript";
import { build, type Rolldown } from "vite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const MB = 1e6;
/** What "." loads at once. */
const FIRST = ["autoencoder", "core", "errors", "images", "kernels", "sampler"];

let folder: string;
let installed: string;
let files: string[];
let tarball: string;
const read = (file: string) => readFileSync(join(installed, file), "utf8");

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "ddim-package-"));
  const pack = ["pack", "--json", "--ignore-scripts", "--pack-destination", folder];
  const [packed] = JSON.parse(execFileSync("npm", pack, { cwd: ROOT, encoding: "utf8" }));
  tarball = join(folder, packed.filename);
  files = packed.files.map(({ path }: { path: string }) => path);
  installed = join(folder, "node_modules/ddim-webgpu");
  mkdirSync(installed, { recursive: true });
  execFileSync("tar", ["xzf", tarball, "-C", installed, "--strip-components=1"]);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What a script imports, at once and later. */
function imports(file: string): { now: string[]; later: string[] } {
  const { importedFiles } = ts.preProcessFile(read(file), true, true);
  const text = read(file);
  const names = importedFiles.map(({ fileName, pos }) => ({
    fileName,
    later: /import\s*\(\s*$/.test(text.slice(Math.max(0, pos - 12), pos)),
  }));
  return {
    now: names.filter(({ later }) => !later).map(({ fileName }) => fileName),
    later: names.filter(({ later }) => later).map(({ fileName }) => fileName),
  };
}

/** All scripts that one can load, lazily too, and the names of what is imported that is none of the package's files. */
function reach(entry: string, lazily: boolean): { scripts: Set<string>; foreign: Set<string> } {
  const scripts = new Set<string>();
  const foreign = new Set<string>();
  const open = [entry];
  for (let file = open.pop(); file !== undefined; file = open.pop()) {
    if (scripts.has(file)) continue;
    scripts.add(file);
    const { now, later } = imports(file);
    for (const name of [...now, ...(lazily ? later : [])])
      if (name.startsWith(".")) open.push(posix.join(posix.dirname(file), name));
      else foreign.add(name);
  }
  return { scripts, foreign };
}

describe("what is packed", () => {
  it("is no larger than 2.5 MB", async ({ annotate }) => {
    const { size } = statSync(tarball);
    await annotate(`${(size / MB).toFixed(3)} MB`);
    expect(size).toBeLessThanOrEqual(2.5 * MB);
    expect(size).toBeGreaterThan(2 * MB);
  });

  it("is what was meant to be, under names that say what is in it", () => {
    const dist = files.filter((file) => file.startsWith("dist/") && file.endsWith(".js"));
    const chunks = [
      "autoencoder",
      "cli",
      "conditional",
      "core",
      "denoising",
      "denoisingBody",
      "errors",
      "images",
      "kept",
      "kernels",
      "madeUp",
      "networks",
      "node",
    ];
    chunks.push("operations", "originals", "packed", "pickle", "pictures", "randn", "sampler", "shipped", "tuning");
    const entries = ["cli/main", "index", "kernels/index", "node/browser", "node/index"];
    expect(dist.toSorted()).toEqual(
      [...chunks.map((name) => `chunks/${name}`), ...entries].map((name) => `dist/${name}.js`).toSorted(),
    );
    const other = files.filter((file) => !/^(dist|docs|weights)\//.test(file));
    expect(other.toSorted()).toEqual([
      ...["CHANGELOG.md", "LICENSE", "README.md", "README.zh-CN.md", "SECURITY.md", "THIRD-PARTY-LICENSES.md"],
      ...["bin/ddim.js", "package.json", "types/dom.d.ts", "types/webgpu.d.ts"],
    ]);
  });

  it("has every file that package.json names", () => {
    const { exports, bin, unpkg, jsdelivr } = JSON.parse(read("package.json"));
    const named = (value: unknown): string[] =>
      typeof value === "string" ? [value] : Object.values(value as object).flatMap(named);
    for (const path of [...named(exports), ...named(bin), unpkg, jsdelivr].filter((path) => !path.includes("*")))
      expect(existsSync(join(installed, path)), path).toBe(true);
    expect(bin).toEqual({ ddim: "bin/ddim.js", "ddim-webgpu": "bin/ddim.js" });
  });

  it("asks nobody to install what is built in, or what pages have no use for", () => {
    const { dependencies, optionalDependencies, peerDependencies, peerDependenciesMeta } = JSON.parse(
      read("package.json"),
    );
    expect(Object.keys(dependencies)).toEqual(["@webgpu/types"]);
    expect(optionalDependencies).not.toHaveProperty("webgpu");
    expect(Object.keys(peerDependencies)).toContain("webgpu");
    for (const name of Object.keys(peerDependencies)) expect(peerDependenciesMeta[name]).toEqual({ optional: true });
    expect(read("THIRD-PARTY-LICENSES.md")).toContain("wgsl-preprocessor");
  });
});

describe("what pages load", () => {
  it.each(["dist/index.js", "dist/kernels/index.js"])("%s imports files of the package alone, lazily too", (entry) => {
    const { scripts, foreign } = reach(entry, true);
    expect([...foreign]).toEqual([]);
    expect(scripts.size).toBeGreaterThan(1);
    for (const script of scripts) expect(read(script), script).not.toMatch(/["'`]node:|\bBuffer\b|\bprocess\./);
  });

  it("comes in two rounds of requests, the second being all that the first one names", () => {
    const { scripts } = reach("dist/index.js", false);
    expect([...scripts].toSorted()).toEqual([...FIRST.map((name) => `dist/chunks/${name}.js`), "dist/index.js"]);
    for (const entry of ["dist/index.js", "dist/kernels/index.js"])
      expect(imports(entry).now.length).toBe(reach(entry, false).scripts.size - 1);
    const bytes = [...scripts].map((file) => gzipSync(read(file), { level: 9 }).byteLength);
    expect(bytes.reduce((a, b) => a + b)).toBeLessThanOrEqual(125_000);
  });

  it("is in its entry for kernels only what kernels take", () => {
    expect([...reach("dist/kernels/index.js", true).scripts].toSorted()).toEqual([
      "dist/chunks/errors.js",
      "dist/chunks/kernels.js",
      "dist/chunks/networks.js",
      "dist/kernels/index.js",
    ]);
  });
});

it("Node's part imports only what package.json names", () => {
  const { dependencies, optionalDependencies, peerDependencies } = JSON.parse(read("package.json"));
  const known = new Set(Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies }));
  const packageOf = (name: string) => name.split("/", name.startsWith("@") ? 2 : 1).join("/");
  for (const entry of ["dist/node/index.js", "dist/cli/main.js"]) {
    const { foreign } = reach(entry, true);
    expect([...foreign].filter((name) => !isBuiltin(name)).filter((name) => !known.has(packageOf(name)))).toEqual([]);
  }
});

describe("source maps", () => {
  const mapped = () => files.filter((file) => file.endsWith(".js.map"));

  it("belong to what every page loads, and are named there", () => {
    // Bundled pages load the autoencoder with models that have one.
    const core = FIRST.filter((name) => name !== "autoencoder").map((name) => `dist/chunks/${name}.js.map`);
    expect(mapped().toSorted()).toEqual(core.toSorted());
    for (const file of files.filter((name) => name.endsWith(".js"))) {
      const named = /\/\/# sourceMappingURL=(\S+)/.exec(read(file))?.[1];
      expect(named ? posix.join(posix.dirname(file), named) : undefined).toBe(
        core.includes(`${file}.map`) ? `${file}.map` : undefined,
      );
    }
  });

  it("bring the lines that they point at, where they are in the repository", () => {
    for (const file of mapped()) {
      const { sources, sourcesContent, mappings, file: of } = JSON.parse(read(file));
      expect(of).toBe(posix.basename(file, ".map"));
      const lines = read(file.replace(/\.map$/, "")).split("\n");
      let texts = 0;
      for (const [row, segments] of decode(mappings).entries())
        for (const [column, source, line, place] of segments as [number, number, number, number][]) {
          const shown = (sourcesContent[source] as string).split("\n")[line] ?? "";
          const path = posix.join(posix.dirname(file), sources[source]);
          if (path.startsWith("src/")) {
            const original = readFileSync(join(ROOT, path), "utf8").split("\n")[line];
            if (shown !== original) expect.soft(`${path}:${line + 1} ${shown}`).toBe(`${path}:${line + 1} ${original}`);
          }
          // Keywords that the minifier keeps stand in both.
          const [word] = /^(return|throw|class|async|await|for|if|new)\b/.exec(lines[row]?.slice(column) ?? "") ?? [];
          if (word && shown.slice(place).startsWith(word)) texts++;
        }
      expect(texts, file).toBeGreaterThan(20);
    }
  });
});

it("lines are short enough for the error that nobody catches", () => {
  for (const file of files.filter((name) => name.endsWith(".js")))
    for (const line of read(file).split("\n")) expect(line.length, file).toBeLessThan(6000);
});

it("an editor's definition of each name is a declaration in the package, with its documentation", () => {
  const entries = { "ddim-webgpu": "dist/index.d.ts", "ddim-webgpu/kernels": "dist/kernels/index.d.ts" };
  const code = Object.keys(entries).map((name, i) => `import * as e${i} from "${name}";`);
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  mkdirSync(join(folder, "node_modules/@webgpu"), { recursive: true });
  symlinkSync(join(ROOT, "node_modules/@webgpu/types"), join(folder, "node_modules/@webgpu/types"), "junction");
  const main = join(folder, "main.ts");
  writeFileSync(main, code.join("\n"));
  const options = { module: ts.ModuleKind.NodeNext, target: ts.ScriptTarget.ES2022, types: [], strict: true };
  const program = ts.createProgram([main], options);
  const checker = program.getTypeChecker();
  let documented = 0;
  for (const statement of program.getSourceFile(main)?.statements ?? []) {
    const from = (statement as ts.ImportDeclaration).moduleSpecifier;
    for (const symbol of checker.getExportsOfModule(checker.getSymbolAtLocation(from) as ts.Symbol)) {
      const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
      const places = target.declarations?.map((node) => node.getSourceFile().fileName) ?? [];
      expect(places, symbol.name).not.toEqual([]);
      for (const place of places) expect(dirname(place)).toContain(join("node_modules", "ddim-webgpu", "dist"));
      documented += Number(target.getDocumentationComment(checker).length > 0);
    }
  }
  expect(documented).toBeGreaterThan(60);
});

describe("where something is missing", () => {
  const link = (name: string) => {
    const place = join(folder, "node_modules", name);
    mkdirSync(dirname(place), { recursive: true });
    if (!existsSync(place)) symlinkSync(join(ROOT, "node_modules", name), place, "junction");
  };
  const node = (...args: string[]) => {
    try {
      return execFileSync(process.execPath, args, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
    } catch (error) {
      const { status, stderr } = error as { status: number; stderr: string };
      return `${status} ${stderr}`;
    }
  };
  const SENTENCE =
    "the npm package webgpu, which is the GPU in Node, is not installed (install it beside ddim-webgpu with " +
    "`npm install webgpu`, or run `npx -p ddim-webgpu -p webgpu ddim …`)";

  it("the library names the package and how to get it", () => {
    const code =
      'import { openNodeDevice } from "ddim-webgpu/node"; await openNodeDevice().catch(({ name, message }) => console.log(name, message));';
    expect(node("--input-type=module", "--eval", code)).toBe(`DeviceError ${SENTENCE}\n`);
  });

  it("the command line does the same, in one line", () => {
    for (const name of ["commander", "picocolors", "pngjs", "yaml"]) link(name);
    const bin = join(installed, "bin/ddim.js");
    expect(node(bin, "sample", "-m", join(ROOT, "weights/pixel-avatars-16"), "-o", join(folder, "a.png"))).toBe(
      `1 ddim: ${SENTENCE}\n`,
    );
    expect(node(bin, "--version")).toBe("0.1.0\n");
  });

  it("a page that was bundled with ./node says what to import", async () => {
    writeFileSync(
      join(folder, "page.js"),
      'import { loadPipeline, readPng } from "ddim-webgpu/node"; globalThis.made = [loadPipeline, readPng];',
    );
    const input = join(folder, "page.js");
    const built = await build({
      root: folder,
      configFile: false,
      logLevel: "silent",
      build: { write: false, rollupOptions: { input }, modulePreload: { polyfill: false } },
    });
    const [{ code = "" } = {}] = (built as Rolldown.RolldownOutput).output.filter((file) => file.type === "chunk");
    writeFileSync(join(folder, "built.mjs"), code);
    await expect(import(join(folder, "built.mjs"))).rejects.toThrow(
      'ddim-webgpu/node is for Node, Bun and Deno: in a page, import the same names from "ddim-webgpu"',
    );
    const stub = ts.preProcessFile(read("dist/node/browser.js"));
    expect(stub.importedFiles).toEqual([]);
  });
});
