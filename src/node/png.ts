/** PNG files from disk, decoded by pngjs. */
import { readFile } from "node:fs/promises";
import type { RgbaImage } from "../image/rgba.ts";
import { FileError } from "../runtime/errors.ts";

/**
 * Reads any PNG (grey, palette, 16 bits, interlaced) as eight-bit RGBA, alpha untouched.
 * @throws FileError when the file cannot be read, is no PNG, or is cut off or damaged.
 */
export async function readPng(path: string): Promise<RgbaImage> {
  const { PNG } = await import("pngjs");
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw new FileError(path, `cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
  try {
    const { width, height, data } = PNG.sync.read(bytes);
    return { width, height, data: new Uint8ClampedArray(data) };
  } catch (cause) {
    throw new FileError(path, `is not a readable PNG file (${(cause as Error).message})`, { cause });
  }
}
