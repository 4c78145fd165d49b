// Installs node_modules when it is missing or is not what package-lock.json asks for: of this package, and of the peers
// that the tests and the benchmarks compare with.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";

const ROOT = new URL("..", import.meta.url);
const PEERS = new URL("bench/peers/", ROOT);
const CONSUMERS = new URL("test/consumers/", ROOT);

/**
 * @typedef {object} LockedPackage
 * @property {string} version
 * @property {boolean} [optional]
 */

/** @returns {boolean} whether something was installed */
export const ensurePackages = () => ensure(ROOT, "the packages of package-lock.json");

/** onnxruntime, some 290 MB: the tests' oracle and the benchmarks' rival, never part of the quick start. */
export const ensurePeers = () => ensure(PEERS, "onnxruntime (bench/peers)");

/**
 * What the tests use the package from, some 750 MB: Deno and Bun (195), Next (310), TypeScript's versions (120), Vite, React,
 * Vue, linters of packages. Where they cannot be had, and this is not CI, their tests are left out.
 */
export function ensureConsumers() {
  try {
    return ensure(CONSUMERS, "Deno, Bun, Next, Vite, versions of TypeScript (test/consumers)");
  } catch (error) {
    if (process.env.CI) throw error;
    process.stderr.write(
      `${error instanceof Error ? error.message : error}: the tests of test/consumers are left out\n`,
    );
    return false;
  }
}

/**
 * @param {URL} folder
 * @param {string} what
 */
function ensure(folder, what) {
  if (isCurrent(folder)) return false;
  process.stderr.write(`installing ${what} ...\n`);
  // No package that is used here needs its install script: onnxruntime-node's would download CUDA libraries.
  const status = npm(["ci", "--ignore-scripts", "--no-fund", "--no-audit", "--loglevel=error"], fileURLToPath(folder));
  if (status !== 0) throw new Error(`\`npm ci --ignore-scripts\` failed in ${fileURLToPath(folder)}: see above`);
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

/** @param {URL} folder */
function isCurrent(folder) {
  const wanted = readPackages(new URL("package-lock.json", folder));
  const present = readPackages(new URL("node_modules/.package-lock.json", folder));
  const direct = directDependencies(folder);
  return Object.entries(wanted).every(([path, { version, optional }]) => {
    if (path === "") return true;
    const found = present[path];
    // What other platforms need is in the lock file too, marked optional; so is what only Node needs, which must be there.
    return found ? found.version === version : optional && !direct.has(path);
  });
}

/**
 * @param {URL} folder
 * @returns {Set<string>}
 */
function directDependencies(folder) {
  const { dependencies, devDependencies, optionalDependencies } = readJson(new URL("package.json", folder));
  return new Set(
    Object.keys({ ...dependencies, ...devDependencies, ...optionalDependencies }).map((name) => `node_modules/${name}`),
  );
}

/**
 * @param {URL} file
 * @returns {Record<string, LockedPackage>} empty where the file is missing
 */
function readPackages(file) {
  try {
    return readJson(file).packages;
  } catch {
    return {};
  }
}

/** @param {URL} file */
function readJson(file) {
  return JSON.parse(readFileSync(file, "utf8"));
}
