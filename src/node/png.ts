/**
 * PNG files from disk. zlib inflates them as a stream and pngjs makes RGBA of strips of a few lines: its own inflating
 * leaves pixels that a file lacks as they lay in memory, and holds a picture several times.
 */
import { Readable } from "node:stream";
import { constants, createInflate, deflateSync } from "node:zlib";
import type { PNG } from "pngjs";
import { checkPixels, pixelLimit, type ReadOptions, warner } from "../image/limits.ts";
import { pngOrientation } from "../image/orientation.ts";
import { NOT_PNG, type PngChunk, readChunks, writeChunks } from "../image/pngChunks.ts";
import { type PngHeader, parsePngHeader, pngDataBytes } from "../image/pngHeader.ts";
import { PngLines, type PngStrip } from "../image/pngLines.ts";
import { greyScale, packSamples } from "../image/pngSamples.ts";
import type { RgbaImage } from "../image/rgba.ts";
import { FileError } from "../runtime/errors.ts";
import type { Decode } from "./decoder.ts";
import { readPictureFile } from "./file.ts";
import { optional } from "./optional.ts";

export const decodePng: Decode = async (bytes, path, options) => {
  const chunks = chunksOf(bytes, path);
  const header = parsePngHeader((chunks[0] as PngChunk).data, path);
  checkPixels(header, options.limit, path);
  const critical = chunks.find(({ type }) => /^[A-Z]/.test(type) && !["IHDR", "PLTE", "IDAT", "IEND"].includes(type));
  if (critical) throw new FileError(path, `holds a ${critical.type} chunk, which cannot be passed over or read`);
  const colours = colourChunks(chunks, header, path);
  const { PNG } = await optional("pngjs", path, () => import("pngjs"));
  const pixels = new Uint32Array(header.width * header.height);
  const lines = new PngLines(header, path, (strip) =>
    place(strip, decodeStrip(PNG, header, strip, colours, path), header, pixels),
  );
  const idat = chunks.flatMap(({ type, data }) => (type === "IDAT" ? [data] : []));
  await inflateInto(lines, idat, header, path, options.warn);
  const surplus = bytes.length - chunks.reduce((sum, { data }) => sum + 12 + data.length, 8);
  if (surplus > 0) options.warn(`${surplus} bytes after its end were passed over`);
  const data = new Uint8ClampedArray(pixels.buffer);
  return {
    image: { width: header.width, height: header.height, data },
    orientation: pngOrientation(chunks),
  };
};

const unreadable = (path: string, problem: string, cause?: unknown) =>
  new FileError(path, `is not a readable PNG file, it ${problem}`, { cause });

function chunksOf(bytes: Uint8Array, path: string): PngChunk[] {
  try {
    return readChunks(bytes, path);
  } catch (error) {
    if (!(error instanceof FileError) || error.problem === NOT_PNG) throw error;
    throw unreadable(path, error.problem, error);
  }
}

/** The palette and the transparent colours, as much of them as the format has. */
function colourChunks(chunks: readonly PngChunk[], { colour, depth }: PngHeader, path: string): PngChunk[] {
  const palette = colour === 3 ? chunks.find(({ type }) => type === "PLTE") : undefined;
  const entries = palette ? palette.data.length / 3 : 0;
  if (colour === 3 && !(Number.isInteger(entries) && entries >= 1 && entries <= 256))
    throw unreadable(path, "is damaged: it has no valid palette");
  // Colour types with an alpha channel have no other transparency.
  const transparent = colour < 4 ? chunks.find(({ type }) => type === "tRNS") : undefined;
  const most = { 0: 2, 2: 6 }[colour] ?? entries;
  if (transparent && colour !== 3 && transparent.data.length < most)
    throw unreadable(path, "is damaged: its tRNS chunk does not fit its colours");
  const data = Uint8Array.from(transparent?.data.subarray(0, most) ?? []);
  if (transparent && colour === 0 && depth < 8) {
    // A grey level among few becomes what the samples become; one that they do not have stays one.
    const level = (data[0] as number) * 256 + (data[1] as number);
    data.set(level < 2 ** depth ? [0, level * greyScale(depth)] : [255, 255]);
  }
  return [...(palette ? [palette] : []), ...(transparent ? [{ type: "tRNS", data }] : [])];
}

