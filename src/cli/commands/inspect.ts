/** `ddim inspect`: what a model, a picture or a safetensors file holds. */
import { basename } from "node:path";
import type { Command } from "commander";
import { pictureKind } from "../../image/header.ts";
import { readAt, withFile } from "../../node/file.ts";
import { urlOf } from "../../node/modelName.ts";
import { FileError, UsageError } from "../../runtime/errors.ts";
import { isConfig } from "../../weights/config.ts";
import { isWeights } from "../../weights/locate.ts";
import { addCommonFlags, DEVICE_FLAGS, LOAD_FLAGS, type LoadFlags, MODEL_FLAGS, refuseFlags } from "../flags.ts";
import { inspectModel } from "../inspect/model.ts";
import { inspectPicture } from "../inspect/picture.ts";
import { inspectTensors } from "../inspect/tensors.ts";
import { type Io, Terminal } from "../io.ts";
import { pathKind } from "../paths.ts";

/** The ending of a picture's name. */
const PICTURE = /\.(png|jpe?g|webp)$/i;

export function addInspect(program: Command, io: Io): void {
  const command = program
    .command("inspect")
    .argument("[path]", "a model as -m takes it, a PNG, JPEG or WebP file, or a file of weights")
    .summary("what a model, picture or file of weights holds")
    .description(
      "Model (default: the one of -m): layers, parameters, memory plan, warnings. " +
        "PNG: its size and the parameters it was made with. JPEG, WebP: their size. Safetensors, PyTorch's pickles: table " +
        "of tensors; with -m, or with --config, a model.",
    )
    .addHelpText("after", "\nExamples:\n  $ ddim inspect out.png\n  $ ddim inspect crawl-tiles-32 --json");
  addCommonFlags(command, LOAD_FLAGS);
  command.action((path: string | undefined, flags: LoadFlags) => inspect(path, flags, command, io));
}

async function inspect(path: string | undefined, flags: LoadFlags, command: Command, io: Io): Promise<void> {
  const terminal = new Terminal(io, flags);
  if (path !== undefined && flags.model !== undefined)
    throw new UsageError("model", `-m ${flags.model}: a path is given too, ${path}; one of them is enough`);
  const given = path ?? flags.model;
  const kind = given === undefined ? "folder" : pathKind(given);
  const url = given === undefined ? undefined : urlOf(given);
  // A file is a model where it is named as one, else what it holds is listed.
  const named = path === undefined || flags.config !== undefined;
  const isModel = (name: string) => !PICTURE.test(name) && !isWeights(name);
  if (given === undefined || named || kind === "folder" || isConfig(basename(given)))
    return inspectModel(terminal, given, flags);
  if (!kind && isModel(url?.pathname ?? given)) return inspectModel(terminal, given, flags);
  refuseFlags(command, [...MODEL_FLAGS.slice(1), ...DEVICE_FLAGS], `${given} is no model`);
  if (url && isWeights(url.pathname)) return inspectTensors(terminal, given, flags);
  const head = await withFile(given, (handle) => readAt(handle, 0, 12));
  if (PICTURE.test(given) || pictureKind(head))
    return inspectPicture(terminal, given, command.parent as Command, flags);
  if (isWeights(given)) return inspectTensors(terminal, given, flags);
  throw new FileError(
    given,
    "is neither a folder, nor a PNG, JPEG or WebP picture, nor a .safetensors, .ckpt, .pt, .pth or .bin file",
  );
}
