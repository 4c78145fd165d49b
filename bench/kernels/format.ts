/** Generated WGSL laid out for people: nothing but white space changes, so what is shown is what is compiled. */

const WIDTH = 120;

const isComment = (line: string) => line.startsWith("//");

/** Last place at which `text` may be cut within `width`: behind a statement, else a comma, else at any space. */
function cut(text: string, width: number): number {
  for (const mark of ["; ", ", ", " "]) {
    const at = text.lastIndexOf(mark, width - mark.length);
    if (at > 0) return at + mark.length - 1;
  }
  return text.length;
}

const count = (text: string, mark: string) => text.split(mark).length - 1;

/** A line in pieces that fit beside their indentation; the rest of a statement lies four columns further in, that of a block two. */
function wrap(line: string, indent: number): string[] {
  const pieces: string[] = [];
  let rest = line;
  let block = 0;
  let further = 0;
  // A comment runs to the end of its line, so such lines stay whole.
  while (!line.includes("//") && indent + further + rest.length > WIDTH) {
    const at = cut(rest, WIDTH - indent - further);
    if (at >= rest.length) break;
    const piece = rest.slice(0, at).trimEnd();
    pieces.push(" ".repeat(indent + further) + piece);
    block += 2 * (count(piece, "{") - count(piece, "}"));
    further = block + (piece.endsWith(";") || block > 0 ? 0 : 4);
    rest = rest.slice(at).trimStart();
  }
  return [...pieces, " ".repeat(indent + further) + rest];
}

/**
 * Two columns per block, lines of at most 120 characters, an empty line between declarations with bodies and none in
 * them. Lines are never joined: a line of comment ends where it ended.
 */
export function formatWgsl(source: string): string {
  const lines: string[] = [];
  let depth = 0;
  let open = false;
  for (const raw of source.split("\n")) {
    const line = raw.trim();
    if (line === "") continue;
    const last = lines.at(-1);
    const begins = /^(fn|struct|@compute|\/\/)/.test(line) && !isComment(last ?? "") && !last?.startsWith("@compute");
    if (depth === 0 && last !== undefined && (begins || last.endsWith("}"))) lines.push("");
    const code = isComment(line) ? "" : (line.split("//")[0] as string);
    const closing = /^[})\]]*/.exec(code)?.[0].replace(/[^}]/g, "").length ?? 0;
    lines.push(...wrap(line, 2 * (depth - closing) + (open && closing === 0 ? 4 : 0)));
    depth += count(code, "{") - count(code, "}");
    // A statement goes on in the next line; a line with attributes alone is complete.
    if (code.trim()) open = !/[;{}]\s*$/.test(code) && !code.startsWith("@compute");
  }
  return lines.join("\n");
}
