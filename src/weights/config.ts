/** A network's configuration file: JSON, or YAML where the caller brings a reader for it. */
import { FileError } from "../runtime/errors.ts";
import { decodeUtf8, isObject, readJson } from "./json.ts";
import { checkPath, joinPath, label } from "./path.ts";
import type { ModelSource } from "./source.ts";

/** What a YAML text says, as JSON would. The core brings no reader of its own; ddim-webgpu/node does. */
export type ParseYaml = (text: string) => unknown | Promise<unknown>;

export const CONFIG_NAMES = ["config.json", "config.yaml", "config.yml"];

/** The first of the usual names in a folder; undefined where there is none. */
export async function findConfig(
  source: ModelSource,
  folder: string,
  signal?: AbortSignal,
): Promise<string | undefined> {
  for (const name of CONFIG_NAMES) {
    const path = joinPath(folder, name);
    if (await source.exists(path, signal)) return path;
  }
  return undefined;
}

/** @throws FileError naming the file, when it holds no keys and values, or is YAML that nothing here reads */
export async function readConfig(
  source: ModelSource,
  path: string,
  options: { parseYaml?: ParseYaml; signal?: AbortSignal } = {},
): Promise<Record<string, unknown>> {
  const { parseYaml, signal } = options;
  if (path.endsWith(".json")) return readJson(source, path, signal);
  const file = label(source, path);
  if (!parseYaml)
    throw new FileError(
      file,
      "is YAML, which only ddim-webgpu/node reads by itself: pass parseYaml, or save it as config.json",
    );
  const text = decodeUtf8(file, await source.read(checkPath(source, path), undefined, signal));
  let value: unknown;
  try {
    value = await parseYaml(text);
  } catch (cause) {
    throw new FileError(file, `is not YAML: ${(cause as Error).message.split("\n")[0]}`, { cause });
  }
  if (!isObject(value)) throw new FileError(file, "must hold keys and values");
  return value;
}
