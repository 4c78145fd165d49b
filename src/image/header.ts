/** What kind of picture a file is, and how large, from its first bytes. */
import { FileError } from "../runtime/errors.ts";
import { readJpegHeader } from "./jpegHeader.ts";
import { PNG_SIGNATURE } from "./pngChunks.ts";
import { parsePngHeader } from "./pngHeader.ts";
import { isWebp, readWebpHeader } from "./webpHeader.ts";

export type PictureKind = "png" | "jpeg" | "webp";

/** Told by the first bytes, whatever the name says; undefined for what is none of them. */
export function pictureKind(bytes: Uint8Array): PictureKind | undefined {
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return "jpeg";
  if (bytes.length >= 4 && PNG_SIGNATURE.slice(0, 4).every((byte, i) => bytes[i] === byte)) return "png";
  return isWebp(bytes) ? "webp" : undefined;
}

/**
 * Width and height in pixels as stored, before any turning.
 * @param bytes The file, or as much of its beginning as its header takes.
 * @throws FileError when they do not tell
 */
export function pictureSize(bytes: Uint8Array, kind: PictureKind, file: string): { width: number; height: number } {
  if (kind === "jpeg") return readJpegHeader(bytes, file);
  if (kind === "webp") return readWebpHeader(bytes, file);
  if (bytes.length < 33) throw new FileError(file, `is cut off at byte ${bytes.length}`);
  return parsePngHeader(bytes.subarray(16, 29), file);
}
