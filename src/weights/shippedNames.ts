/** The models that the package knows by name, and what else may name one. */

import { UsageError } from "../runtime/errors.ts";
import { isConfig } from "./config.ts";
import { isWeights } from "./locate.ts";

/** The first comes with the package; the other lies in its repository. */
export const SHIPPED = ["pixel-avatars-16", "crawl-tiles-32"] as const;
export type ShippedName = (typeof SHIPPED)[number];

/** Of package.json: which state of the repository the names mean. */
export const VERSION = "0.1.0";

export const isShipped = (name: unknown): name is ShippedName => (SHIPPED as readonly unknown[]).includes(name);

/** Whether a text is a name alone: no path, address, or file of a model. */
export const isBareName = (text: string): boolean =>
  !/[/\\:?#]|^\.*$/.test(text) && !isWeights(text) && !isConfig(text);

/** @throws UsageError for a name without a letter, which would mean the folder that it is looked for in */
export function checkNamed(model: unknown): void {
  if (typeof model === "string" && model.trim() === "") throw new UsageError("source", "the model's name is empty");
}

/** @param forms - that a model's place may have here */
export const unknownName = (name: string, forms: string): UsageError =>
  new UsageError("source", `${name} is no model that comes with this package (${SHIPPED.join(", ")}): give ${forms}`);
