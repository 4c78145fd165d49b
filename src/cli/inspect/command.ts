/** Commands among the texts of a picture: ours, rebuilt, or else text like any other, which is not called a command. */
import type { Command } from "commander";
import type { GenerationParameters } from "../../image/parameters.ts";
import { type PlainCommand, plainCommand, readCommand } from "../plainCommand.ts";
import { commandOf } from "../provenance.ts";

/** Whether a field says of itself that it were a command. */
export const isCommand = (key: string): boolean => key.trim().toLowerCase() === "command";

/**
 * The command in a picture where it is one of `program`'s, else the one that its parameters amount to.
 * @param recorded the text, if there is one
 */
export const commandIn = (
  program: Command,
  recorded: string | undefined,
  parameters?: GenerationParameters,
): PlainCommand | undefined =>
  (recorded === undefined ? undefined : readCommand(program, recorded)) ??
  (parameters && parameters.task === undefined ? readCommand(program, commandOf(parameters)) : undefined);

/** What is shown of a field that says it were a command. */
export function commandLines(program: Command, recorded: string, parameters?: GenerationParameters): string[] {
  const command = commandIn(program, recorded, parameters)?.text;
  const own = plainCommand(program, recorded) !== undefined;
  return [
    ...(command === undefined ? [] : [`  command: ${command}`]),
    ...(own ? [] : [`  text that is no command of ddim: ${recorded}`]),
  ];
}
