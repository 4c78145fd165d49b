/** Reading the parts of the originals' configurations. */

import { ConfigError } from "../runtime/errors.ts";
import { isObject } from "../weights/json.ts";
import { ConfigReader } from "./configReader.ts";

/** A reader of one section of a file; `path` names it in errors. @throws ConfigError when it is not there */
export function section(json: unknown, file: string, path: string): ConfigReader {
  if (!isObject(json))
    throw new ConfigError(file, path, json === undefined ? "is missing" : "must hold keys and values");
  return new ConfigReader(json, `${file}: ${path}`);
}

const isCount = (v: unknown): v is number => Number.isInteger(v) && (v as number) >= 1;

export const listOfCounts = (r: ConfigReader, key: string, fallback: readonly number[]): readonly number[] =>
  r.list<number>(key, fallback, isCount, "whole numbers from 1");

/** A count without default. */
export function needed(r: ConfigReader, key: string): number {
  if (r.get(key) === undefined) r.fail(key, "is missing");
  return r.count(key, 1);
}

/** A list that may be empty. */
export function countsOrNone(r: ConfigReader, key: string, fallback: readonly number[]): readonly number[] {
  const value = r.get(key) ?? fallback;
  if (!Array.isArray(value) || !value.every(isCount))
    r.fail(key, `expected a list of whole numbers from 1, got ${JSON.stringify(value)}`);
  return value;
}

/** Numbers between commas, as flags of scripts have them; "" gives none. */
export function numbersOf(r: ConfigReader, key: string, fallback: string): readonly number[] {
  const text = r.get(key) ?? fallback;
  const values = String(text).trim() === "" ? [] : String(text).split(",").map(Number);
  if ((typeof text !== "string" && typeof text !== "number") || !values.every((v) => Number.isFinite(v) && v > 0))
    r.fail(key, `expected numbers between commas, got ${JSON.stringify(text)}`);
  return values;
}

/** A count, or the -1 that stands for "not given". */
export function countOrUnset(r: ConfigReader, key: string): number | null {
  const value = r.get(key) ?? -1;
  if (value === -1) return null;
  if (!isCount(value)) r.fail(key, `expected -1 or a whole number from 1, got ${JSON.stringify(value)}`);
  return value;
}
