/**
 * The parts of `ddim bench` that need development packages (ONNX, charts, peers). They live in `bench/` of a checkout,
 * are not built into the package, and are loaded only when one of their commands runs.
 */
import { FileError } from "../runtime/errors.ts";

export type BenchParts = typeof import("../../bench/index.ts");

/** @throws FileError outside of a checkout, or where development packages are missing */
export async function loadBenchParts(): Promise<BenchParts> {
  const entry = "bench/index.ts";
  // The package is built without it.
  if (!import.meta.url.endsWith(".ts"))
    throw new FileError(entry, "is not there: this command works in a checkout only");
  try {
    return await import("../../bench/index.ts");
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code !== "ERR_MODULE_NOT_FOUND") throw cause;
    throw new FileError(entry, `lacks a development package; run \`npm ci --ignore-scripts\` (${message})`, { cause });
  }
}
