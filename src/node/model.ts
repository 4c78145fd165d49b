/** Opening models where YAML can be read, the format of the originals' configurations. */
import {
  type AutoencoderModel,
  type OpenAutoencoderOptions,
  openAutoencoder as openAutoencoderWith,
} from "../autoencoder/open.ts";
import { type Model, type OpenOptions, openModel as openWith } from "../pipeline/model.ts";
import { openScheduler as openSchedulerWith } from "../pipeline/scheduler.ts";
import type { ModelSource } from "../weights/source.ts";

/** Configurations have hardly any; the package looks for each in the whole text. */
const MAX_ALIASES = 100;

/** A YAML text as plain objects. @throws Error whose message says what is wrong, and in which line */
export async function parseYaml(text: string): Promise<unknown> {
  const { LineCounter, isScalar, parseDocument, visit } = await import("yaml");
  const lines = new LineCounter();
  const fail = (problem: string, at = 0): never => {
    const { line, col } = lines.linePos(at);
    throw new Error(`line ${line}, column ${col}: ${problem}`);
  };
  // The package compares every key with every other, and quotes the text around every mistake.
  const document = parseDocument(text, {
    uniqueKeys: false,
    prettyErrors: false,
    logLevel: "error",
    lineCounter: lines,
  });
  const [mistake] = document.errors;
  if (mistake) fail(mistake.message, mistake.pos[0]);
  let aliases = 0;
  visit(document, {
    Alias(_, { range }) {
      if (++aliases > MAX_ALIASES) fail(`more than ${MAX_ALIASES} aliases`, range?.[0]);
    },
    Map(_, map) {
      const keys = new Set<unknown>();
      for (const { key } of map.items) {
        if (!isScalar(key)) continue;
        if (keys.has(key.value)) fail(`the key ${JSON.stringify(key.value)} appears twice`, key.range?.[0]);
        keys.add(key.value);
      }
    },
  });
  return document.toJS({ maxAliasCount: -1 });
}

/** The core's `openModel`, with a reader of YAML. */
export const openModel = (source: ModelSource, options: OpenOptions = {}): Promise<Model> =>
  openWith(source, { parseYaml, ...options });

/** The core's `openScheduler`, with a reader of YAML. */
export const openScheduler: typeof openSchedulerWith = (source, options = {}) =>
  openSchedulerWith(source, { parseYaml, ...options });

/** The core's `openAutoencoder`, with a reader of YAML. */
export const openAutoencoder = (source: ModelSource, options: OpenAutoencoderOptions = {}): Promise<AutoencoderModel> =>
  openAutoencoderWith(source, { parseYaml, ...options });