/** RGBA of a strip, as a picture of one line, of eight bits unless a transparent colour has sixteen. */
function decodeStrip(
  { sync }: typeof PNG,
  header: PngHeader,
  strip: PngStrip,
  colours: readonly PngChunk[],
  path: string,
): Uint32Array {
  const wide = header.depth === 16 && colours.length > 0;
  const pixels = strip.width * strip.height;
  const ihdr = Buffer.alloc(13);
  ihdr.writeUInt32BE(pixels, 0);
  ihdr.writeUInt32BE(1, 4);
  ihdr.set([wide ? 16 : 8, header.colour], 8);
  const samples = packSamples(strip, header, wide);
  const file = writeChunks([
    { type: "IHDR", data: ihdr },
    ...colours,
    { type: "IDAT", data: deflateSync(Buffer.concat([Buffer.alloc(1), samples]), { level: 0 }) },
    { type: "IEND", data: new Uint8Array(0) },
  ]);
  try {
    const { data } = sync.read(Buffer.from(file.buffer), { checkCRC: false });
    return new Uint32Array(data.buffer, data.byteOffset, pixels);
  } catch (cause) {
    throw unreadable(path, "is damaged: it has pixels whose colours are not in its palette", cause);
  }
}

function place({ pass, x, y, width, height }: PngStrip, from: Uint32Array, header: PngHeader, to: Uint32Array): void {
  if (width === header.width && pass.dy === 1) return to.set(from, y * width);
  for (let j = 0; j < height; j++) {
    const start = (pass.y + (y + j) * pass.dy) * header.width + pass.x + x * pass.dx;
    if (pass.dx === 1) to.set(from.subarray(j * width, (j + 1) * width), start);
    else for (let i = 0; i < width; i++) to[start + i * pass.dx] = from[j * width + i] as number;
  }
}

/** Feeds what the chunks inflate to, and no more than the picture takes. */
async function inflateInto(
  lines: PngLines,
  idat: readonly Uint8Array[],
  header: PngHeader,
  path: string,
  warn: (text: string) => void,
): Promise<void> {
  // Where the data end, what they gave is pixels, and lines tell whether it is enough; the checksum behind them may be missing.
  const inflate = createInflate({ finishFlush: constants.Z_SYNC_FLUSH });
  const source = Readable.from(idat, { objectMode: true });
  source.pipe(inflate);
  let taken = 0;
  try {
    for await (const bytes of inflate as AsyncIterable<Uint8Array>) {
      const used = lines.feed(bytes);
      taken += used;
      if (used === bytes.length) continue;
      return warn("pixel data beyond its last row were passed over");
    }
  } catch (cause) {
    if (cause instanceof FileError) throw cause;
    throw unreadable(path, "is damaged: its pixel data cannot be decompressed", cause);
  } finally {
    source.destroy();
    inflate.destroy();
  }
  if (!lines.complete)
    throw unreadable(path, `is cut off: there are ${taken} of ${pngDataBytes(header)} bytes of pixel data`);
  const given = idat.reduce((sum, { length }) => sum + length, 0);
  if (inflate.bytesWritten < given) warn(`${given - inflate.bytesWritten} bytes after its pixel data were passed over`);
}

/**
 * Reads any PNG (grey, palette, 16 bits, interlaced) as eight-bit RGBA, alpha untouched, as it is stored.
 * @throws FileError when the file cannot be read, is no PNG, is cut off or damaged, or has more pixels than the limit;
 *   UsageError for a limit that is none
 */
export async function readPng(path: string, options: ReadOptions = {}): Promise<RgbaImage> {
  const limit = pixelLimit("readPng", options);
  const bytes = await readPictureFile(path, limit);
  return (await decodePng(bytes, path, { limit, warn: warner(path, options) })).image;
}
