/** PNG files from disk, decoded by pngjs. */
import { readFile } from "node:fs/promises";
import type { RgbaImage } from "../image/rgba.ts";
import { FileError } from "../runtime/errors.ts";

/** A file's bytes. @throws FileError when they cannot be had */
export async function readBytes(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new FileError(path, `cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
}

/** @param path named in errors */
export async function decodePng(bytes: Uint8Array, path: string): Promise<RgbaImage> {
  const { PNG } = await import("pngjs");
  try {
    const { width, height, data } = PNG.sync.read(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    return { width, height, data: new Uint8ClampedArray(data) };
  } catch (cause) {
    throw new FileError(path, `is not a readable PNG file (${(cause as Error).message})`, { cause });
  }
}

/**
 * Reads any PNG (grey, palette, 16 bits, interlaced) as eight-bit RGBA, alpha untouched.
 * @throws FileError when the file cannot be read, is no PNG, or is cut off or damaged.
 */
export const readPng = async (path: string): Promise<RgbaImage> => decodePng(await readBytes(path), path);
