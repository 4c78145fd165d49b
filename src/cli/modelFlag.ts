/** The model of `-m`, which takes whatever `loadPipeline` does: `src/node/modelName.ts` says what a name means. */
import { realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { openModel } from "../node/model.ts";
import { placeOfModel } from "../node/modelName.ts";
import { packageRoot } from "../node/packageRoot.ts";
import { toNodeSource } from "../node/source.ts";
import type { Model, OpenOptions } from "../pipeline/model.ts";
import type { ModelSource } from "../weights/source.ts";
import type { ModelFlags } from "./flags.ts";
import type { Terminal } from "./io.ts";

export const DEFAULT_MODEL = "pixel-avatars-16";

/** The flag's value; without it the package's own model, whatever lies here by that name. */
const named = (given: string | undefined): string => given ?? join(packageRoot(), "weights", DEFAULT_MODEL);

/** The value of `-m` that finds the same model again: for the package's own, one that works in every folder. */
export function modelArgument(given: string | undefined): string {
  const place = placeOfModel(named(given));
  if (place.kind !== "disk") return named(given);
  const path = realpathSync(place.path);
  const own = dirname(path) === realpathSync(join(packageRoot(), "weights"));
  return given === undefined || own ? basename(path) : given;
}

/** The files of the model of `-m`, with the configuration of `--config`. @throws FileError */
export const modelSource = ({ model, config }: Pick<ModelFlags, "model" | "config">): ModelSource =>
  toNodeSource(named(model), { config });

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
