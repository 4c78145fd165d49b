/** Models on the web, and what pages keep of them. */

import { UsageError } from "../runtime/errors.ts";
import { shown, toConsole } from "../runtime/printable.ts";
import { fileAddress } from "./hub.ts";
import type { Fetch } from "./requests.ts";
import { isPage } from "./requests.ts";
import { isShipped, VERSION } from "./shippedNames.ts";
import { lazySource, type ModelSource } from "./source.ts";
import { urlSource } from "./url.ts";

export interface WebOptions {
  readonly fetch?: Fetch;
  /**
   * In pages and their workers: whether what is downloaded is kept in the browser's storage, by the model's address, until it
   * is removed, so that the next load makes no request (true, the default); or "reload": downloaded anew, and kept.
   */
  readonly cache?: boolean | "reload";
  /** Hears why nothing can be kept; default: `console.warn`. */
  readonly onWarning?: (text: string) => void;
}

/** What a page keeps a model by. */
export function keptAs(model: string | URL): string {
  if (isShipped(model)) return `${model}@${VERSION}`;
  const url = new URL(fileAddress(new URL(model, globalThis.location?.href)));
  url.hash = "";
  url.pathname = url.pathname.replace(/\/+$/, "");
  return url.href;
}

/** @throws UsageError for a value of the option that it does not have */
export function checkCache({ cache = true }: WebOptions): void {
  if (cache !== true && cache !== false && cache !== "reload")
    throw new UsageError("cache", `cache must be true, false or "reload", got ${shown(cache)}`);
}

/** A source below a folder's URL. @param model - that it is read for: the folder, a file in it, or one of the package's names */
export function webSource(url: URL, model: string | URL, options: WebOptions): ModelSource {
  const { fetch, cache = true, onWarning = toConsole } = options;
  const plain = urlSource(url, { fetch });
  if (cache === false || !isPage()) return plain;
  return lazySource(plain.name, async () => {
    const { keptSource } = await import("./kept.ts");
    return keptSource(url, keptAs(model), { fetch, reload: cache === "reload", onWarning });
  });
}

/** What pages keep of the models that they loaded by URL or by name. Elsewhere there is nothing. */
export const modelCache = {
  /** Bytes of all that is kept. */
  async size(): Promise<number> {
    return isPage() ? (await import("./kept.ts")).keptBytes() : 0;
  },
  /**
   * Removes what is kept of a model, by what `loadPipeline` was given, or of all.
   * @throws UsageError for what names no model: it was hardly meant to remove all
   */
  async clear(...given: [] | [model: string | URL]): Promise<void> {
    const [model] = given;
    const base = globalThis.location?.href ?? "http://localhost";
    const isName =
      model instanceof URL || (typeof model === "string" && model.trim() !== "" && URL.canParse(model, base));
    if (given.length > 0 && !isName)
      throw new UsageError("model", `modelCache.clear takes a model's name or URL, or nothing, got ${shown(model)}`);
    if (isPage()) await (await import("./kept.ts")).forget(model === undefined ? undefined : keptAs(model));
  },
};
