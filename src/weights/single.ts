/** One file of weights as a model, with the configuration that belongs to it or was named for it. */

import { checkKind } from "../runtime/options.ts";
import { CONFIG_NAMES } from "./config.ts";
import { type ConfigPlace, delegating, type ModelSource } from "./source.ts";

/** What may lie beside such a file: the scheduler and, which a server is not asked for, our table of classes. */
const BESIDE = ["scheduler_config.json", "model_index.json"];

/**
 * Names that a file's configuration may have, the preferred first: its own with another ending, then the usual ones. A
 * server is asked for the common ones.
 */
export function configsOf(file: string, remote = false): string[] {
  const stem = file.replace(/\.[^.]*$/, "");
  const names = [...["json", "yaml", "yml"].map((ending) => `${stem}.${ending}`), ...CONFIG_NAMES];
  return [...new Set(names.filter((name) => !remote || !name.endsWith(".yml")))];
}

/**
 * A model of which one file holds the weights. Nothing else of its folder counts but a configuration
 * ({@link configsOf}) and a scheduler's.
 * @param file in `source`, at its root
 */
export function singleFileSource(source: ModelSource, file: string): ModelSource {
  checkKind("singleFileSource", "source", "a source of files", source);
  checkKind("singleFileSource", "file", "a text", file);
  const beside = source.remote ? BESIDE.slice(0, 1) : BESIDE;
  const hidden = (path: string) => path !== file && !beside.includes(path);
  return {
    ...delegating(source),
    weights: file,
    address: source.address && (() => `${source.address!()}/${encodeURIComponent(file)}`),
    async config(signal) {
      for (const path of configsOf(file, source.remote)) if (await source.exists(path, signal)) return { source, path };
      return undefined;
    },
    exists: async (path, signal) => !hidden(path) && source.exists(path, signal),
    list: undefined,
  };
}

/** A model's files with another configuration than its own. */
export function withConfig(source: ModelSource, config: ConfigPlace): ModelSource {
  const keep = async () => void (await Promise.all([source.keep?.(), config.source.keep?.()]));
  return { ...delegating(source), config: async () => config, keep };
}
