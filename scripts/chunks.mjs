// Which chunk of dist/ holds which module, and so what the files are called.
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** Apart from the rest, since some use them alone: with what they import. The first in this list has what two share. */
const PARTS = {
  errors: ["runtime/errors", "runtime/options", "runtime/printable"],
  kernels: ["kernels/index"],
  sampler: ["sampler/schedule", "sampler/forward", "sampler/slerp"],
  images: ["image/grid", "image/pngText", "image/png", "image/resize", "image/samples"],
};
/** Loaded when something needs them: by the modules that are imported then. */
const LAZY = {
  pickle: ["weights/pickle/source"],
  pictures: ["image/readImage"],
  originals: ["unet/layouts/detect"],
  conditional: ["unet/conditionalConfig"],
  denoising: ["unet/denoising/parse"],
  denoisingBody: ["unet/denoising/body"],
  autoencoder: ["autoencoder/autoencoder", "autoencoder/open", "pipeline/latents"],
  operations: ["pipeline/blame", "pipeline/operations", "pipeline/recover", "pipeline/saved", "runtime/timestamps"],
  tuning: ["pipeline/tuning"],
  packed: ["network/packed"],
  randn: ["sampler/hostNoise"],
  kept: ["weights/kept"],
  // As deep in dist/ as in src/, since it names files of weights/ by their places relative to itself.
  shipped: ["weights/shipped"],
};
/** Modules that only the entry for kernels and lazy chunks load; what they import is in the chunks above. */
const OWN = { networks: ["kernels/arrays", "kernels/compile"] };
/** Loaded as well, but made of others. */
const COMPOSED = { madeUp: ["pipeline/madeUp"] };

/**
 * @typedef {{ importedIds: string[], dynamicallyImportedIds: string[] }} Info
 * @typedef {(id: string) => Info | null} GetInfo
 */

/**
 * The modules that some modules load at once.
 * @param {GetInfo} info
 * @param {string[]} roots
 * @param {{ except?: Set<string>, lazily?: boolean }} [options] what is not entered, and whether lazy imports count
 */
function reach(info, roots, { except = new Set(), lazily = false } = {}) {
  /** @type {Set<string>} */
  const found = new Set();
  const open = [...roots];
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    const module = found.has(id) || except.has(id) ? null : info(id);
    if (!module) continue;
    found.add(id);
    open.push(...module.importedIds, ...(lazily ? module.dynamicallyImportedIds : []));
  }
  return found;
}

/**
 * @param {GetInfo} info
 * @param {".ts" | ".d.ts"} ending of the modules, which are built side by side
 * @returns {(id: string) => string | null} the chunk of a module; null where it is left to the bundler
 */
function assign(info, ending) {
  const ids = (/** @type {string[]} */ names) => names.map((name) => join(ROOT, "src", name + ending));
  const lazyRoots = new Set(ids(Object.values(LAZY).flat()));
  const reached = (/** @type {Record<string, string[]>} */ of) =>
    Object.entries(of).map(([name, roots]) => ({ name, modules: reach(info, ids(roots)) }));
  const [parts, lazy, composed] = [reached(PARTS), reached(LAZY), reached(COMPOSED)];
  const core = reach(info, ids(["index"]), { except: lazyRoots });
  const node = reach(info, ids(["node/index"]), { lazily: true });
  const cli = reach(info, ids(["cli/main"]), { lazily: true });
  const own = new Map(Object.entries(OWN).flatMap(([name, modules]) => ids(modules).map((id) => [id, name])));
  return (id) => {
    if (own.has(id)) return own.get(id) ?? null;
    const part = parts.find(({ modules }) => modules.has(id));
    if (part) return part.name;
    if (core.has(id)) return "core";
    const users = lazy.filter(({ modules }) => modules.has(id));
    if (users.length > 0) return users.length > 1 ? "core" : (users[0]?.name ?? null);
    const maker = composed.find(({ modules }) => modules.has(id));
    if (maker) return maker.name;
    if (node.has(id)) return "node";
    return cli.has(id) ? "cli" : null;
  };
}

/**
 * For output.codeSplitting of rolldown: every module of the product has a chunk, so none is called by an accident.
 * @param {Record<string, string>} entries files by their paths in dist/, which have files of their own
 */
export function chunkNames(entries) {
  /** @type {Record<string, (id: string) => string | null>} */
  const assigned = {};
  // "." is only a list of names, so that its module can be anywhere; as an entry of its own, ./node would import it.
  const own = new Set(Object.values(entries).flatMap((path) => [path, path.replace(/\.ts$/, ".d.ts")]));
  own.delete("src/index.ts");
  const alone = new Set([...own].map((path) => join(ROOT, path)));
  return (/** @type {string} */ id, /** @type {{ getModuleInfo: GetInfo }} */ context) => {
    if (alone.has(id)) return null;
    const declares = id.endsWith(".d.ts");
    const ending = declares ? ".d.ts" : ".ts";
    assigned[ending] ??= assign((id) => context.getModuleInfo(id), ending);
    const name = assigned[ending](id);
    return name && (declares ? `${name}.d` : name);
  };
}

