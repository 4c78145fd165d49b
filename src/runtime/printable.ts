/**
 * Text of files, fit to be shown. Names of tensors, keys, labels and texts of pictures are whatever their author chose: a
 * terminal would obey their control characters, and invisible or direction-changing ones make a line read as another.
 */

/** Control, format, surrogate, line and paragraph separating characters: all that has an effect but no glyph. */
const EFFECTIVE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

const NAMED: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

const hexadecimal = (unit: number) => `\\u${unit.toString(16).padStart(4, "0")}`;

/** As escapes of JSON, two for a character beyond the basic plane. */
const escaped = (character: string) =>
  Array.from({ length: character.length }, (_, i) => hexadecimal(character.charCodeAt(i))).join("");

/** One line of text with `\n`, `\u001b` and the like where it held control, bidirectional or invisible characters. */
export const printable = (text: string): string =>
  text.replace(EFFECTIVE, (character) => NAMED[character] ?? escaped(character));

/** JSON that reads back as the same values, without those characters. */
export const printableJson = (value: unknown): string => JSON.stringify(value)?.replace(EFFECTIVE, escaped);

/** Most characters of a value in a message. */
const SHOWN = 60;

/** A value out of a configuration for a message: as Python would write it there, cut where it is long. */
export function shown(value: unknown): string {
  const bare = (v: unknown) => (typeof v === "number" && !Number.isFinite(v)) || typeof v === "bigint";
  let marked: string | undefined;
  try {
    marked = JSON.stringify(value, (_, v) => (bare(v) ? `\0${v}` : v)) ?? String(value);
  } catch {
    // Such as an object inside of itself.
    marked = `an ${typeof value}`;
  }
  const text = marked.replace(/"\\u0000(NaN|-?Infinity|-?\d+)"/g, "$1");
  return text.length > SHOWN ? `${text.slice(0, SHOWN - 3)}...` : text;
}

/** A text out of a configuration, or what stands in its place, which `String` may not turn into one. */
export const textOf = (value: unknown): string => (typeof value === "string" ? value : shown(value));

/** What something that was thrown says, which need not be an error. */
export function said(thrown: unknown): string {
  const { message } = Object(thrown) as { message?: unknown };
  return typeof message === "string" ? message : textOf(thrown);
}

/** How many names a message lists. */
const LISTED = 12;

/** A dozen of some names between commas, and how many more there are. */
export function listed(names: readonly string[], most: number = LISTED): string {
  const more = names.length - most;
  return more > 0 ? `${names.slice(0, most).join(", ")}, … and ${more} more` : names.join(", ");
}

/** Most characters of a message, of which so many are its end, where the way out stands. */
const MESSAGE = 2000;
const ENDING = 500;

/** One printable line of at most 2 000 characters: of a longer one the middle is left out. */
export function message(text: string): string {
  const line = printable(text);
  if (line.length <= MESSAGE) return line;
  const beginning = MESSAGE - ENDING - 40;
  const cut = `${line.slice(0, beginning)} … ${line.length - beginning - ENDING} characters … ${line.slice(-ENDING)}`;
  // The cut may have parted a pair of surrogates.
  return printable(cut);
}

// biome-ignore lint/suspicious/noConsole: who gave nobody to tell finds warnings where a platform has them
export const toConsole = (text: string): void => console.warn(message(text));
