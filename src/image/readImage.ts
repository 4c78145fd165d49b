/** Pictures in browsers: whatever `createImageBitmap` reads, within the limits and with the checks of the readers in Node. */
import { FileError, UsageError } from "../runtime/errors.ts";
import { bitmapPixels } from "./bitmap.ts";
import { pictureKind } from "./header.ts";
import { checkJpegScans, readJpegHeader } from "./jpegHeader.ts";
import { checkFileSize, checkPixels, pixelLimit, type ReadOptions, warner } from "./limits.ts";
import { type PngChunk, readChunks } from "./pngChunks.ts";
import { parsePngHeader, pngDataBytes } from "./pngHeader.ts";
import type { RgbaImage } from "./rgba.ts";
import { readWebpHeader } from "./webpHeader.ts";
import { inflatedLength } from "./zlib.ts";

/** See lazy.ts. */
export async function readImage(from: Blob | ArrayBuffer | Uint8Array, options: ReadOptions = {}): Promise<RgbaImage> {
  const limit = pixelLimit("readImage", options);
  if (typeof createImageBitmap !== "function")
    throw new UsageError(
      "readImage",
      'readImage of "ddim-webgpu" needs a browser; in Node take that of "ddim-webgpu/node"',
    );
  const name = "name" in from && typeof from.name === "string" ? from.name : "picture";
  checkFileSize("size" in from ? from.size : from.byteLength, limit, name);
  const bytes =
    from instanceof Uint8Array ? from : new Uint8Array(from instanceof Blob ? await from.arrayBuffer() : from);
  await checkWhole(bytes, name, limit, warner(name, options));
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes as Uint8Array<ArrayBuffer>]), {
      imageOrientation: "from-image",
      premultiplyAlpha: "none",
      colorSpaceConversion: "none",
    });
  } catch (cause) {
    throw new FileError(name, "is no picture that this browser reads, or is damaged", { cause });
  }
  try {
    checkPixels(bitmap, limit, name);
    return { width: bitmap.width, height: bitmap.height, data: bitmapPixels(bitmap) };
  } finally {
    bitmap.close();
  }
}

/** Browsers fill up what a file lacks and say nothing, so the kinds that are known are looked through before. */
async function checkWhole(bytes: Uint8Array, name: string, limit: number, warn: (text: string) => void): Promise<void> {
  const kind = pictureKind(bytes);
  if (kind === "png") return checkPng(readChunks(bytes, name), bytes.length, name, limit, warn);
  let surplus = 0;
  if (kind === "jpeg") {
    const header = readJpegHeader(bytes, name);
    checkPixels(header, limit, name);
    surplus = checkJpegScans(bytes, header, name);
  } else if (kind === "webp") {
    const header = readWebpHeader(bytes, name);
    checkPixels(header, limit, name);
    if (header.end > bytes.length) throw new FileError(name, `is cut off at byte ${bytes.length} of ${header.end}`);
    surplus = bytes.length - header.end;
  }
  if (surplus > 0) warn(`${surplus} bytes after its end were passed over`);
}

async function checkPng(
  chunks: readonly PngChunk[],
  size: number,
  name: string,
  limit: number,
  warn: (text: string) => void,
): Promise<void> {
  const header = parsePngHeader((chunks[0] as PngChunk).data, name);
  checkPixels(header, limit, name);
  const expected = pngDataBytes(header);
  const idat = chunks.flatMap(({ type, data }) => (type === "IDAT" ? [data] : []));
  const found = await inflatedLength(idat, expected);
  if (found < expected) throw new FileError(name, `is cut off: there are ${found} of ${expected} bytes of pixel data`);
  if (found > expected) warn("pixel data beyond its last row were passed over");
  const surplus = size - chunks.reduce((sum, { data }) => sum + 12 + data.length, 8);
  if (surplus > 0) warn(`${surplus} bytes after its end were passed over`);
}
