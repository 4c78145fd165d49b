/** A report before it is written down: sections of sentences and tables, the same for terminal, Markdown and HTML. */

export interface Table {
  readonly caption: string;
  readonly head: readonly string[];
  readonly lines: readonly (readonly string[])[];
}

export interface Section {
  /** Letters and hyphens: the anchor. */
  readonly id: string;
  readonly title: string;
  readonly paragraphs: readonly string[];
  readonly points?: readonly string[];
  readonly tables: readonly Table[];
  /** What the marks [1], [2], … in the tables' cells refer to. */
  readonly notes?: readonly string[];
}

export interface Document {
  readonly title: string;
  readonly sections: readonly Section[];
}

/** Collects notes: the same text gets the same mark. */
export class Notes {
  readonly texts: string[] = [];

  mark(text: string): string {
    if (!this.texts.includes(text)) this.texts.push(text);
    return `[${this.texts.indexOf(text) + 1}]`;
  }
}

/** Which columns hold numbers (shapes like 3×16×16 are none): in their first line that says anything. They are set to the right. */
export function numericColumns({ head, lines }: Table): boolean[] {
  return head.map((_, c) => /^-?[\d.]+(?![\d.×])/.test(lines.find((line) => line[c])?.[c] ?? ""));
}
