// Finds a WebGPU adapter for Node, the machine's own first, Mesa's software Vulkan only when there is no other.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { fileURLToPath } from "node:url";

const PROBE = fileURLToPath(new URL("probe-adapter.mjs", import.meta.url));
const DRIVER_FOLDERS = ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"];

/**
 * @typedef {object} FoundAdapter
 * @property {string} name what the driver calls itself
 * @property {Record<string, string>} env variables that a process has to be started with to see the adapter; empty for
 *   an adapter that needs nothing
 */

/**
 * @returns {FoundAdapter | null} the adapter of the plain environment, else a software adapter, else null
 */
export function findAdapter() {
  for (const env of [{}, softwareEnvironment()]) {
    const name = env && probe(env);
    if (name) return { name, env };
  }
  return null;
}

/**
 * The environment in which the Vulkan loader finds Mesa's software driver and nothing else.
 * @returns {Record<string, string> | null} null where the driver is not installed
 */
function softwareEnvironment() {
  const driver = DRIVER_FOLDERS.filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder).map((file) => `${folder}/${file}`))
    // The name carries the architecture on some distributions: lvp_icd.x86_64.json.
    .find((path) => /\/lvp_icd(\.\w+)?\.json$/.test(path));
  if (!driver) return null;
  const runtime = process.env.XDG_RUNTIME_DIR;
  return { VK_ICD_FILENAMES: driver, XDG_RUNTIME_DIR: runtime && existsSync(runtime) ? runtime : tmpdir() };
}

/**
 * @param {Record<string, string>} env
 * @returns {string | null}
 */
function probe(env) {
  const child = spawnSync(process.execPath, [PROBE], {
    env: { ...process.env, ...env },
    encoding: "utf8",
    timeout: 60_000,
    stdio: ["ignore", "pipe", "ignore"],
  });
  return child.status === 0 ? child.stdout.trim() : null;
}
