/** `ddim bench report` and `ddim bench compare`: what is made of files in bench/results. */
import { existsSync } from "node:fs";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import type { Terminal } from "../../src/cli/io.ts";
import { checkFile, writeFile } from "../../src/cli/output.ts";
import { packageRoot } from "../../src/cli/package.ts";
import { readResults } from "../results.ts";
import { compareResults } from "./compare.ts";
import { compareText } from "./compareText.ts";
import { resultsAsHtml, resultsAsMarkdown } from "./index.ts";
import type { MarkdownSource } from "./markdown.ts";

export interface ReportFlags {
  /** File to write. */
  html?: string;
  /** File to write. */
  markdown?: string;
  json?: true;
}

/** Markdown on stdout, unless a file or JSON is asked for. Replaces the files. */
export async function benchReport(
  terminal: Terminal,
  file: string,
  { html, markdown, json }: ReportFlags,
): Promise<void> {
  const results = readResults(file);
  for (const output of [html, markdown]) if (output !== undefined) checkFile(output, true);
  if (html !== undefined) {
    writeFile(html, await resultsAsHtml(results));
    terminal.note(`${html}: the report as a page`);
  }
  if (markdown !== undefined) {
    writeFile(markdown, resultsAsMarkdown(results, markdownSource(file, markdown)));
    terminal.note(`${markdown}: the report as Markdown`);
  }
  if (json) terminal.json({ ...results });
  else if (html === undefined && markdown === undefined)
    terminal.data(resultsAsMarkdown(results, markdownSource(file)).trimEnd().split("\n"));
}

/**
 * What a page says of its origin: names that hold on every machine, those of the repository where the files are in it.
 * @param page - the Markdown file, if it goes to one; a picture of its name in `pictures/` beside it belongs to it
 */
export function markdownSource(file: string, page?: string): MarkdownSource {
  const from = named(file);
  const command = `npx ddim bench report ${from}`;
  if (page === undefined) return { file: from, command };
  const picture = `pictures/${basename(page, ".md")}.png`;
  return {
    file: from,
    command: `${command} --markdown ${named(page)}`,
    picture: existsSync(join(dirname(page), picture)) ? picture : undefined,
  };
}

function named(path: string): string {
  const within = relative(packageRoot(), resolve(path));
  return within.startsWith("..") ? basename(path) : within.split(sep).join("/");
}

export function benchCompare(terminal: Terminal, before: string, after: string, { json }: { json?: true }): void {
  const [a, b] = [readResults(before), readResults(after)];
  const comparison = compareResults(a, b);
  if (json) terminal.json({ ...comparison });
  else terminal.data(compareText(comparison, { file: before, results: a }, { file: after, results: b }).split("\n"));
}
