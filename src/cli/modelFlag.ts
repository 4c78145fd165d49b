/** The model of `-m`, which takes whatever `loadPipeline` does: `src/node/modelName.ts` says what a name means. */
import { realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { HubOptions } from "../node/hub/source.ts";
import { openModel } from "../node/model.ts";
import { placeOfModel } from "../node/modelName.ts";
import { packageRoot } from "../node/packageRoot.ts";
import { toNodeSource } from "../node/source.ts";
import type { Model, OpenOptions } from "../pipeline/model.ts";
import type { ModelSource } from "../weights/source.ts";
import type { ModelFlags } from "./flags.ts";
import type { Terminal } from "./io.ts";
import { openProgress } from "./progress.ts";

export const DEFAULT_MODEL = "pixel-avatars-16";

/** The flag's value; without it the package's own model, whatever lies here by that name. */
const named = (given: string | undefined): string => given ?? join(packageRoot(), "weights", DEFAULT_MODEL);

/** What names stood for whose files were opened: a revision becomes a commit then. */
const addresses = new Map<string, string>();

/**
 * The value of `-m` that finds the same model again: for the package's own, one that works in every folder; the path of a
 * `file:` URL; an id with its commit; an address without what may be a secret in it.
 */
export function modelArgument(given: string | undefined): string {
  const place = placeOfModel(named(given));
  if (place.kind !== "disk") return addresses.get(named(given)) ?? withoutSecrets(named(given));
  const path = realpathSync(place.path);
  const own = dirname(path) === realpathSync(join(packageRoot(), "weights"));
  if (given === undefined || own) return basename(path);
  return /^file:/i.test(given) ? place.path : given;
}

/** A web address without its query, user and password, which may open more than a picture is meant to; other texts as they are. */
export function withoutSecrets(text: string): string {
  if (!/^https?:/i.test(text) || !URL.canParse(text)) return text;
  const { origin, pathname } = new URL(text);
  return origin + pathname;
}

/** The files of the model of `-m`, with the configuration of `--config`. @throws FileError */
export const modelSource = (
  { model, config }: Pick<ModelFlags, "model" | "config">,
  options: HubOptions = {},
): ModelSource => toNodeSource(named(model), { ...options, config });

/** Smaller files are there before a bar is seen. */
const SHOWN_BYTES = 2 ** 20;

/** What `open` makes of those files. While one is downloaded from the Hugging Face Hub, then or later, a bar counts its bytes. */
export async function withModelFiles<T>(
  terminal: Terminal,
  flags: Pick<ModelFlags, "model" | "config">,
  open: (source: ModelSource) => Promise<T>,
): Promise<T> {
  const progress = await openProgress(terminal);
  const onDownload = (file: string, loaded: number, total: number) => {
    if (total < SHOWN_BYTES) return;
    progress.show(`${file}, MB`, Math.floor(loaded / 1e6), Math.ceil(total / 1e6));
    if (loaded === total) progress.stop();
  };
  const onWarning = (text: string) => terminal.warn([text]);
  try {
    const source = modelSource(flags, { env: terminal.io.env, onDownload, onWarning });
    const opened = await open(source);
    const address = source.address?.();
    if (address !== undefined) addresses.set(named(flags.model), address);
    return opened;
  } finally {
    progress.stop();
  }
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
  const model = await withModelFiles(terminal, flags, (source) =>
    openModel(source, { signal, weights, variant, randomWeights, unknown, firstStage }),
  );
  terminal.warn(model.warnings);
  return model;
}
