/** Where in a model the parts of a pipeline are: diffusers' folders, flat folders, or the folder of one network. */

import { FileError } from "../runtime/errors.ts";
import { findConfig, readConfig } from "./config.ts";
import { joinPath, label } from "./path.ts";
import { configsOf } from "./single.ts";
import type { ModelSource } from "./source.ts";

/**
 * The folder of a component such as `unet`: `unet/` in a pipeline, or "" where its `config.json` (or `config.yaml`) lies
 * at the root, as in flat checkpoints, in the originals' layouts and when the component's own folder was opened.
 *
 * @throws FileError when there is neither.
 */
export async function findComponent(source: ModelSource, name: string, signal?: AbortSignal): Promise<string> {
  for (const folder of [name, ""]) if ((await findConfig(source, folder, signal)) !== undefined) return folder;
  if (source.weights !== undefined)
    throw new FileError(
      label(source, source.weights),
      `has no configuration beside it: neither ${configsOf(source.weights, source.remote).join(" nor ")}; --config FILE (config in the library) names one`,
    );
  const refusal = source.refusal?.();
  throw new FileError(
    label(source, "") || "the model",
    `has neither ${name}/config.json nor config.json or config.yaml${refusal ? ` (${refusal} every time: the address may need a token)` : ""}${source.advice ?? ""}`,
  );
}

/**
 * Where a server has the scheduler's configuration: beside the network's folder, of the parts that `model_index.json`
 * lists, or where everything lies in one folder.
 */
export function schedulerFolders(
  network: string,
  index: Readonly<Record<string, unknown>> | undefined,
): readonly string[] {
  if (network === "") return [""];
  if (!index) return SCHEDULER_FOLDERS;
  return "scheduler" in index ? ["scheduler"] : [];
}

const SCHEDULER_FOLDERS: readonly string[] = ["scheduler", ""];

/** The scheduler's configuration, in the first of some folders; undefined where there is none. */
export async function readSchedulerConfig(
  source: ModelSource,
  signal?: AbortSignal,
  folders: readonly string[] = SCHEDULER_FOLDERS,
): Promise<{ file: string; config: Record<string, unknown> } | undefined> {
  for (const folder of folders) {
    const path = joinPath(folder, "scheduler_config.json");
    if (await source.exists(path, signal))
      return { file: label(source, path), config: await readConfig(source, path, { signal }) };
  }
  return undefined;
}

/** `model_index.json`, which says what kind of pipeline a folder is; undefined where there is none. */
export async function readModelIndex(
  source: ModelSource,
  signal?: AbortSignal,
): Promise<Record<string, unknown> | undefined> {
  const path = "model_index.json";
  return (await source.exists(path, signal)) ? readConfig(source, path, { signal }) : undefined;
}
