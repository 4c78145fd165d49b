// The last touch to a build's scripts: a statement a line, calls that are marked as pure, and source maps that bring along
// what they show.
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { decode, encode } from "@jridgewell/sourcemap-codec";
import ts from "typescript";

/** What every page loads. With maps of the rest, and of the command line, the package would exceed 2.5 MB. */
const MAPPED = /^chunks\/(core|errors|kernels|sampler|images)\./;

/** @typedef {{ at: number, text: string }} Insertion */

/**
 * What minified code gets. Lines, because Node prints the line of an error that nobody catches, which would be all of a
 * file. And marks on the calls of modules' own statements, which have no effects (`sideEffects` of package.json says it of
 * files, but these hold many modules): bundlers drop them where nobody uses what they make. A statement that makes nothing is
 * there for its effect, and keeps its calls.
 * @param {string} code
 * @returns {Insertion[]} in order
 */
function insertions(code) {
  const file = ts.createSourceFile("chunk.js", code, ts.ScriptTarget.Latest, true, ts.ScriptKind.JS);
  const lines = new Set();
  const calls = new Set();
  /** @param {ts.Node} node @param {boolean} runs at once, when the module is loaded */
  const visit = (node, runs) => {
    if ((ts.isStatement(node) && !ts.isBlock(node)) || ts.isClassElement(node)) lines.add(node.end);
    if (runs && (ts.isCallExpression(node) || ts.isNewExpression(node))) calls.add(node.getStart(file));
    const makes = !ts.isStatement(node) || ts.isVariableStatement(node) || ts.isClassDeclaration(node);
    const inner =
      runs && (makes || ts.isExportAssignment(node)) && !ts.isFunctionLike(node) && !ts.isPropertyDeclaration(node);
    ts.forEachChild(node, (child) => visit(child, inner));
  };
  visit(file, true);
  const ends = [...lines].filter((end) => end < code.length && code[end] !== "\n");
  return [...ends.map((at) => ({ at, text: "\n" })), ...[...calls].map((at) => ({ at, text: "/*@__PURE__*/" }))].sort(
    (a, b) => a.at - b.at,
  );
}

/**
 * Of every line of the sources where it begins, which is what stepping through them takes, and of the sources the lines
 * that run: with their comments and types they would be larger than all else.
 * @param {{ mappings: string, sources: string[], sourcesContent: string[] }} map
 * @param {string} code as the map knows it
 * @param {readonly Insertion[]} inserted
 * @param {string} text the code with them
 */
function readable({ mappings, sources, sourcesContent }, code, inserted, text) {
  const startsOf = (/** @type {string} */ of) => [0, ...[...of.matchAll(/\n/g)].map(({ index }) => index + 1)];
  const [before, after] = [startsOf(code), startsOf(text)];
  /** @type {Set<number>[]} */
  const used = sources.map(() => new Set());
  /** @type {import("@jridgewell/sourcemap-codec").SourceMapMappings} */
  const lines = after.map(() => []);
  let [next, shift, row, last] = [0, 0, 0, ""];
  for (const [line, segments] of decode(mappings).entries())
    for (const segment of segments) {
      if (segment.length < 4) continue;
      const [column, source, shown, place] = /** @type {[number, number, number, number]} */ (segment);
      const offset = /** @type {number} */ (before[line]) + column;
      for (; next < inserted.length && /** @type {Insertion} */ (inserted[next]).at <= offset; next++)
        shift += /** @type {Insertion} */ (inserted[next]).text.length;
      while (/** @type {number} */ (after[row + 1] ?? Number.POSITIVE_INFINITY) <= offset + shift) row++;
      const key = `${row} ${source} ${shown}`;
      if (key !== last) lines[row]?.push([offset + shift - /** @type {number} */ (after[row]), source, shown, place]);
      last = key;
      used[source]?.add(shown);
    }
  const content = sourcesContent.map((original, i) =>
    original
      .split("\n")
      .map((line, n) => (used[i]?.has(n) ? line : ""))
      .join("\n")
      .trimEnd(),
  );
  return { version: 3, names: [], sources, sourcesContent: content, mappings: encode(lines) };
}

/** @param {string} folder of a build */
export function finishScripts(folder) {
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    if (!name.endsWith(".js")) continue;
    const path = join(folder, name);
    const code = readFileSync(path, "utf8").trimEnd();
    const inserted = insertions(code);
    const from = [0, ...inserted.map(({ at }) => at)];
    const text = from.map((at, i) => (inserted[i - 1]?.text ?? "") + code.slice(at, from[i + 1])).join("");
    const mapped = MAPPED.test(name.replaceAll("\\", "/")) && existsSync(`${path}.map`);
    writeFileSync(path, `${mapped ? text : text.replace(/\n\/\/# sourceMappingURL=\S+$/, "")}\n`);
    if (mapped) {
      const map = JSON.parse(readFileSync(`${path}.map`, "utf8"));
      // As they will be named from dist/, which is one folder higher up than the build.
      map.sources = map.sources.map((/** @type {string} */ source) => source.replace(/^(\.\.\/)+(?=src\/)/, "../../"));
      writeFileSync(`${path}.map`, JSON.stringify({ file: basename(name), ...readable(map, code, inserted, text) }));
    } else rmSync(`${path}.map`, { force: true });
  }
}
