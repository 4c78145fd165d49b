// Lets Node run this checkout's TypeScript: importing a file of it bundles that file with all that it imports, in memory, so
// that nothing can be stale. `ddim --help` takes 0.25 s this way, and 0.65 s with tsx, which loads 320 modules one by one.
import { register } from "node:module";
import { fileURLToPath } from "node:url";
import { isMainThread } from "node:worker_threads";

// The hooks below are called in a thread of their own, for which Node loads this file again.
if (isMainThread) register(import.meta.url);

/** @type {Map<string, string>} URL and code of what was split off, which has no file */
const chunks = new Map();

/** @type {import("node:module").ResolveHook} */
export async function resolve(specifier, context, next) {
  const url = URL.canParse(specifier, context.parentURL) ? new URL(specifier, context.parentURL).href : specifier;
  return chunks.has(url) ? { url, format: "module", shortCircuit: true } : next(specifier, context);
}

/** @type {import("node:module").LoadHook} */
export async function load(url, context, next) {
  if (!url.endsWith(".ts")) return next(url, context);
  if (!chunks.has(url)) {
    const { rolldown } = await import("rolldown");
    const bundle = await rolldown({
      input: fileURLToPath(url),
      platform: "node",
      // Packages, but not the helpers of the bundler.
      external: /^(?!@oxc-project\/)[a-z@]/,
      transform: { target: "es2023" },
      treeshake: false,
    });
    const sourcemap = process.sourceMapsEnabled && "inline";
    // Beside the file that is run, so that they are as deep as any: sources name files of weights/ relative to themselves.
    const { output } = await bundle.generate({
      entryFileNames: "[name].ts",
      chunkFileNames: "[name].chunk.ts",
      sourcemap,
    });
    for (const file of output)
      if (file.type === "chunk") chunks.set(new URL(file.isEntry ? url : file.fileName, url).href, file.code);
  }
  return { format: "module", source: /** @type {string} */ (chunks.get(url)), shortCircuit: true };
}
