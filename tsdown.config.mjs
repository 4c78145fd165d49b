// One bundle per entry point of package.json, shared code in chunks between them. scripts/build.mjs runs it.
import { defineConfig } from "tsdown";
import {
  browserStub,
  chunkFileName,
  chunkNames,
  flatEntries,
  withoutBench,
  withoutFacades,
} from "./scripts/chunks.mjs";

const entry = {
  index: "src/index.ts",
  "node/index": "src/node/index.ts",
  "kernels/index": "src/kernels/index.ts",
  "cli/main": "src/cli/main.ts",
};

export default defineConfig({
  entry,
  format: "esm",
  target: "es2023",
  // Node's own modules are used by ./node and the command line alone (dependency-cruiser sees to it).
  platform: "node",
  outputOptions: {
    codeSplitting: { groups: [{ name: chunkNames(entry) }], includeDependenciesRecursively: false },
    chunkFileNames: chunkFileName,
  },
  fixedExtension: false,
  // No maps of declarations: with the sources that they show, the package would be larger than it may be.
  dts: { sourcemap: false },
  plugins: [withoutBench(), withoutFacades(), flatEntries(), browserStub()],
  minify: true,
  sourcemap: true,
  // What the declarations need whatever a consumer's tsconfig lists: GPUDevice and its like, and Symbol.dispose.
  banner: { dts: '/// <reference types="ddim-webgpu/webgpu-types" />\n/// <reference lib="esnext.disposable" />' },
  report: false,
});
