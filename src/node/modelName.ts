/** What the name of a model means, for `loadPipeline` and for `-m`. */
import { type Stats, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { FileError, UsageError } from "../runtime/errors.ts";
import { isConfig } from "../weights/config.ts";
import { type HubId, hubPage, parseHubId } from "../weights/hub.ts";
import { isWeights } from "../weights/locate.ts";
import { checkNamed, isShipped, SHIPPED, type ShippedName } from "../weights/shippedNames.ts";
import { readFailure } from "../weights/source.ts";
import { packageRoot } from "./packageRoot.ts";

/**
 * A folder or one file of weights on disk, the same on a web server, one of this package's models that is not on this disk, or
 * a repository of the Hugging Face Hub.
 */
export type ModelPlace =
  | { readonly kind: "disk"; readonly path: string }
  | { readonly kind: "shipped"; readonly name: ShippedName }
  | { readonly kind: "web"; readonly url: URL }
  | { readonly kind: "hub"; readonly id: HubId };

/** What lies at a path, if anything does. @throws FileError where that cannot be told, such as for a name that is too long */
export function statsAt(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    throw readFailure(path, error);
  }
}

/** What else a bare name may be, and what else is taken. */
const FORMS = `the package's models are ${SHIPPED.join(" and ")}, others are named by a folder, a file of weights, a URL, or org/name of the Hugging Face Hub`;

/** Whether a text could be a path only. */
const isBare = (name: string) => !/[/\\]/.test(name) && name !== "." && name !== "..";

/**
 * In this order: a web address, of which that of a model's page on huggingface.co is its id; a path (or `file:` URL) where
 * something is; for a bare name the `weights` folder here, then this package's; a model of the package that is not on this
 * disk; an id of the Hugging Face Hub. What is on disk goes before an id of the same name: `org/name@main` is the id whatever
 * is there.
 * @throws FileError where the name can be none of these; UsageError for an address that is none, or no name
 */
export function placeOfModel(name: string | URL): ModelPlace {
  checkNamed(name);
  const url = urlOf(name);
  if (url) {
    const path = pathOf(url);
    const id = hubPage(url);
    return path !== undefined ? onDisk(path) : id ? { kind: "hub", id } : { kind: "web", url };
  }
  const text = String(name);
  const candidates = isBare(text) ? [text, join("weights", text), join(packageRoot(), "weights", text)] : [text];
  const there = candidates.map((path) => ({ path, stats: statsAt(path) })).filter(({ stats }) => stats);
  const found = there.find(({ stats }) => stats?.isDirectory()) ?? there[0];
  if (found) return onDisk(found.path);
  if (isShipped(text)) return { kind: "shipped", name: text };
  const isFile = isWeights(text) || isConfig(basename(text));
  const id = isFile ? undefined : parseHubId(text);
  if (id) return { kind: "hub", id };
  const where = isBare(text) ? ", here or in weights/" : "";
  const others = isFile ? "" : isBare(text) ? `; ${FORMS}` : meant(text);
  throw new FileError(text, `there is no such ${isFile ? "file" : "folder"}${where}${others}`);
}

/** What a text was perhaps meant as that is neither an address nor an id, but nearly. */
function meant(text: string): string {
  if (/^(?:[a-z][a-z\d+.-]+:\/\/|https?:|file:)/i.test(text))
    return "; addresses begin with https://, http:// or file://";
  if (/^[\w.]+\/[^/\\]/.test(text) && URL.canParse(`https://${text}`) && hubPage(new URL(`https://${text}`)))
    return `; that page's address is https://${text}`;
  const isNearlyId = /^[^./\\][^/\\]*\/[^/\\]*(?:\/|@.*)?$/.test(text);
  return isNearlyId ? "; an id of the Hugging Face Hub is org/name, or org/name@revision" : "";
}

/** A configuration stands for its folder. */
const onDisk = (path: string): ModelPlace => ({
  kind: "disk",
  path: isConfig(basename(path)) && statsAt(path)?.isFile() ? dirname(path) : path,
});

/** A `file:` or web address; undefined for a text that is none. @throws UsageError where it cannot be read as one */
export function urlOf(name: unknown): URL | undefined {
  if (name instanceof URL) return name;
  if (typeof name !== "string" || !/^(https?|file):\/\//i.test(name)) return undefined;
  try {
    return new URL(name);
  } catch {
    throw new UsageError("source", `${withoutQuery(name)} is not a URL`);
  }
}

/** The path of a `file:` URL; undefined for one of the web. @throws UsageError for one of another machine */
export function pathOf(url: URL): string | undefined {
  if (url.protocol !== "file:") return undefined;
  try {
    return fileURLToPath(url);
  } catch {
    throw new UsageError("source", `${withoutQuery(url.href)} is no path on this machine`);
  }
}

const withoutQuery = (address: string) => address.replace(/[?#].*/s, "");
