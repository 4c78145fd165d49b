// Debian's and Ubuntu's package manager: which distribution this is, whether we may install, and installing.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import process from "node:process";
import { backportsFile } from "./apt-sources.mjs";

const FOLDER = "/etc/apt/sources.list.d";

/**
 * @returns {{ id: string, codename: string } | null} for example { id: "debian", codename: "bookworm" };
 *   null where apt is not the package manager
 */
export function distribution() {
  if (process.platform !== "linux" || !existsSync("/usr/bin/apt-get") || !existsSync("/etc/os-release")) return null;
  const release = readFileSync("/etc/os-release", "utf8");
  /** @param {string} key */
  const field = (key) => release.match(new RegExp(`^${key}="?([^"\n]*)"?$`, "m"))?.[1] ?? "";
  return { id: field("ID"), codename: field("VERSION_CODENAME") };
}

/** @returns {boolean} whether this user is root, or becomes root without being asked for a password */
export function mayInstall() {
  return process.getuid?.() === 0 || spawnSync("sudo", ["-n", "true"], { stdio: "ignore" }).status === 0;
}

/**
 * Installs packages, with the output on stderr.
 * @param {string[]} packages
 * @param {string} [suite] the release to take them from, where it is not the installed one
 * @throws {Error} when apt-get fails
 */
export function aptInstall(packages, suite) {
  // A source that cannot be reached need not be the one that has these packages.
  asRoot(["apt-get", "update", "-qq"]);
  const from = suite ? ["-t", suite] : [];
  const status = asRoot(["apt-get", "install", "-y", "-qq", "--no-install-recommends", ...from, ...packages]);
  if (status !== 0)
    throw new Error(`apt-get install ${[...from, ...packages].join(" ")} failed: its messages are above`);
}

/**
 * Makes the backports of a Debian release known to apt.
 * @param {string} codename
 * @throws {Error} where apt's sources do not name the release, or cannot be written
 */
export function addBackports(codename) {
  const more = existsSync(FOLDER) ? readdirSync(FOLDER).map((name) => `${FOLDER}/${name}`) : [];
  const paths = ["/etc/apt/sources.list", ...more].filter((path) => existsSync(path));
  const file = backportsFile(
    paths.map((path) => ({ path, text: readFileSync(path, "utf8") })),
    codename,
  );
  if (!file) return;
  process.stderr.write(`adding ${file.path}\n`);
  if (asRoot(["tee", file.path], file.text) !== 0) throw new Error(`cannot write ${file.path}`);
}

/**
 * @param {string[]} command
 * @param {string} [input]
 */
function asRoot(command, input) {
  const env = ["env", "DEBIAN_FRONTEND=noninteractive"];
  const [file = "", ...args] = process.getuid?.() === 0 ? [...env, ...command] : ["sudo", "-n", ...env, ...command];
  return spawnSync(file, args, { input, stdio: [input === undefined ? "ignore" : "pipe", 2, 2] }).status;
}
