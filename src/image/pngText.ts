/**
 * Text inside PNG files (W3C Portable Network Graphics, section 11.3.3): tEXt holds Latin-1, iTXt UTF-8, zTXt and a flag of
 * iTXt mean compressed. We write tEXt where the text allows it, because every tool reads that, and iTXt elsewhere; we
 * read all three.
 */
import { FileError, UsageError } from "../runtime/errors.ts";
import { checkKind } from "../runtime/options.ts";
import { type PngChunk, readChunks } from "./pngChunks.ts";
import { inflate } from "./zlib.ts";

/**
 * What the texts of a file may take together, as stored and as inflated: parameters are kilobytes, and a small file could
 * claim gigabytes.
 */
export const TEXT_LIMIT = 2 ** 20;

/** Whether chunks of this type hold text. */
export const isText = (type: string): boolean => type === "tEXt" || type === "zTXt" || type === "iTXt";

/** Keywords: 1 to 79 printable Latin-1 characters, no space at either end, nor two together. */
const KEYWORD = /^(?=.{1,79}$)[!-~\u00a1-\u00ff]+( [!-~\u00a1-\u00ff]+)*$/;
/** What tEXt may hold: Latin-1 without control characters except line feeds. */
const LATIN1 = /^[\n -~\u00a0-\u00ff]*$/;

/**
 * Chunks for these texts, in order.
 * @throws UsageError for a keyword that PNG does not allow, or a text with a NUL character.
 */
export function textChunks(text: Record<string, string>): PngChunk[] {
  return Object.entries(text).map(([keyword, value]) => {
    if (!KEYWORD.test(keyword))
      throw new UsageError("text", `PNG does not allow the text keyword ${JSON.stringify(keyword)}`);
    if (value.includes("\0")) throw new UsageError("text", `PNG text "${keyword}" must not hold a NUL character`);
    const head = latin1Bytes(`${keyword}\0`);
    if (LATIN1.test(value)) return { type: "tEXt", data: joined(head, latin1Bytes(value)) };
    // Compression flag and method, then an empty language tag and an empty translated keyword.
    return { type: "iTXt", data: joined(head, Uint8Array.of(0, 0, 0, 0), new TextEncoder().encode(value)) };
  });
}

/**
 * All texts of a PNG file by keyword: tEXt, zTXt and iTXt; of a keyword that occurs twice, the last.
 * @param file The name that errors use.
 * @throws FileError when the bytes are no PNG, are cut off or damaged, or hold a text chunk that is not well formed.
 */
export async function readPngText(bytes: Uint8Array, file = "PNG image"): Promise<Record<string, string>> {
  checkKind("readPngText", "bytes", "a Uint8Array", bytes);
  return textsOf(readChunks(bytes, file), file);
}

/** {@link readPngText} of chunks that were read before. */
export async function textsOf(chunks: readonly PngChunk[], file: string): Promise<Record<string, string>> {
  const texts: [string, string][] = [];
  let left = TEXT_LIMIT;
  for (const { type, data } of chunks) {
    if (!isText(type)) continue;
    try {
      if (data.length > left) throw new Unreadable(TOO_MUCH);
      const { keyword, text, bytes } = await readTextChunk(type, data, left);
      left -= Math.max(bytes, data.length);
      texts.push([keyword, text]);
    } catch (cause) {
      const reason = cause instanceof Unreadable ? cause.message : "it is damaged";
      throw new FileError(file, `has a ${type} chunk that cannot be read (${reason})`, { cause });
    }
  }
  return Object.fromEntries(texts);
}

/** With a reason that is ours to tell. */
class Unreadable extends Error {}

const TOO_MUCH = `the texts of the file take more than ${TEXT_LIMIT} bytes`;

/** @param limit bytes that the text may inflate to */
async function readTextChunk(type: string, data: Uint8Array, limit: number) {
  const [keyword, rest] = upToNul(data);
  const found = (text: string, { length }: Uint8Array) => ({ keyword: latin1(keyword), text, bytes: length });
  if (type === "tEXt") return found(latin1(rest), rest);
  if (type === "zTXt") {
    if (rest[0] !== 0) throw new Unreadable(`unknown compression method ${rest[0]}`);
    const value = await inflated(rest.subarray(1), limit);
    return found(latin1(value), value);
  }
  const [flag, method] = rest;
  if (flag === undefined || flag > 1 || method !== 0)
    throw new Unreadable(`unknown compression method ${flag}, ${method}`);
  const [, afterLanguage] = upToNul(rest.subarray(2));
  const [, value] = upToNul(afterLanguage);
  const utf8 = flag === 1 ? await inflated(value, limit) : value;
  return found(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(utf8), utf8);
}

const inflated = (bytes: Uint8Array, limit: number) =>
  inflate(bytes, limit).catch((cause) => {
    throw cause instanceof RangeError ? new Unreadable(TOO_MUCH) : cause;
  });

function upToNul(data: Uint8Array): [before: Uint8Array, after: Uint8Array] {
  const end = data.indexOf(0);
  if (end < 0) throw new Unreadable("a separator is missing");
  return [data.subarray(0, end), data.subarray(end + 1)];
}

const latin1Bytes = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));

/** Not TextDecoder("latin1"): that label means windows-1252 on the web. */
const latin1 = (bytes: Uint8Array) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");

const joined = (...parts: readonly Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));
