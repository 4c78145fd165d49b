// `npm test`: sets the machine up where needed, then every check. Arguments go to vitest. All checks run even when one
// fails, so that one run shows everything.
import { spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { npm } from "./packages.mjs";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** @param {string[]} args of node */
const node = (...args) => spawnSync(process.execPath, args, { cwd: ROOT, stdio: "inherit" }).status === 0;
/** @param {string} script of package.json */
const script = (script) => npm(["run", "--silent", script], ROOT) === 0;

if (!node("scripts/setup.mjs", "--tests")) process.exit(1);

const checks = {
  lint: script("lint"),
  types: script("types"),
  build: script("build"),
  tests: node("node_modules/vitest/vitest.mjs", "run", ...process.argv.slice(2)),
};
const failed = Object.entries(checks).flatMap(([name, passed]) => (passed ? [] : [name]));
if (failed.length > 0) {
  process.stderr.write(`failed: ${failed.join(", ")}\n`);
  process.exit(1);
}
