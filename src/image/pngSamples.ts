/** The samples of PNG lines as whole bytes (W3C Portable Network Graphics, sections 7.2 and 13.12). */
import { lineBytes, type PngHeader, pixelBits } from "./pngHeader.ts";
import type { PngStrip } from "./pngLines.ts";

/**
 * Samples of a strip, line after line, without filters and padding.
 * @param wide Whether samples of 16 bits stay two bytes; else they are rounded to one.
 * @returns Bytes: of a palette its indices, of fewer than eight grey levels these scaled to 0..255.
 */
export function packSamples({ lines, width, height }: PngStrip, header: PngHeader, wide: boolean): Uint8Array {
  const { depth, colour } = header;
  const stride = 1 + lineBytes(header, width);
  const samples = width * (pixelBits(header) / depth);
  const bytes = samples * (depth === 16 && wide ? 2 : 1);
  const packed = new Uint8Array(height * bytes);
  const scale = depth < 8 && colour === 0 ? greyScale(depth) : 1;
  const mask = 2 ** depth - 1;
  for (let y = 0; y < height; y++) {
    const line = lines.subarray(y * stride + 1, (y + 1) * stride);
    const at = y * bytes;
    if (depth === 8 || bytes !== samples) packed.set(line, at);
    else if (depth === 16)
      for (let i = 0; i < samples; i++) {
        const value = ((line[2 * i] as number) << 8) | (line[2 * i + 1] as number);
        packed[at + i] = Math.floor((value * 255) / 65535 + 0.5);
      }
    else
      for (let i = 0; i < samples; i++) {
        const bit = i * depth;
        packed[at + i] = (((line[bit >> 3] as number) >> (8 - depth - (bit & 7))) & mask) * scale;
      }
  }
  return packed;
}

/** From so many bits, 1, 2 or 4, to eight: white stays white, and the steps are whole. */
export const greyScale = (depth: number): number => 255 / (2 ** depth - 1);
