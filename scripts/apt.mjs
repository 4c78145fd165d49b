// Debian's and Ubuntu's package manager: which distribution this is, whether we may install, and installing.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import process from "node:process";

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
 * Makes the backports of a Debian release known to apt, at the address (and with the key) of the release itself.
 * @param {string} codename
 * @throws {Error} where apt's sources do not name the release
 */
export function addBackports(codename) {
  const suite = `${codename}-backports`;
  const sources = readSources();
  if (sources.some(({ suites }) => suites.includes(suite))) return;
  const release = sources.find(
    // Others call their suites by Debian's code names too, but have neither its updates nor its path.
    ({ uris, suites }) =>
      suites.includes(`${codename}-updates`) ||
      (suites.includes(codename) && uris.some((uri) => /\/debian\/?$/.test(uri))),
  );
  if (!release)
    throw new Error(`apt's sources do not name Debian ${codename}: add ${suite} to them by hand, then run this again`);
  const path = `${FOLDER}/${suite}.${release.format}`;
  process.stderr.write(`adding ${path}\n`);
  if (asRoot(["tee", path], `${release.withSuite(suite)}\n`) !== 0) throw new Error(`cannot write ${path}`);
}

/**
 * @typedef {object} Source one entry of apt's sources
 * @property {"list" | "sources"} format one line, or a stanza of fields
 * @property {string[]} uris
 * @property {string[]} suites
 * @property {(suite: string) => string} withSuite the entry's text with another suite
 */

/** @returns {Source[]} the active entries for binary packages */
function readSources() {
  const more = existsSync(FOLDER) ? readdirSync(FOLDER).map((name) => `${FOLDER}/${name}`) : [];
  const files = ["/etc/apt/sources.list", ...more].filter((path) => existsSync(path));
  /** @param {string} format */
  const read = (format) => files.filter((path) => path.endsWith(format)).map((path) => readFileSync(path, "utf8"));
  const lines = read(".list").flatMap((text) => text.match(/^deb\s.*$/gm) ?? []);
  const stanzas = read(".sources").flatMap((text) => text.split(/\n(?:[ \t]*\n)+/));
  return [...lines.map(parseLine), ...stanzas.map(parseStanza)].filter((source) => source !== null);
}

/**
 * @param {string} line such as "deb [signed-by=...] http://example.org/debian bookworm main"
 * @returns {Source | null}
 */
function parseLine(line) {
  const [, head = "", uri = "", suite = "", tail = ""] =
    line.match(/^(deb\s+(?:\[[^\]]*\]\s+)?)(\S+)\s+(\S+)(.*)$/) ?? [];
  return uri
    ? { format: "list", uris: [uri], suites: [suite], withSuite: (other) => `${head}${uri} ${other}${tail}` }
    : null;
}

/**
 * @param {string} stanza lines such as "Suites: bookworm bookworm-updates"
 * @returns {Source | null}
 */
function parseStanza(stanza) {
  /** @param {string} name */
  const field = (name) =>
    stanza
      .match(new RegExp(`^${name}:(.*)$`, "im"))?.[1]
      ?.trim()
      .split(/\s+/) ?? [];
  if (!field("Types").includes("deb") || field("Enabled").includes("no")) return null;
  return {
    format: "sources",
    uris: field("URIs"),
    suites: field("Suites"),
    withSuite: (other) => stanza.trim().replace(/^Suites:.*$/im, `Suites: ${other}`),
  };
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
