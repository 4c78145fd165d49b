#!/usr/bin/env node
// In a checkout dist/ is built first where it is missing or stale; an installed package has no sources and brings it along.
import { existsSync } from "node:fs";
import process from "node:process";

if (existsSync(new URL("../scripts/build.mjs", import.meta.url))) {
  const { ensureBuild } = await import("../scripts/build.mjs");
  try {
    await ensureBuild();
  } catch (error) {
    process.stderr.write(`ddim: ${error instanceof Error ? error.message : error}\n`);
    process.exit(1);
  }
}
try {
  await import(new URL("../dist/cli/main.js", import.meta.url).href);
} catch (error) {
  if (/** @type {NodeJS.ErrnoException} */ (error).code !== "ERR_MODULE_NOT_FOUND") throw error;
  const [, name = "a package"] = /package '([^']+)'/.exec(String(error)) ?? [];
  process.stderr.write(
    `ddim: ${name} is missing: the command line needs the optional packages, so install with them\n`,
  );
  process.exit(1);
}
