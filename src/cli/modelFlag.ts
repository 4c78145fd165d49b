/** What `-m` means: a folder as it is, or the bare name of a model in a `weights` folder, here or in the package. */
import { realpathSync } from "node:fs";
import { basename, dirname, join, sep } from "node:path";
import { folderSource } from "../node/folder.ts";
import { openModel } from "../node/model.ts";
import type { Model, OpenOptions } from "../pipeline/model.ts";
import { FileError } from "../runtime/errors.ts";
import type { ModelSource } from "../weights/source.ts";
import type { ModelFlags } from "./flags.ts";
import { packageRoot } from "./package.ts";
import { isFolder, pathKind } from "./paths.ts";

export const DEFAULT_MODEL = "pixel-avatars-16";

/**
 * The folder of a model.
 * @param given - the flag's value; without it the model that comes with the package
 * @throws FileError when there is no such folder.
 */
export function findModel(given: string | undefined): string {
  const shipped = join(packageRoot(), "weights");
  if (given === undefined) return join(shipped, DEFAULT_MODEL);
  const bare = !given.includes("/") && !given.includes(sep) && given !== "." && given !== "..";
  const candidates = bare ? [given, join("weights", given), join(shipped, given)] : [given];
  const found = candidates.find((path) => isFolder(path));
  if (found !== undefined) return found;
  if (pathKind(given) === "file") throw new FileError(given, "is not a folder");
  throw new FileError(given, bare ? "there is no such folder, here or in weights/" : "there is no such folder");
}

/** The value of `-m` that finds the same model again: for the package's own, one that works in every folder. */
export function modelArgument(given: string | undefined): string {
  const folder = realpathSync(findModel(given));
  const own = dirname(folder) === realpathSync(join(packageRoot(), "weights"));
  return given === undefined || own ? basename(folder) : given;
}

export function modelSource(given: string | undefined): ModelSource {
  return folderSource(findModel(given));
}

/** The model of `-m`, with the weights that `--weights` chooses or, by `--random-weights`, with made-up ones. */
export function openFlaggedModel(
  flags: ModelFlags,
  signal: AbortSignal,
  { firstStage }: Pick<OpenOptions, "firstStage"> = {},
): Promise<Model> {
  const { weights, variant, randomWeights } = flags;
  return openModel(modelSource(flags.model), { signal, weights, variant, randomWeights, firstStage });
}
