// Installs node_modules when it is missing or is not what package-lock.json asks for.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";

const ROOT = new URL("..", import.meta.url);

/**
 * @typedef {object} LockedPackage
 * @property {string} version
 * @property {boolean} [optional]
 */

/** @returns {boolean} whether something was installed */
export function ensurePackages() {
  if (isCurrent()) return false;
  process.stderr.write("installing the packages of package-lock.json ...\n");
  // No package that is used here needs its install script.
  const status = npm(["ci", "--ignore-scripts", "--no-fund", "--no-audit", "--loglevel=error"], fileURLToPath(ROOT));
  if (status !== 0) throw new Error("`npm ci --ignore-scripts` failed: its messages are above");
  return true;
}

/**
 * @param {string[]} args
 * @param {string} cwd
 * @returns {number | null} the exit status; everything it prints goes to stderr
 */
export function npm(args, cwd) {
  /** @type {import("node:child_process").SpawnSyncOptions} */
  const options = { cwd, stdio: ["ignore", 2, 2] };
  const self = process.env.npm_execpath;
  const child = self
    ? spawnSync(process.execPath, [self, ...args], options)
    : spawnSync("npm", args, { ...options, shell: process.platform === "win32" });
  return child.status;
}

function isCurrent() {
  const wanted = readPackages("package-lock.json");
  const present = readPackages("node_modules/.package-lock.json");
  const direct = directDependencies();
  return Object.entries(wanted).every(([path, { version, optional }]) => {
    if (path === "") return true;
    const found = present[path];
    // What other platforms need is in the lock file too, marked optional; so is what only Node needs, which must be there.
    return found ? found.version === version : optional && !direct.has(path);
  });
}

/** @returns {Set<string>} */
function directDependencies() {
  const { dependencies, devDependencies, optionalDependencies } = readJson("package.json");
  return new Set(
    Object.keys({ ...dependencies, ...devDependencies, ...optionalDependencies }).map((name) => `node_modules/${name}`),
  );
}

/**
 * @param {string} path
 * @returns {Record<string, LockedPackage>} empty where the file is missing
 */
function readPackages(path) {
  try {
    return readJson(path).packages;
  } catch {
    return {};
  }
}

/** @param {string} path */
function readJson(path) {
  return JSON.parse(readFileSync(new URL(path, ROOT), "utf8"));
}
