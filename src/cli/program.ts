/** The commands, with what holds for all of them: nothing is printed or ended behind the caller's back. */
import { Command } from "commander";
import { WITH_GPU } from "../node/device.ts";
import { UsageError } from "../runtime/errors.ts";
import { addBench } from "./commands/bench.ts";
import { addConvert } from "./commands/convert.ts";
import { addDecode } from "./commands/decode.ts";
import { addDoctor } from "./commands/doctor.ts";
import { addEdit, addNoise } from "./commands/edit.ts";
import { addEncode } from "./commands/encode.ts";
import { addEval } from "./commands/eval.ts";
import { addForward } from "./commands/forward.ts";
import { addInspect } from "./commands/inspect.ts";
import { addFuse, addInterpolate } from "./commands/interpolate.ts";
import { addInvert } from "./commands/invert.ts";
import { addSample } from "./commands/sample.ts";
import { addSchedule } from "./commands/schedule.ts";
import { addTune } from "./commands/tune.ts";
import { addUpscale } from "./commands/upscale.ts";
import type { Io } from "./io.ts";
import { packageVersion } from "./package.ts";

/** Adds a command to the program. One file each in `commands/`. */
type AddCommand = (program: Command, io: Io) => void;

const commands: readonly AddCommand[] = [
  addSample,
  addInvert,
  addInterpolate,
  addFuse,
  addEdit,
  addUpscale,
  addNoise,
  addEval,
  addSchedule,
  addEncode,
  addDecode,
  addForward,
  addInspect,
  addConvert,
  addDoctor,
  addTune,
  addBench,
];

/** @throws UsageError for a word without a letter, as an unset variable of a shell leaves: it would name the folder, or nothing */
function checkWords(command: Command): void {
  const isEmpty = (word: unknown) => typeof word === "string" && word.trim() === "";
  for (const option of command.options) {
    const name = option.attributeName();
    if (isEmpty(command.getOptionValue(name))) throw new UsageError(name, `${option.long} is empty`);
  }
  if (command.args.some(isEmpty)) throw new UsageError(command.name(), `an argument of ${command.name()} is empty`);
}

/** @param onVerbose - called before a command that was asked to be verbose */
export function createProgram(io: Io, onVerbose: () => void): Command {
  const program = new Command("ddim")
    .description("DDIM sampling on WebGPU: noise becomes images.")
    .version(packageVersion(), "-V, --version")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      getOutHelpWidth: () => io.stdout.columns ?? 100,
      getErrHelpWidth: () => io.stderr.columns ?? 100,
      // Reported with all other errors, by run().
      outputError: () => {},
    })
    .hook("preAction", (_program, command) => {
      if (command.opts().verbose) onVerbose();
      checkWords(command);
    })
    .addHelpText("after", "\nExample:\n  $ ddim sample -n 16 --grid -o faces.png")
    .addHelpText(
      "after",
      `\nWhere it is not installed:\n  $ npx ddim-webgpu inspect FOLDER\n  $ ${WITH_GPU} sample -n 16`,
    );
  for (const add of commands) add(program, io);
  return program;
}
