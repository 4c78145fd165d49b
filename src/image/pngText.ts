/**
 * Text inside PNG files (W3C Portable Network Graphics, section 11.3.3): tEXt holds Latin-1, iTXt UTF-8, zTXt and a flag of
 * iTXt mean compressed. We write tEXt where the text allows it, because every tool reads that, and iTXt elsewhere; we
 * read all three.
 */
import { FileError, UsageError } from "../runtime/errors.ts";
import { type PngChunk, readChunks } from "./pngChunks.ts";
import { inflate } from "./zlib.ts";

/** A text chunk may not inflate to more than this: parameters are kilobytes, and a small file could claim gigabytes. */
const TEXT_LIMIT = 16 * 2 ** 20;

/** Keywords: 1 to 79 printable Latin-1 characters, no space at either end or twice in a row. */
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
  const texts: [string, string][] = [];
  for (const { type, data } of readChunks(bytes, file)) {
    if (type !== "tEXt" && type !== "zTXt" && type !== "iTXt") continue;
    try {
      texts.push(await readTextChunk(type, data));
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new FileError(file, `has a ${type} chunk that cannot be read (${reason})`, { cause });
    }
  }
  return Object.fromEntries(texts);
}

async function readTextChunk(type: string, data: Uint8Array): Promise<[keyword: string, text: string]> {
  const [keyword, rest] = upToNul(data);
  if (type === "tEXt") return [latin1(keyword), latin1(rest)];
  if (type === "zTXt") {
    if (rest[0] !== 0) throw new Error(`unknown compression method ${rest[0]}`);
    return [latin1(keyword), latin1(await inflate(rest.subarray(1), TEXT_LIMIT))];
  }
  const [flag, method] = rest;
  if (flag === undefined || flag > 1 || method !== 0) throw new Error(`unknown compression method ${flag}, ${method}`);
  const [, afterLanguage] = upToNul(rest.subarray(2));
  const [, value] = upToNul(afterLanguage);
  const utf8 = flag === 1 ? await inflate(value, TEXT_LIMIT) : value;
  return [latin1(keyword), new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(utf8)];
}

function upToNul(data: Uint8Array): [before: Uint8Array, after: Uint8Array] {
  const end = data.indexOf(0);
  if (end < 0) throw new Error("a separator is missing");
  return [data.subarray(0, end), data.subarray(end + 1)];
}

const latin1Bytes = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));

/** Not TextDecoder("latin1"): that label means windows-1252 on the web. */
const latin1 = (bytes: Uint8Array) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");

const joined = (...parts: readonly Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));
