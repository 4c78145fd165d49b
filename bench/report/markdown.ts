/** A report as a Markdown page: how docs/performance.md is made. */
import { type Document, numericColumns, type Section, type Table } from "./document.ts";

export interface MarkdownSource {
  /** The results file, as the page names it. */
  readonly file: string;
  /** The command that makes the page again. */
  readonly command: string;
  /** Picture of the HTML report, relative to the page. */
  readonly picture?: string;
}

export function markdownReport({ title, sections }: Document, { file, command, picture }: MarkdownSource): string {
  const header = `<!-- Generated from ${file} by \`${command}\`. Changes by hand are lost. -->`;
  const origin = `Generated from \`${file}\` by \`${command}\`; not written by hand.`;
  const image = picture ? [`![The same as a page with charts: the report's HTML form](${picture})`] : [];
  return `${[header, `# ${plain(title)}`, origin, ...image, ...sections.map(markdownSection)].join("\n\n")}\n`;
}

function markdownSection({ title, paragraphs, points = [], tables, notes = [] }: Section): string {
  return [
    `## ${plain(title)}`,
    ...paragraphs.map(plain),
    points.map((point) => `- ${plain(point)}`).join("\n"),
    ...tables.map((t) => (tables.length > 1 ? `**${t.caption}**\n\n${grid(t)}` : grid(t))),
    notes.map((note) => `- ${plain(note)}`).join("\n"),
  ]
    .filter(Boolean)
    .join("\n\n");
}

function grid(table: Table): string {
  const numeric = numericColumns(table);
  const line = (cells: readonly string[]) => `| ${cells.map(plain).join(" | ")} |`;
  const rule = `| ${numeric.map((right) => (right ? "--:" : "---")).join(" | ")} |`;
  return [line(table.head), rule, ...table.lines.map(line)].join("\n");
}

/** What Markdown would read as its own. */
const plain = (text: string) => text.replace(/[\\`*_<>|[\]]/g, "\\$&");
