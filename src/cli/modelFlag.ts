/**
 * What `-m` means: a folder or one file of weights as it is, or the bare name of a model in a `weights` folder, here or in
 * the package.
 */
import { realpathSync } from "node:fs";
import { basename, dirname, join, sep } from "node:path";
import { toNodeSource } from "../node/folder.ts";
import { openModel } from "../node/model.ts";
import type { Model, OpenOptions } from "../pipeline/model.ts";
import { FileError } from "../runtime/errors.ts";
import { isWeights } from "../weights/locate.ts";
import type { ModelSource } from "../weights/source.ts";
import type { ModelFlags } from "./flags.ts";
import type { Terminal } from "./io.ts";
import { packageRoot } from "./package.ts";
import { isFolder, pathKind } from "./paths.ts";

export const DEFAULT_MODEL = "pixel-avatars-16";

/**
 * The folder of a model, or its one file.
 * @param given - the flag's value; without it the model that comes with the package
 * @throws FileError when there is neither.
 */
export function findModel(given: string | undefined): string {
  const shipped = join(packageRoot(), "weights");
  if (given === undefined) return join(shipped, DEFAULT_MODEL);
  const bare = !given.includes("/") && !given.includes(sep) && given !== "." && given !== "..";
  const candidates = bare ? [given, join("weights", given), join(shipped, given)] : [given];
  const found = candidates.find((path) => isFolder(path)) ?? candidates.find((path) => pathKind(path) !== undefined);
  if (found !== undefined) return found;
  throw new FileError(
    given,
    `there is no such ${isWeights(given) ? "file" : "folder"}${bare ? ", here or in weights/" : ""}`,
  );
}

/** The value of `-m` that finds the same model again: for the package's own, one that works in every folder. */
export function modelArgument(given: string | undefined): string {
  const folder = realpathSync(findModel(given));
  const own = dirname(folder) === realpathSync(join(packageRoot(), "weights"));
  return given === undefined || own ? basename(folder) : given;
}

/** The files of the model of `-m`, with the configuration of `--config`. @throws FileError */
export function modelSource({ model, config }: Pick<ModelFlags, "model" | "config">): ModelSource {
  return toNodeSource(findModel(model), { config });
}

/** What `--ignore-unknown` says to the library. */
export const unknownOf = ({ ignoreUnknown }: ModelFlags): "warn" | undefined => (ignoreUnknown ? "warn" : undefined);

/**
 * The model of `-m`, with the weights that `--weights` chooses or, by `--random-weights`, with made-up ones. Says on stderr
 * what was assumed and passed over.
 */
export async function openFlaggedModel(
  terminal: Terminal,
  flags: ModelFlags,
  { firstStage }: Pick<OpenOptions, "firstStage"> = {},
): Promise<Model> {
  const { weights, variant, randomWeights } = flags;
  const unknown = unknownOf(flags);
  const { signal } = terminal.io;
  const model = await openModel(modelSource(flags), { signal, weights, variant, randomWeights, unknown, firstStage });
  terminal.warn(model.warnings);
  return model;
}
