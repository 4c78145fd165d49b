/**
 * A strict JSON reader (RFC 8259). The platform's `JSON.parse` keeps the last of two equal keys in silence, reads `1.0`
 * as the integer 1, and tells the position of a mistake on some engines only; a checkpoint's files need all three. Python
 * moreover writes numbers into configurations that JSON has not (`json.dumps` with its default `allow_nan`).
 */

import { FileError } from "../runtime/errors.ts";
import { checkPath, label } from "./path.ts";
import { type ModelSource, tooLong } from "./source.ts";

/** Nesting that the reference implementation of safetensors allows (serde_json's recursion limit). */
const MAX_DEPTH = 127;

const ESCAPES: Record<string, string> = {
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};

const WORDS: readonly (readonly [word: string, value: unknown])[] = [
  ["true", true],
  ["false", false],
  ["null", null],
];
const PYTHON_WORDS = [...WORDS, ["NaN", Number.NaN], ["Infinity", Infinity], ["-Infinity", -Infinity]] as const;

export interface JsonOptions {
  /** Numbers that are not written as plain non-negative integers stay text: "1.0" cannot pass for a dimension. */
  readonly integers?: boolean;
  /** `NaN`, `Infinity` and `-Infinity` are numbers, as Python writes and reads them. */
  readonly nonFinite?: boolean;
  /** Most members of an object, and most values of any kind in the text. */
  readonly maxMembers?: number;
  readonly maxValues?: number;
}

/**
 * Parses JSON text. Differs from `JSON.parse` in refusing two equal keys in an object, escapes of lone surrogates and
 * nesting beyond 127 levels. Takes time in proportion to the text.
 *
 * @param file - for messages
 * @throws FileError naming the file and the line and column of the first mistake.
 */
export function parseJson(file: string, text: string, options: JsonOptions = {}): unknown {
  const { integers, nonFinite, maxMembers = Infinity, maxValues = Infinity } = options;
  let at = 0;
  let values = 0;

  function fail(problem: string, position = at): never {
    let [line, begin] = [1, 0];
    for (let end = text.indexOf("\n"); end >= 0 && end < position; end = text.indexOf("\n", begin)) {
      line++;
      begin = end + 1;
    }
    throw new FileError(file, `is not valid JSON (line ${line}, column ${position - begin + 1}: ${problem})`);
  }

  function skipSpace(): void {
    for (; at < text.length; at++) {
      const c = text.charCodeAt(at);
      if (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09) return;
    }
  }

  function expect(wanted: string): void {
    skipSpace();
    if (text[at] !== wanted) fail(at < text.length ? `expected ${wanted}` : "the text ends too early");
    at++;
  }

  /** After a value in an object or array: true when a comma says that there is another. */
  function another(close: string): boolean {
    skipSpace();
    if (text[at] === ",") {
      at++;
      return true;
    }
    if (text[at] !== close) fail(at < text.length ? `expected , or ${close}` : "the text ends too early");
    at++;
    return false;
  }

  function parseValue(depth: number): unknown {
    skipSpace();
    const c = text[at];
    if (depth > MAX_DEPTH) fail(`nested deeper than ${MAX_DEPTH} levels`);
    if (++values > maxValues) throw new FileError(file, `holds more than ${maxValues} values`);
    if (c === "{") return parseObject(depth);
    if (c === "[") return parseArray(depth);
    if (c === '"') return parseString();
    for (const [word, value] of nonFinite ? PYTHON_WORDS : WORDS)
      if (text.startsWith(word, at)) {
        at += word.length;
        return value;
      }
    return parseNumber();
  }

  function parseObject(depth: number): Record<string, unknown> {
    const object: Record<string, unknown> = {};
    let members = 0;
    at++;
    skipSpace();
    if (text[at] === "}") {
      at++;
      return object;
    }
    do {
      skipSpace();
      const start = at;
      if (text[at] !== '"') fail(at < text.length ? "expected a key in quotes" : "the text ends too early");
      const key = parseString();
      if (Object.hasOwn(object, key)) fail(`the key ${JSON.stringify(key)} appears twice`, start);
      if (++members > maxMembers) throw new FileError(file, `has more than ${maxMembers} entries`);
      expect(":");
      const value = parseValue(depth + 1);
      if (key !== "__proto__") object[key] = value;
      // Not by assignment, which would give the object another prototype.
      else Object.defineProperty(object, key, { value, configurable: true, enumerable: true, writable: true });
    } while (another("}"));
    return object;
  }

  function parseArray(depth: number): unknown[] {
    const array: unknown[] = [];
    at++;
    skipSpace();
    if (text[at] === "]") {
      at++;
      return array;
    }
    do array.push(parseValue(depth + 1));
    while (another("]"));
    return array;
  }

  function parseString(): string {
    const opening = at++;
    let out = "";
    let from = at;
    for (; ; at++) {
      const c = text.charCodeAt(at);
      if (c === 0x22) break;
      if (c === 0x5c) {
        out += text.slice(from, at) + parseEscape();
        from = at + 1;
      } else if (Number.isNaN(c)) fail("a string has no closing quote", opening);
      else if (c < 0x20) fail("a control character in a string");
    }
    out += text.slice(from, at++);
    if (/\p{Surrogate}/u.test(out)) fail("half of a surrogate pair in a string", opening);
    return out;
  }

  /** At a backslash; leaves `at` on the escape's last character. */
  function parseEscape(): string {
    const c = text[++at] ?? "";
    if (c === "u") {
      const digits = text.slice(at + 1, at + 5);
      if (!/^[0-9A-Fa-f]{4}$/.test(digits)) fail("expected four hexadecimal digits after \\u");
      at += 4;
      return String.fromCharCode(Number.parseInt(digits, 16));
    }
    return ESCAPES[c] ?? fail("an unknown escape in a string");
  }

  const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
  function parseNumber(): number | string {
    number.lastIndex = at;
    const match = number.exec(text)?.[0];
    if (match === undefined) fail(at < text.length ? "expected a value" : "the text ends too early");
    at += match.length;
    return integers && !/^\d+$/.test(match) ? match : Number(match);
  }

  const value = parseValue(0);
  skipSpace();
  if (at < text.length) fail("expected nothing more");
  return value;
}

/** @throws FileError when the bytes are not UTF-8. */
export function decodeUtf8(file: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new FileError(file, "is not UTF-8 text", { cause });
  }
}

/** Configurations and indexes of real models have less than 1 MiB. */
export const MAX_TEXT_BYTES = 4 * 2 ** 20;

/** Reads a configuration's or an index's text. @throws FileError when it is not UTF-8, or longer than 4 MiB */
export async function readText(source: ModelSource, path: string, signal?: AbortSignal): Promise<string> {
  const file = label(source, path);
  const bytes = await source.read(checkPath(source, path), undefined, signal, MAX_TEXT_BYTES);
  if (bytes.byteLength > MAX_TEXT_BYTES) throw tooLong(file, MAX_TEXT_BYTES);
  return decodeUtf8(file, bytes);
}

/**
 * Reads a file that holds one JSON object.
 *
 * @throws FileError naming the file, and where in it the mistake is.
 */
export async function readJson(
  source: ModelSource,
  path: string,
  signal?: AbortSignal,
  options?: JsonOptions,
): Promise<Record<string, unknown>> {
  const file = label(source, path);
  const value = parseJson(file, await readText(source, path, signal), options);
  if (!isObject(value)) throw new FileError(file, "must hold a JSON object");
  return value;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
