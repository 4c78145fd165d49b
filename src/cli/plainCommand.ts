/**
 * A command line out of a file, made again from words that the command itself accepts. Whoever wrote the file may want it
 * run by somebody else, so nothing in it is repeated as it is: flags are looked up, values read by the flags' own parsers,
 * and the result quoted for a POSIX shell.
 */
import { basename } from "node:path";
import type { Command, Option } from "commander";
import { printable } from "../runtime/printable.ts";
import { quoted, wordsOf } from "./shell.ts";

/** What writes anything but the picture, which goes into the current folder, or replaces what is there. */
const LEFT_OUT = new Set(["overwrite", "saveState", "saveSteps", "trace", "cache", "taps"]);
const OUTPUT = "output";

/** Which of a run's pictures a file holds. */
const IMAGE = / # image \d{1,15}$/;

/** Names that no file or folder of the current one has. */
const ELSEWHERE = /^(\.\.)?[/\\]?$/;

/** A flag with its value as one word or two: a value that looks like a flag is joined to its own. */
export const flagWords = (flag: string, value: string): string[] =>
  value.startsWith("-") ? [flag.startsWith("--") ? `${flag}=${value}` : flag + value] : [flag, value];

/** The name of a file or folder alone. */
export const inCurrentFolder = (path: string): string => basename(path) + (/[/\\]$/.test(path) ? "/" : "");

function accepts(option: Option, value: string): boolean {
  try {
    option.parseArg?.(value, undefined as never);
    return true;
  } catch {
    return false;
  }
}

/** The words of one flag, from `rest` on; undefined where the command has no such flag or the flag no such value. */
function takeFlag(command: Command, word: string, rest: string[]): string[] | undefined {
  const [, name = word, joined] = /^(--[^=]+)=(.*)$/s.exec(word) ?? /^(-[^-])(.+)$/s.exec(word) ?? [];
  const option = command.options.find(({ short, long }) => name === short || name === long);
  if (!option || option.variadic) return undefined;
  const field = option.attributeName();
  if (!option.required) return joined === undefined ? (LEFT_OUT.has(field) ? [] : [name]) : undefined;
  const value = joined ?? rest.shift();
  if (value === undefined || !accepts(option, value)) return undefined;
  if (LEFT_OUT.has(field)) return [];
  if (field !== OUTPUT) return flagWords(name, value);
  const output = inCurrentFolder(value);
  return ELSEWHERE.test(output) ? undefined : flagWords(name, output);
}

/** The words again, as the program's own commands read them; undefined where one does not. */
function checkedWords(program: Command, [name, ...rest]: string[]): string[] | undefined {
  const own = rest.shift();
  const command = program.commands.find((each) => each.name() === own);
  // Of those that make pictures.
  if (!command?.options.some((option) => option.attributeName() === OUTPUT)) return undefined;
  const words = [name as string, command.name()];
  let operands = 0;
  while (rest.length > 0) {
    const word = rest.shift() as string;
    if (word === "") return undefined;
    const taken = word.startsWith("-") ? takeFlag(command, word, rest) : [word];
    if (!taken) return undefined;
    words.push(...taken);
    if (!word.startsWith("-")) operands++;
  }
  const { registeredArguments: takes } = command;
  const fits = takes.at(-1)?.variadic || operands <= takes.length;
  return fits && operands >= takes.filter(({ required }) => required).length ? words : undefined;
}

/**
 * The command of a line that is a plain command of ours: `ddim`, a command, its flags and operands, each quoted or not in
 * need of it.
 * @returns undefined for any other text
 */
export function plainCommand(program: Command, line: string): string | undefined {
  const [image = ""] = IMAGE.exec(line) ?? [];
  const words = wordsOf(line.slice(0, line.length - image.length));
  if (words?.[0] !== program.name() || words.some((word) => word !== printable(word))) return undefined;
  const checked = checkedWords(program, words);
  return checked && checked.map(quoted).join(" ") + image;
}
