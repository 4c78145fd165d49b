/** One run of the command line: arguments in, exit code out. */
import { CommanderError } from "commander";
import { DdimError, UsageError } from "../runtime/errors.ts";
import { type Io, Terminal } from "./io.ts";
import { createProgram } from "./program.ts";
import { Unfinished } from "./unfinished.ts";

/** 0 done, 1 the work failed or something is missing, 2 wrong usage, 130 interrupted; which signal it was, the process knows. */
export type ExitCode = 0 | 1 | 2 | 130;

/**
 * Runs a command. Never throws: what goes wrong is one sentence on stderr, with stacks when `--verbose` was given.
 * @param args - without the names of node and the script
 */
export async function run(args: readonly string[], io: Io): Promise<ExitCode> {
  let verbose = false;
  try {
    const program = createProgram({ ...io, args }, () => {
      verbose = true;
    });
    await program.parseAsync(args, { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    new Terminal(io, { verbose }).failure(sentence(error, io.signal), error);
    return exitCode(error, io.signal);
  }
}

function exitCode(error: unknown, signal: AbortSignal): ExitCode {
  if (signal.aborted) return 130;
  if (error instanceof Unfinished) return exitCode(error.cause, signal);
  return error instanceof UsageError || error instanceof CommanderError ? 2 : 1;
}

function sentence(error: unknown, signal: AbortSignal): string {
  if (error instanceof Unfinished) return `${sentence(error.cause, signal)}; ${error.kept}`;
  if (signal.aborted) return "interrupted";
  if (error instanceof CommanderError) return usage(error);
  if (error instanceof DdimError) return error.message;
  return `internal: ${error instanceof Error ? error.message : String(error)} (--verbose shows where)`;
}

/** Commander's sentences in our form. Where it has shown the help instead of a sentence, the reason for that. */
function usage(error: CommanderError): string {
  if (error.code === "commander.help") return "a command is needed";
  return error.message
    .replace(/^error: /, "")
    .replace(" is invalid. ", " is invalid: ")
    .replaceAll("\n", " ");
}
