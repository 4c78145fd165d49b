/** A network's configuration file: JSON, or YAML where the caller brings a reader for it. */
import { FileError } from "../runtime/errors.ts";
import { said } from "../runtime/printable.ts";
import { isObject, readJson, readText } from "./json.ts";
import { joinPath, label } from "./path.ts";
import type { ConfigPlace, ModelSource } from "./source.ts";

/** What a YAML text says, as JSON would. The core brings no reader of its own; ddim-webgpu/node does. */
export type ParseYaml = (text: string) => unknown | Promise<unknown>;

export const CONFIG_NAMES = ["config.json", "config.yaml", "config.yml"];

/** Whether a file's name stands for the model whose folder it lies in. */
export const isConfig = (name: string): boolean => name === "model_index.json" || CONFIG_NAMES.includes(name);

/**
 * The configuration of a folder: the first of the usual names that is there, of a server the common ones, or at the root the
 * source's own, where it has one. A file of weights has no other.
 * @returns undefined where there is none
 */
export async function findConfig(
  source: ModelSource,
  folder: string,
  signal?: AbortSignal,
): Promise<ConfigPlace | undefined> {
  if (source.config && folder === "") return source.config(signal);
  if (source.config && source.weights !== undefined) return undefined;
  const common = folder === "" ? 2 : 1;
  for (const name of source.remote ? CONFIG_NAMES.slice(0, common) : CONFIG_NAMES) {
    const path = joinPath(folder, name);
    if (await source.exists(path, signal)) return { source, path };
  }
  return undefined;
}

/** Published ones have a few KiB; readers of YAML take time that grows with the square of the text's length. */
const MAX_YAML = 64 * 1024;

/** Values that aliases may multiply a text to, and how deep they may lie in each other. */
const MAX_VALUES = 100_000;
const MAX_DEPTH = 127;

/** Aliases make one value stand in many places, and even inside of itself. @throws FileError */
function checkAliases(file: string, root: unknown): void {
  const above = new Set<unknown>();
  let values = 0;
  const visit = (value: unknown): void => {
    if (++values > MAX_VALUES) throw new FileError(file, `its aliases make more than ${MAX_VALUES} values of it`);
    if (typeof value !== "object" || value === null) return;
    if (above.has(value)) throw new FileError(file, "an alias stands inside of what it repeats");
    if (above.size >= MAX_DEPTH) throw new FileError(file, `is nested deeper than ${MAX_DEPTH} levels`);
    above.add(value);
    for (const inner of Object.values(value)) visit(inner);
    above.delete(value);
  };
  visit(root);
}

/**
 * Reads a configuration, as Python's programs write them: numbers may be NaN and infinite.
 * @throws FileError naming the file, when it holds no keys and values, or is YAML that nothing here reads
 */
export async function readConfig(
  source: ModelSource,
  path: string,
  options: { parseYaml?: ParseYaml; signal?: AbortSignal } = {},
): Promise<Record<string, unknown>> {
  const { parseYaml, signal } = options;
  if (path.endsWith(".json")) return readJson(source, path, signal, { nonFinite: true });
  const file = label(source, path);
  if (!parseYaml)
    throw new FileError(
      file,
      "is YAML, which only ddim-webgpu/node reads by itself: pass parseYaml, or save it as config.json",
    );
  const text = await readText(source, path, signal);
  if (text.length > MAX_YAML)
    throw new FileError(file, `is over ${MAX_YAML >> 10} KiB, too long for YAML: save it as config.json`);
  let value: unknown;
  try {
    value = await parseYaml(text);
  } catch (cause) {
    const message = said(cause);
    // As engines say that the reader called itself too often.
    const problem = /call stack|recursion/i.test(message) ? "it is nested too deep" : message.split("\n")[0];
    throw new FileError(file, `is not YAML: ${problem}`, { cause });
  }
  if (!isObject(value)) throw new FileError(file, "must hold keys and values");
  checkAliases(file, value);
  return value;
}
