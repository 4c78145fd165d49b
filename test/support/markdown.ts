/** What tests read in the pages: fenced blocks, code, and the commands of the command line in it. */

export interface Block {
  /** What stands behind the opening fence: "sh", "js". */
  language: string;
  code: string;
  /** The paragraph before it. */
  before: string;
}

/** The fenced blocks of a page. */
export function blocks(page: string): Block[] {
  const found: Block[] = [];
  let open: { language: string; lines: string[] } | undefined;
  let paragraph: string[] = [];
  let before = "";
  for (const line of page.split("\n")) {
    if (open && line === "```") {
      found.push({ language: open.language, code: open.lines.map((one) => `${one}\n`).join(""), before });
      [open, paragraph, before] = [undefined, [], ""];
    } else if (open) open.lines.push(line);
    else if (line.startsWith("```")) open = { language: line.slice(3), lines: [] };
    else if (line.trim() === "") paragraph = [];
    else {
      paragraph.push(line);
      before = paragraph.join("\n");
    }
  }
  return found;
}

/** The lines of a block of shell, without comments; a line that goes on in the next counts as one. */
export function shellLines(code: string): string[] {
  const lines = code.replaceAll("\\\n", " ").split("\n");
  return lines.map((line) => line.replace(/(^|\s)#.*$/, "").trim()).filter((line) => line !== "");
}

/** Spans of code, lines of blocks and lines that are indented as code, in the order of their kinds. */
export function codeLines(page: string): string[] {
  const fenced = blocks(page).flatMap(({ code }) => shellLines(code));
  const rest = page.replace(/^```\w*\n[\s\S]*?^```$/gm, "");
  const indented = [...rest.matchAll(/^ {4}(.*)$/gm)].flatMap(([, line]) => shellLines(line!));
  const spans = [...rest.matchAll(/`([^`]+)`/g)].map(([, span]) => span!.replaceAll("\n", " "));
  return [...fenced, ...indented, ...spans];
}

/** The calls of `ddim` in a line: command and arguments as words, quotes left in; up to what begins another command. */
export function ddimCalls(line: string): string[][] {
  return [...line.matchAll(/(?:^|\s)ddim ([a-z][^|;&>…]*)/g)].map(([, words]) => words!.trim().split(/\s+/));
}
