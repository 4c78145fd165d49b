/** Reading the parts of the originals' configurations. */

import { ConfigError } from "../runtime/errors.ts";
import { shown, textOf } from "../runtime/printable.ts";
import { isObject } from "../weights/json.ts";
import { ConfigReader, MOST, type UnknownOptions } from "./configReader.ts";
import type { Family } from "./harmlessKeys.ts";

/** A reader of one section of a file; `path` names it in errors. @throws ConfigError when it is not there */
export function section(
  json: unknown,
  file: string,
  path: string,
  family: Family,
  options?: UnknownOptions,
): ConfigReader {
  if (!isObject(json))
    throw new ConfigError(file, path, json === undefined ? "is missing" : "must hold keys and values");
  return new ConfigReader(json, `${file}: ${path}`, family, options);
}

const isCount = (v: unknown): v is number => Number.isInteger(v) && (v as number) >= 1;

/** A count without default. */
export function needed(r: ConfigReader, key: string, most?: number): number {
  if (r.get(key) === undefined) r.fail(key, "is missing");
  return r.count(key, 1, 1, most);
}

/** A list that may be empty. */
export function countsOrNone(r: ConfigReader, key: string, fallback: readonly number[]): readonly number[] {
  const value = r.get(key) ?? fallback;
  if (!Array.isArray(value) || !value.every(isCount))
    r.fail(key, `expected a list of whole numbers from 1, got ${shown(value)}`);
  return value;
}

/** Numbers between commas, as flags of scripts have them; "" gives none. */
export function numbersOf(r: ConfigReader, key: string, fallback: string): readonly number[] {
  const given = r.get(key) ?? fallback;
  const text = textOf(given).trim();
  const values = text === "" ? [] : text.split(",").map(Number);
  if ((typeof given !== "string" && typeof given !== "number") || !values.every((v) => Number.isFinite(v) && v > 0))
    r.fail(key, `expected numbers between commas, got ${shown(given)}`);
  if (values.length > MOST.levels) r.fail(key, `${values.length} entries are beyond the limit of ${MOST.levels}`);
  return values;
}

/** A count, or the -1 that stands for "not given". */
export function countOrUnset(r: ConfigReader, key: string): number | null {
  const value = r.get(key) ?? -1;
  if (value === -1) return null;
  if (!isCount(value)) r.fail(key, `expected -1 or a whole number from 1, got ${shown(value)}`);
  return r.within(key, value, MOST.channels);
}
