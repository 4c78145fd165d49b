#!/usr/bin/env node
// In a checkout dist/ is built first where it is missing or stale; an installed package has no sources and brings it along.
import { existsSync } from "node:fs";
import process from "node:process";

if (existsSync(new URL("../src", import.meta.url))) {
  const { ensureBuild } = await import("../scripts/build.mjs");
  try {
    await ensureBuild();
  } catch (error) {
    process.stderr.write(`ddim: ${error instanceof Error ? error.message : error}\n`);
    process.exit(1);
  }
}
await import(new URL("../dist/cli/main.js", import.meta.url).href);
