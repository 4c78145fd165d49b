/** A report for a terminal. */
import { table } from "../../src/cli/table.ts";
import type { Document, Section, Table } from "./document.ts";

export function textReport({ title, sections }: Document): string {
  return [underlined(title, "="), ...sections.map(textSection)].join("\n\n");
}

const underlined = (text: string, line: string) => `${text}\n${line.repeat(text.length)}`;

function textSection({ title, paragraphs, points = [], tables, notes = [] }: Section): string {
  return [
    underlined(title, "-"),
    ...paragraphs,
    points.map((point) => `- ${point}`).join("\n"),
    ...tables.map((t) => (tables.length > 1 ? `${t.caption}:\n${grid(t)}` : grid(t))),
    notes.join("\n"),
  ]
    .filter(Boolean)
    .join("\n\n");
}

const grid = ({ head, rows }: Table) => table(head, rows).join("\n");
