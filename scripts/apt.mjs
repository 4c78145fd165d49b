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

/**
 * @returns {boolean} whether this user is root, or becomes root without being asked for a password, and DDIM_NO_ROOT does
 *   not forbid it
 */
export function mayInstall() {
  if (process.env.DDIM_NO_ROOT) return false;
  return process.getuid?.() === 0 || spawnSync("sudo", ["-n", "true"], { stdio: "ignore" }).status === 0;
}

/**
 * Installs packages as root. What will be run is said before the first command, with the way around; everything goes to
 * stderr.
 * @param {string} reason what is missing, and what its package is
 * @param {string[]} packages
 * @param {string} around what somebody can do who does not want this
 * @param {string} [codename] of the Debian release whose backports have them, where its own packages are too old
 * @throws {Error} where apt's sources do not name the release, or a command fails
 */
export function aptInstall(reason, packages, around, codename) {
  const file = codename && backportsFile(aptSources(), codename);
  const from = codename ? ["-t", `${codename}-backports`] : [];
  const add = file && ["tee", file.path];
  const update = ["apt-get", "update", "-qq"];
  const install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", ...from, ...packages];
  const commands = [...(add ? [add] : []), update, install].map((command) => `  ${command.join(" ")}\n`).join("");
  process.stderr.write(`${reason}. As root this runs\n${commands}With DDIM_NO_ROOT=1 it does not; ${around}.\n`);

  if (add && asRoot(add, file.text) !== 0) throw new Error(`cannot write ${file.path}`);
  // A source that cannot be reached need not be the one that has these packages.
  asRoot(update);
  if (asRoot(install) !== 0) throw new Error(`${install.join(" ")} failed: its messages are above`);
}

/** @returns {import("./apt-sources.mjs").AptFile[]} */
function aptSources() {
  const more = existsSync(FOLDER) ? readdirSync(FOLDER).map((name) => `${FOLDER}/${name}`) : [];
  const paths = ["/etc/apt/sources.list", ...more].filter((path) => existsSync(path));
  return paths.map((path) => ({ path, text: readFileSync(path, "utf8") }));
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
