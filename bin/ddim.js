#!/usr/bin/env node
// A checkout runs its sources; the package is published without them and brings dist/ along.
import { existsSync } from "node:fs";
import process from "node:process";

const inCheckout = existsSync(new URL("../scripts/sources.mjs", import.meta.url));
try {
  if (inCheckout) await import(new URL("../scripts/sources.mjs", import.meta.url).href);
  await import(new URL(inCheckout ? "../src/cli/main.ts" : "../dist/cli/main.js", import.meta.url).href);
} catch (error) {
  if (/** @type {NodeJS.ErrnoException} */ (error).code !== "ERR_MODULE_NOT_FOUND") throw error;
  const [, name = "a package"] = /package '([^']+)'/.exec(String(error)) ?? [];
  const needs = inCheckout
    ? "run `npm ci --ignore-scripts`"
    : "the command line needs the optional packages, so install with them";
  process.stderr.write(`ddim: ${name} is missing: ${needs}\n`);
  process.exit(1);
}
