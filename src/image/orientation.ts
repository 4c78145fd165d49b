/**
 * Which way up a picture is to be shown. Cameras store the lines as the sensor has them and note in EXIF (JEITA CP-3451,
 * tag 0x0112) how the picture must be turned.
 */
import { jpegSegments, SOS } from "./jpegHeader.ts";
import type { PngChunk } from "./pngChunks.ts";
import type { RgbaImage } from "./rgba.ts";

const ORIENTATION = 0x0112;
const SHORT = 3;

/** The tag of a TIFF structure's first directory, 1 to 8; 1, as stored, where there is none or it makes no sense. */
export function tiffOrientation(tiff: Uint8Array): number {
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  const little = tiff[0] === 0x49;
  const fits = (offset: number, bytes: number) => offset + bytes <= tiff.length;
  if (!fits(0, 8) || view.getUint16(2, little) !== 42) return 1;
  const directory = view.getUint32(4, little);
  if (!fits(directory, 2)) return 1;
  const entries = view.getUint16(directory, little);
  for (let i = 0, at = directory + 2; i < entries && fits(at, 12); i++, at += 12) {
    if (view.getUint16(at, little) !== ORIENTATION || view.getUint16(at + 2, little) !== SHORT) continue;
    const value = view.getUint16(at + 8, little);
    return value >= 1 && value <= 8 ? value : 1;
  }
  return 1;
}

const APP1 = 0xe1;
const EXIF = [0x45, 0x78, 0x69, 0x66, 0, 0];

/** EXIF orientation of a JPEG file, 1 to 8; 1 where the file does not say. Reads up to the first scan only. */
export function jpegOrientation(bytes: Uint8Array): number {
  for (const { marker, data } of jpegSegments(bytes)) {
    if (marker === SOS) break;
    if (marker === APP1 && EXIF.every((byte, i) => data[i] === byte))
      return tiffOrientation(data.subarray(EXIF.length));
  }
  return 1;
}

/** EXIF orientation of a PNG file (chunk eXIf), 1 to 8; 1 where the file does not say. */
export function pngOrientation(chunks: readonly PngChunk[]): number {
  const exif = chunks.find(({ type }) => type === "eXIf");
  return exif ? tiffOrientation(exif.data) : 1;
}

/** The picture as its orientation (1 to 8) says it is to be shown; 5 to 8 change its sides over. */
export function oriented(image: RgbaImage, orientation: number): RgbaImage {
  if (orientation === 1) return image;
  const sideways = orientation >= 5;
  const fromRight = [2, 3, 7, 8].includes(orientation);
  const fromBottom = [3, 4, 6, 7].includes(orientation);
  const [width, height] = sideways ? [image.height, image.width] : [image.width, image.height];
  const { buffer, byteOffset, byteLength } = image.data;
  // A copy only where the pixels do not lie on whole words: pictures may be large.
  const source =
    byteOffset % 4 === 0
      ? new Uint32Array(buffer, byteOffset, byteLength / 4)
      : new Uint32Array(image.data.slice().buffer);
  const target = new Uint32Array(width * height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const [column, line] = sideways ? [y, x] : [x, y];
      const u = fromRight ? image.width - 1 - column : column;
      const v = fromBottom ? image.height - 1 - line : line;
      target[y * width + x] = source[v * image.width + u] as number;
    }
  return { width, height, data: new Uint8ClampedArray(target.buffer) };
}
