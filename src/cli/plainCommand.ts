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

/** Which of a run's pictures a file holds, or a preview of them. */
const IMAGE = / # (?:image (\d{1,15})|(?:images from \d{1,15}, )?step \d{1,15})$/;

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

/** A flag of a line, as it is repeated; without words where it is not. */
export interface PlainFlag {
  readonly option: Option;
  /** Undefined for a flag that takes none. */
  readonly value?: string;
  readonly words: readonly string[];
}

/** A line that is a plain command of ours. */
export interface PlainCommand {
  readonly command: Command;
  readonly flags: readonly PlainFlag[];
  /** The command again, for a shell. */
  readonly text: string;
  /** Number of the image that the file with the line holds, where it holds one of several. */
  readonly image?: number;
}

/** One flag, from `rest` on; undefined where the command has no such flag or the flag no such value. */
function takeFlag(command: Command, word: string, rest: string[]): PlainFlag | undefined {
  const [, name = word, joined] = /^(--[^=]+)=(.*)$/s.exec(word) ?? /^(-[^-])(.+)$/s.exec(word) ?? [];
  const option = command.options.find(({ short, long }) => name === short || name === long);
  if (!option || option.variadic) return undefined;
  const field = option.attributeName();
  if (!option.required) return joined === undefined ? { option, words: LEFT_OUT.has(field) ? [] : [name] } : undefined;
  const value = joined ?? rest.shift();
  if (value === undefined || !accepts(option, value)) return undefined;
  if (LEFT_OUT.has(field)) return { option, value, words: [] };
  if (field !== OUTPUT) return { option, value, words: flagWords(name, value) };
  const output = inCurrentFolder(value);
  return ELSEWHERE.test(output) ? undefined : { option, value: output, words: flagWords(name, output) };
}

/** The words again, as the program's own commands read them; undefined where one does not. */
function checkedWords(
  program: Command,
  [name, ...rest]: string[],
): { command: Command; flags: PlainFlag[]; words: string[] } | undefined {
  const own = rest.shift();
  const command = program.commands.find((each) => each.name() === own);
  // Of those that make pictures.
  if (!command?.options.some((option) => option.attributeName() === OUTPUT)) return undefined;
  const words = [name as string, command.name()];
  const flags: PlainFlag[] = [];
  let operands = 0;
  while (rest.length > 0) {
    const word = rest.shift() as string;
    if (word === "") return undefined;
    if (!word.startsWith("-")) {
      words.push(word);
      operands++;
      continue;
    }
    const taken = takeFlag(command, word, rest);
    if (!taken) return undefined;
    flags.push(taken);
    words.push(...taken.words);
  }
  const { registeredArguments: takes } = command;
  const fits = takes.at(-1)?.variadic || operands <= takes.length;
  const enough = operands >= takes.filter(({ required }) => required).length;
  return fits && enough ? { command, flags, words } : undefined;
}

/**
 * The command of a line that is a plain command of ours: `ddim`, a command, its flags and operands, each quoted or not in
 * need of it.
 * @returns undefined for any other text
 */
export const plainCommand = (program: Command, line: string): string | undefined => readCommand(program, line)?.text;

/** {@link plainCommand} with its parts. */
export function readCommand(program: Command, line: string): PlainCommand | undefined {
  const [part = "", image] = IMAGE.exec(line) ?? [];
  const words = wordsOf(line.slice(0, line.length - part.length));
  if (words?.[0] !== program.name() || words.some((word) => word !== printable(word))) return undefined;
  const checked = checkedWords(program, words);
  if (!checked) return undefined;
  const { command, flags } = checked;
  const text = checked.words.map(quoted).join(" ") + part;
  return { command, flags, text, ...(image === undefined ? {} : { image: Number(image) }) };
}
