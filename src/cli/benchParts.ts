/**
 * The parts of `ddim bench` that need development packages (ONNX, charts, peers). They live in `bench/` of a checkout,
 * are built beside the product into dist/bench/, are not published, and are loaded only when one of their commands runs.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { FileError } from "../runtime/errors.ts";
import { packageRoot } from "./package.ts";

export type BenchParts = typeof import("../../bench/index.ts");

/** @throws FileError outside of a checkout, or where development packages are missing */
export async function loadBenchParts(): Promise<BenchParts> {
  // The sources of this file go with the sources of those parts (in tests), the build with the build.
  const entry = join(packageRoot(), import.meta.url.endsWith(".ts") ? "bench/index.ts" : "dist/bench/index.js");
  if (!existsSync(entry)) throw new FileError(entry, "is not there: this command works in a checkout only");
  try {
    return await import(/* @vite-ignore */ pathToFileURL(entry).href);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code !== "ERR_MODULE_NOT_FOUND") throw cause;
    throw new FileError(entry, `lacks a development package; run \`npm ci --ignore-scripts\` (${message})`, { cause });
  }
}
