/** Text tables for terminals. */
import { printable } from "../runtime/printable.ts";

export type Cell = string | number;

/**
 * The lines of a table, the cells of which are given line by line. Columns as wide as their widest cell, columns that begin with a number to the right, two spaces
 * between; no trailing spaces.
 */
export function table(head: readonly string[], cells: readonly (readonly Cell[])[]): string[] {
  const right = head.map((_, c) => /^-?\d/.test(String(cells[0]?.[c])));
  const lines = [head, ...cells].map((line) => line.map((cell) => printable(String(cell))));
  const widths = head.map((_, c) => lines.reduce((width, line) => Math.max(width, line[c]?.length ?? 0), 0));
  return lines.map((line) =>
    line
      .map((cell, c) => (right[c] ? cell.padStart(widths[c]!) : cell.padEnd(widths[c]!)))
      .join("  ")
      .trimEnd(),
  );
}

/** Bytes in the unit that leaves one to four digits before the point: 512 B, 3.9 KiB, 1.2 GiB. */
export function bytes(count: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(Math.floor(Math.log2(Math.max(count, 1)) / 10), units.length - 1);
  const value = count / 2 ** (10 * power);
  return `${power === 0 ? value : value.toFixed(1)} ${units[power]}`;
}

/** 12, 3.4 K, 1.06 M, 2.1 G. */
export function quantity(count: number): string {
  for (const [unit, size] of [
    ["G", 1e9],
    ["M", 1e6],
    ["K", 1e3],
  ] as const)
    if (count >= size) return `${(count / size).toPrecision(3)} ${unit}`;
  return String(count);
}

/** "1 image", "2 images". */
export const plural = (count: number, noun: string, nouns = `${noun}s`) => `${count} ${count === 1 ? noun : nouns}`;
