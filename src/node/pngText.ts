/** The texts of PNG files on disk, without reading their pixels. */
import type { FileHandle } from "node:fs/promises";
import { checkChunk, checkChunkEnd, PNG_SIGNATURE, type PngChunk, parseChunkHead } from "../image/pngChunks.ts";
import { isText, TEXT_LIMIT, textsOf } from "../image/pngText.ts";
import { FileError } from "../runtime/errors.ts";
import { readAt } from "./file.ts";

/** Bytes read at a time while looking for chunks. */
const WINDOW = 4096;

/**
 * As `readPngText`, but of a file, whose other chunks are stepped over.
 * @param path named in errors
 * @throws FileError for a file that is cut off, whose texts are damaged or more than a mebibyte
 */
export async function readPngTextFile(handle: FileHandle, size: number, path: string): Promise<Record<string, string>> {
  const chunks: PngChunk[] = [];
  let [window, start] = [new Uint8Array(0), 0];
  let left = TEXT_LIMIT;
  for (let index = 0, offset = PNG_SIGNATURE.length; ; index++) {
    if (offset + 12 > size) throw new FileError(path, `is cut off at byte ${size}`);
    if (offset + 8 > start + window.length) [window, start] = [await readAt(handle, offset, WINDOW), offset];
    const head = window.subarray(offset - start, offset - start + 8);
    const { type, length } = parseChunkHead(head, index, offset, path);
    const end = offset + 12 + length;
    checkChunkEnd(type, end, size, path);
    if (type === "IEND") return textsOf(chunks, path);
    if (isText(type)) {
      left -= length;
      if (left < 0) throw new FileError(path, `holds more than ${TEXT_LIMIT} bytes of text`);
      const chunk = await readAt(handle, offset, end - offset);
      checkChunk(chunk, type, offset, path);
      chunks.push({ type, data: chunk.subarray(8, -4) });
    }
    offset = end;
  }
}