/** @param {string} code the inside of an import's or export's braces */
const pairs = (code) =>
  code.split(",").map((part) => {
    const [name = "", as = name] = part.trim().split(/\s+as\s+/);
    return { name, as };
  });

/**
 * The command line loads bench/ in a checkout alone: the package has an empty module instead.
 * @returns {import("tsdown").Rolldown.Plugin}
 */
export function withoutBench() {
  const id = join(ROOT, "bench/index.ts");
  return {
    name: "without-bench",
    load: { filter: { id }, handler: () => "export const absent = true;" },
    generateBundle(_options, bundle) {
      delete bundle["chunks/index.d.ts"];
    },
  };
}

/** Longer than the name of any chunk. */
const FACADE = ".of-another-chunk.js";

/**
 * For a module that is imported lazily and shares its chunk the bundler makes a second file that imports the chunk: one
 * request after the other. This lets the chunk export what that file does, and drops the file. All text keeps its place,
 * for source maps.
 * @returns {import("tsdown").Rolldown.Plugin}
 */
export function withoutFacades() {
  return {
    name: "without-facades",
    generateBundle(_options, bundle) {
      const chunks = Object.values(bundle).filter((file) => file.type === "chunk");
      for (const facade of chunks.filter(({ fileName }) => fileName.endsWith(FACADE))) {
        const [, imported = "", exported = ""] = /^\s*import\s*\{(.*?)\}.*export\s*\{(.*?)\}/s.exec(facade.code) ?? [];
        const target = chunks.find(({ fileName }) => fileName === facade.imports[0]);
        const list = /export\s*\{([^{}]*)\};?(\s*\/\/.*)?\s*$/.exec(target?.code ?? "");
        if (!target || !list || !imported || facade.imports.length > 1)
          throw new Error(`${facade.fileName} is no facade`);
        const own = new Map(pairs(list[1] ?? "").map(({ name, as }) => [as, name]));
        const local = new Map(pairs(imported).map(({ name, as }) => [as, own.get(name)]));
        const added = pairs(exported).filter(({ as }) => !own.has(as));
        const more = added.map(({ name, as }) => `${local.get(name)} as ${as}`);
        target.code = `${target.code.slice(0, list.index)}export{${[list[1], ...more].join(",")}};${list[2] ?? ""}\n`;
        const from = `./${facade.fileName.split("/")[1]}`;
        const to = `./${target.fileName.split("/")[1]}`;
        for (const chunk of chunks)
          chunk.code = chunk.code.replaceAll(
            new RegExp(`import\\((["'\`])${from.replaceAll(".", "\\.")}\\1\\)`, "g"),
            (text, quote) => `import(${quote}${to}${quote})`.padEnd(text.length),
          );
        delete bundle[facade.fileName];
        delete bundle[`${facade.fileName}.map`];
      }
    },
  };
}

/**
 * Names in what pages import first all that it will import, so that nothing is asked for one after the other.
 * @returns {import("tsdown").Rolldown.Plugin}
 */
export function flatEntries() {
  return {
    name: "flat-entries",
    generateBundle(_options, bundle) {
      for (const name of ["index.js", "kernels/index.js"]) {
        const entry = bundle[name];
        if (entry?.type !== "chunk") continue;
        const all = new Set(entry.imports);
        for (const file of all) {
          const chunk = bundle[file];
          if (chunk?.type === "chunk") for (const next of chunk.imports) all.add(next);
        }
        const more = [...all].filter((file) => !entry.imports.includes(file));
        const up = "../".repeat(name.split("/").length - 1) || "./";
        entry.code = more.map((file) => `import"${up}${file}";\n`).join("") + entry.code;
      }
    },
  };
}

/** For output.chunkFileNames. @param {{ isDynamicEntry: boolean, moduleIds: string[] }} chunk */
export function chunkFileName({ isDynamicEntry, moduleIds }) {
  return `chunks/[name]${isDynamicEntry && moduleIds.length === 0 ? FACADE : ".js"}`;
}

/** A name for each of ./node's, so that a bundler gets as far as the page, which then says this. */
const FOR_BROWSERS = 'ddim-webgpu/node is for Node, Bun and Deno: in a page, import the same names from "ddim-webgpu"';

/**
 * What bundlers for browsers get for ./node.
 * @returns {import("tsdown").Rolldown.Plugin}
 */
export function browserStub() {
  return {
    name: "browser-stub",
    generateBundle(_options, bundle) {
      const entry = bundle["node/index.js"];
      if (entry?.type !== "chunk") return;
      const names = entry.exports.map((name) => `export const ${name} = undefined;\n`);
      const source = `throw new Error(${JSON.stringify(FOR_BROWSERS)});\n${names.join("")}`;
      this.emitFile({ type: "asset", fileName: "node/browser.js", source });
    },
  };
}
