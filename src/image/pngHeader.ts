/** What a PNG file says of its pixels (W3C Portable Network Graphics, sections 8.2 and 11.2.2): the chunk IHDR. */
import { FileError } from "../runtime/errors.ts";

export interface PngHeader {
  width: number;
  height: number;
  /** Bits of a sample. */
  depth: number;
  /** 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA. */
  colour: number;
  interlaced: boolean;
}

/** Samples of a pixel, and how many bits each may have. */
const COLOURS: Readonly<Record<number, { channels: number; depths: readonly number[] }>> = {
  0: { channels: 1, depths: [1, 2, 4, 8, 16] },
  2: { channels: 3, depths: [8, 16] },
  3: { channels: 1, depths: [1, 2, 4, 8] },
  4: { channels: 2, depths: [8, 16] },
  6: { channels: 4, depths: [8, 16] },
};

/**
 * @param data of the chunk IHDR
 * @throws FileError for values that PNG does not have
 */
export function parsePngHeader(data: Uint8Array, file: string): PngHeader {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  if (data.length !== 13) throw new FileError(file, `has an IHDR chunk of ${data.length} bytes, not 13`);
  const [depth = 0, colour = 0, compression = 0, filters = 0, interlace = 0] = data.subarray(8);
  const known = COLOURS[colour]?.depths.includes(depth) && compression === 0 && filters === 0 && interlace <= 1;
  if (!known) {
    const said = `colour type ${colour}, ${depth} bits, methods ${compression}, ${filters}, ${interlace}`;
    throw new FileError(file, `has a header that PNG does not have (${said})`);
  }
  return { width: view.getUint32(0), height: view.getUint32(4), depth, colour, interlaced: interlace === 1 };
}

/** Bits of a pixel. */
export const pixelBits = ({ colour, depth }: PngHeader): number => (COLOURS[colour]?.channels ?? 0) * depth;

/** Bytes of so many pixels in a line, without the number of its filter. */
export const lineBytes = (header: PngHeader, pixels: number): number => Math.ceil((pixels * pixelBits(header)) / 8);

/** A part of the pixels that is stored as a picture of its own: pixel (i, j) of it is (x + i · dx, y + j · dy) of the whole. */
export interface PngPass {
  width: number;
  height: number;
  x: number;
  y: number;
  dx: number;
  dy: number;
}

/** x, y, dx and dy of the passes of Adam7. */
const ADAM7: readonly (readonly [number, number, number, number])[] = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
];

/** The passes in the order of the file, without those that have no pixels. */
export function pngPasses({ width, height, interlaced }: PngHeader): PngPass[] {
  if (!interlaced) return [{ width, height, x: 0, y: 0, dx: 1, dy: 1 }];
  return ADAM7.map(([x, y, dx, dy]) => ({
    ...{ x, y, dx, dy },
    width: Math.ceil((width - x) / dx),
    height: Math.ceil((height - y) / dy),
  })).filter((pass) => pass.width > 0 && pass.height > 0);
}

/** Bytes of all lines once inflated, each with the number of its filter. */
export const pngDataBytes = (header: PngHeader): number =>
  pngPasses(header).reduce((sum, { width, height }) => sum + height * (1 + lineBytes(header, width)), 0);
