// Where a Debian release's backports are, read from the entry of the release itself in apt's sources: the same address and
// the same key. Pure text work, in both of apt's formats.

/**
 * @typedef {object} AptFile a file below /etc/apt
 * @property {string} path
 * @property {string} text
 */

/**
 * @typedef {object} Source one active entry for binary packages
 * @property {"list" | "sources"} format one line, or a stanza of fields
 * @property {string[]} uris
 * @property {string[]} suites
 * @property {(suite: string) => string} withSuite the entry's text with another suite
 */

/**
 * @param {AptFile[]} files sources.list and what is in sources.list.d
 * @param {string} codename of the Debian release, such as "bookworm"
 * @returns {AptFile | null} the file to add; null where the backports are among the sources already
 * @throws {Error} where the files do not name the release
 */
export function backportsFile(files, codename) {
  const suite = `${codename}-backports`;
  const sources = files.flatMap(parseFile);
  if (sources.some(({ suites }) => suites.includes(suite))) return null;
  // Others name their suites after Debian's releases too, but have neither its updates nor its path.
  const release =
    sources.find(({ suites }) => suites.includes(`${codename}-updates`)) ??
    sources.find(({ uris, suites }) => suites.includes(codename) && uris.some((uri) => /\/debian\/?$/.test(uri)));
  if (!release) {
    throw new Error(`apt's sources do not name Debian ${codename}: add ${suite} to them by hand, then run this again`);
  }
  return { path: `/etc/apt/sources.list.d/${suite}.${release.format}`, text: `${release.withSuite(suite)}\n` };
}

/**
 * @param {AptFile} file
 * @returns {Source[]}
 */
function parseFile({ path, text }) {
  if (path.endsWith(".list")) return (text.match(/^deb\s.*$/gm) ?? []).flatMap(parseLine);
  if (path.endsWith(".sources")) return text.split(/\n(?:[ \t]*\n)+/).flatMap(parseStanza);
  return [];
}

/**
 * @param {string} line such as "deb [signed-by=...] http://example.org/debian bookworm main"
 * @returns {Source[]}
 */
function parseLine(line) {
  const parts = line.match(/^(deb\s+(?:\[[^\]]*\]\s+)?)(\S+)\s+(\S+)(.*)$/);
  if (!parts) return [];
  const [, head, uri = "", suite = "", tail] = parts;
  return [{ format: "list", uris: [uri], suites: [suite], withSuite: (other) => `${head}${uri} ${other}${tail}` }];
}

/**
 * @param {string} stanza lines such as "Suites: bookworm bookworm-updates"
 * @returns {Source[]}
 */
function parseStanza(stanza) {
  /** @param {string} name */
  const field = (name) =>
    stanza
      .match(new RegExp(`^${name}:(.*)$`, "im"))?.[1]
      ?.trim()
      .split(/\s+/) ?? [];
  if (!field("Types").includes("deb") || field("Enabled").includes("no")) return [];
  const withSuite = (/** @type {string} */ suite) => stanza.trim().replace(/^Suites:.*$/im, `Suites: ${suite}`);
  return [{ format: "sources", uris: field("URIs"), suites: field("Suites"), withSuite }];
}
