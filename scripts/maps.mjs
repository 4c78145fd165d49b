// The last touch to a build's scripts: a statement a line, and source maps that bring along what they show.
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { decode, encode } from "@jridgewell/sourcemap-codec";
import ts from "typescript";

/** What samples in a page. With maps of readers of rare files, and of the command line, the package would exceed 2.5 MB. */
const MAPPED = /^chunks\/(core|kernels|autoencoder|operations)\./;

/**
 * Where lines of minified code can end. Node prints the line of an error that nobody catches, which would be all of a file.
 * @param {string} code
 */
function lineEnds(code) {
  /** @type {number[]} */
  const ends = [];
  const file = ts.createSourceFile("chunk.js", code, ts.ScriptTarget.Latest, false, ts.ScriptKind.JS);
  /** @param {ts.Node} node */
  const visit = (node) => {
    if ((ts.isStatement(node) && !ts.isBlock(node)) || ts.isClassElement(node)) ends.push(node.end);
    ts.forEachChild(node, visit);
  };
  visit(file);
  return [...new Set(ends)].filter((end) => end < code.length && code[end] !== "\n").sort((a, b) => a - b);
}

/**
 * Of every line of the sources where it begins, which is what stepping through them takes, and of the sources the lines
 * that run: with their comments and types they would be larger than all else.
 * @param {{ mappings: string, sources: string[], sourcesContent: string[] }} map
 * @param {number[]} ends of lines, in the generated code's last line but one
 * @param {string} code
 */
function readable({ mappings, sources, sourcesContent }, ends, code) {
  const starts = [0, ...[...code.matchAll(/\n/g)].map(({ index }) => index + 1)];
  const breaks = [...new Set([...starts, ...ends])].sort((a, b) => a - b);
  /** @type {Set<number>[]} */
  const used = sources.map(() => new Set());
  /** @type {import("@jridgewell/sourcemap-codec").SourceMapMappings} */
  const lines = breaks.map(() => []);
  let at = 0;
  let last = "";
  for (const [row, segments] of decode(mappings).entries())
    for (const segment of segments) {
      if (segment.length < 4) continue;
      const [column, source, line, place] = /** @type {[number, number, number, number]} */ (segment);
      const offset = /** @type {number} */ (starts[row]) + column;
      while (at + 1 < breaks.length && /** @type {number} */ (breaks[at + 1]) <= offset) at++;
      const key = `${at} ${source} ${line}`;
      if (key !== last) lines[at]?.push([offset - /** @type {number} */ (breaks[at]), source, line, place]);
      last = key;
      used[source]?.add(line);
    }
  const shown = sourcesContent.map((text, i) =>
    text
      .split("\n")
      .map((line, n) => (used[i]?.has(n) ? line : ""))
      .join("\n")
      .trimEnd(),
  );
  return { version: 3, names: [], sources, sourcesContent: shown, mappings: encode(lines) };
}

/** @param {string} folder of a build */
export function finishScripts(folder) {
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    if (!name.endsWith(".js")) continue;
    const path = join(folder, name);
    const code = readFileSync(path, "utf8").trimEnd();
    const ends = lineEnds(code);
    const parts = [0, ...ends].map((from, i) => code.slice(from, ends[i]));
    const mapped = existsSync(`${path}.map`) && MAPPED.test(name);
    const text = parts.join("\n");
    writeFileSync(path, `${mapped ? text : text.replace(/\n\/\/# sourceMappingURL=\S+$/, "")}\n`);
    if (mapped) {
      const map = JSON.parse(readFileSync(`${path}.map`, "utf8"));
      // As they will be named from dist/, which is one folder higher up than the build.
      map.sources = map.sources.map((/** @type {string} */ source) => source.replace(/^(\.\.\/)+(?=src\/)/, "../../"));
      writeFileSync(`${path}.map`, JSON.stringify({ file: name, ...readable(map, ends, code) }));
    } else rmSync(`${path}.map`, { force: true });
  }
}
