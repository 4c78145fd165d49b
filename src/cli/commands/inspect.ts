/** `ddim inspect`: what a model, a picture or a safetensors file holds. */
import { open } from "node:fs/promises";
import type { Command } from "commander";
import { FileError, UsageError } from "../../runtime/errors.ts";
import { ALL_FLAGS, addCommonFlags, type CommonFlags, DEVICE_FLAGS, MODEL_FLAGS, refuseFlags } from "../flags.ts";
import { inspectModel } from "../inspect/model.ts";
import { inspectPng } from "../inspect/png.ts";
import { inspectSafetensors } from "../inspect/safetensors.ts";
import { type Io, Terminal } from "../io.ts";
import { pathKind } from "../paths.ts";

/** The first bytes of a PNG file. */
const PNG = [0x89, 0x50, 0x4e, 0x47];

export function addInspect(program: Command, io: Io): void {
  const command = program
    .command("inspect")
    .argument("[path]", "a model's folder or its name in weights/, a PNG file, or a safetensors file")
    .summary("what a model, picture or safetensors file holds")
    .description(
      "Model (default: the one of -m): layers, parameters, memory plan, warnings. " +
        "PNG: the parameters it was made with. Safetensors: table of tensors.",
    )
    .addHelpText("after", "\nExamples:\n  $ ddim inspect out.png\n  $ ddim inspect crawl-tiles-32 --json");
  addCommonFlags(command, ALL_FLAGS);
  command.action((path: string | undefined, flags: CommonFlags) => inspect(path, flags, command, io));
}

async function inspect(path: string | undefined, flags: CommonFlags, command: Command, io: Io): Promise<void> {
  const terminal = new Terminal(io, flags);
  if (path !== undefined && flags.model !== undefined)
    throw new UsageError("model", `-m ${flags.model}: a path is given too, ${path}; one of them is enough`);
  const given = path ?? flags.model;
  const kind = given === undefined ? "folder" : pathKind(given);
  if (given === undefined || kind === "folder" || (!kind && !/\.(png|safetensors)$/i.test(given)))
    return inspectModel(terminal, given, flags);
  refuseFlags(command, [...MODEL_FLAGS.slice(1), ...DEVICE_FLAGS], `${given} is no model`);
  const head = await firstBytes(given);
  if (/\.png$/i.test(given) || PNG.every((byte, i) => head[i] === byte)) return inspectPng(terminal, given, flags);
  if (/\.safetensors$/i.test(given)) return inspectSafetensors(terminal, given, flags);
  throw new FileError(given, "is neither a folder nor a PNG or .safetensors file");
}

async function firstBytes(path: string): Promise<Uint8Array> {
  const bytes = new Uint8Array(PNG.length);
  try {
    const file = await open(path);
    try {
      await file.read(bytes);
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new FileError(path, `cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
  return bytes;
}
