/** Pictures from disk: PNG by pngjs, JPEG by jpeg-js, told apart by their first bytes. */
import { jpegOrientation, oriented, pngOrientation } from "../image/orientation.ts";
import type { RgbaImage } from "../image/rgba.ts";
import { FileError } from "../runtime/errors.ts";
import { decodePng, readBytes } from "./png.ts";

/** Of jpeg-js, in MB: a hundred megapixels, which is its limit for a picture. */
const JPEG_MEMORY = 2048;

async function decodeJpeg(bytes: Uint8Array, path: string): Promise<RgbaImage> {
  const { default: jpeg } = await import("jpeg-js");
  try {
    const { width, height, data } = jpeg.decode(bytes, { useTArray: true, maxMemoryUsageInMB: JPEG_MEMORY });
    return { width, height, data: new Uint8ClampedArray(data) };
  } catch (cause) {
    const reason = (cause as Error).message;
    throw new FileError(path, `is a JPEG file that cannot be decoded, cut off or damaged (${reason})`, { cause });
  }
}

/**
 * Reads a PNG or JPEG file as eight-bit RGBA, alpha untouched, the way up that its EXIF orientation says.
 * @throws FileError when the file cannot be read, is neither, or is cut off or damaged.
 */
export async function readImage(path: string): Promise<RgbaImage> {
  const bytes = await readBytes(path);
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return oriented(await decodeJpeg(bytes, path), jpegOrientation(bytes));
  if (bytes[0] !== 0x89) throw new FileError(path, "is neither a PNG nor a JPEG file");
  return oriented(await decodePng(bytes, path), pngOrientation(bytes, path));
}
