// node build.mjs PROJECT APP: lays out in APP what runs on a machine without npm: the sources of a checkout with their types
// taken off (under the same names, so that imports and paths hold), the packages they import, and vitest without vite.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";
import ts from "typescript";

const [, , project = "", app = ""] = process.argv;
/** What travels by itself, or is of no use there. */
const LEFT_OUT =
  /^(test\/(golden|browser|consumers|fuzz)|bench\/(results|study))\/|node_modules|\.safetensors$|\.d\.ts$/;
/** What tests and the benchmarks import beside the dependencies. */
const ALSO = ["webgpu", "@bufbuild/protobuf", "onnx-buf", "fast-check", "ml-matrix", "echarts", "wgsl-preprocessor"];
/** In place of scripts/sources.mjs, which bundles: what is imported here has no types any more. */
const HOOK = `import { readFile } from "node:fs/promises";
import { register } from "node:module";
import { fileURLToPath } from "node:url";
import { isMainThread } from "node:worker_threads";
if (isMainThread) register(import.meta.url);
export const load = async (url, context, next) => url.endsWith(".ts")
  ? { format: "module", source: await readFile(fileURLToPath(url), "utf8"), shortCircuit: true }
  : next(url, context);
`;

/** @type {(path: string, data: string | Buffer) => void} */
function put(path, data) {
  mkdirSync(dirname(join(app, path)), { recursive: true });
  writeFileSync(join(app, path), data);
}

rmSync(app, { recursive: true, force: true });
for (const top of ["src", "test", "bench", "bin", "tools/gpu/device"])
  for (const entry of readdirSync(join(project, top), { recursive: true, withFileTypes: true })) {
    const path = relative(project, join(entry.parentPath, entry.name));
    if (!entry.isFile() || LEFT_OUT.test(path)) continue;
    const data = readFileSync(join(project, path));
    const compilerOptions = { target: ts.ScriptTarget.ES2022, verbatimModuleSyntax: true, removeComments: true };
    put(path, path.endsWith(".ts") ? ts.transpileModule(data.toString(), { compilerOptions }).outputText : data);
  }
put("package.json", readFileSync(join(project, "package.json")));
put("scripts/sources.mjs", HOOK);

/** @type {Set<string>} */
const copied = new Set();
/** @param {string} name of a package, with what it depends on @param {string} from a folder that sees it */
function copyPackage(name, from) {
  const require = createRequire(join(from, "package.json"));
  const path = require.resolve
    .paths(name)
    ?.map((folder) => join(folder, name))
    .find((folder) => existsSync(folder));
  if (!path || copied.has(path)) return;
  copied.add(path);
  const skipped =
    name === "webgpu"
      ? /dist\/(?!linux-x64)[^/]+|\/build(\/|$)/
      : /(^|\/)node_modules(\/|$)|^(types|docs?|tests?|__tests__|examples?|\.github|i18n|ssr|theme)(\/|$)|\.(d\.[cm]?ts|[cm]?ts|map|md|flow|html|png|jpg)$|echarts.*\.js$/i;
  cpSync(path, join(app, relative(project, path)), {
    recursive: true,
    filter: (file) => !skipped.test(relative(path, file)),
  });
  if (name === "webgpu") return;
  const { dependencies, optionalDependencies } = JSON.parse(readFileSync(join(path, "package.json"), "utf8"));
  for (const next of Object.keys({ ...dependencies, ...optionalDependencies })) copyPackage(next, path);
}
const { dependencies, optionalDependencies } = JSON.parse(readFileSync(join(project, "package.json"), "utf8"));
for (const name of [...Object.keys({ ...dependencies, ...optionalDependencies }), ...ALSO]) copyPackage(name, project);

const bundle = await rolldown({
  input: fileURLToPath(new URL("vitest.mjs", import.meta.url)),
  cwd: project,
  platform: "node",
  resolve: { modules: [join(project, "node_modules")] },
  logLevel: "silent",
});
await bundle.write({ file: join(app, "node_modules/vitest/index.js"), codeSplitting: false });
put("node_modules/vitest/package.json", '{ "name": "vitest", "type": "module", "exports": "./index.js" }');
