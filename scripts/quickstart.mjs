// `npm run quickstart`: from a fresh clone to sixteen sampled images. Plain Node, since nothing is installed yet.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const OUTPUT = join(ROOT, "out.png");

/**
 * @param {string[]} args of node
 * @returns {string} the seconds it took
 */
function timed(args) {
  const start = performance.now();
  const { status } = spawnSync(process.execPath, args, { cwd: ROOT, stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
  return `${((performance.now() - start) / 1000).toFixed(1)} s`;
}

const setup = timed(["scripts/setup.mjs"]);
const sampling = timed([
  "bin/ddim.js",
  "sample",
  "-n",
  "16",
  "--grid",
  "-S",
  "50",
  "--seed",
  "7",
  "--overwrite",
  "-o",
  OUTPUT,
]);
process.stdout.write(`${OUTPUT}\ninstallation ${setup}, sampling ${sampling}\n`);
