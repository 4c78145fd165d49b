/** Pictures from disk: PNG, JPEG and WebP, told apart by their first bytes. */

import { pictureKind } from "../image/header.ts";
import { pixelLimit, type ReadOptions, warner } from "../image/limits.ts";
import { oriented } from "../image/orientation.ts";
import type { RgbaImage } from "../image/rgba.ts";
import { FileError } from "../runtime/errors.ts";
import { checkKind } from "../runtime/options.ts";
import { readPictureFile } from "./file.ts";
import { decodeJpeg } from "./jpeg.ts";
import { decodePng } from "./png.ts";
import { decodeWebp } from "./webp.ts";

const DECODERS = { png: decodePng, jpeg: decodeJpeg, webp: decodeWebp };

/**
 * Reads a PNG, JPEG or WebP file as eight-bit RGBA, alpha untouched, the way up that its EXIF orientation says. Takes at most
 * three times the bytes of its pixels, which are four each.
 * @param from a path, or the file's bytes
 * @throws FileError when the file cannot be read, is none of them, is cut off or damaged, or has more pixels than the limit;
 *   UsageError for a limit that is none
 */
export async function readImage(from: string | Uint8Array, options: ReadOptions = {}): Promise<RgbaImage> {
  const limit = pixelLimit("readImage", options);
  if (typeof from !== "string") checkKind("readImage", "from", "a Uint8Array", from);
  const name = typeof from === "string" ? from : "picture";
  const bytes = typeof from === "string" ? await readPictureFile(from, limit) : from;
  const kind = pictureKind(bytes);
  if (!kind) throw new FileError(name, "is neither a PNG nor a JPEG file, nor WebP");
  const { image, orientation } = await DECODERS[kind](bytes, name, { limit, warn: warner(name, options) });
  return oriented(image, orientation);
}
