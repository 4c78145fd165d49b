/**
 * PNG files from RGBA images, without a library: eight bits a channel, no interlacing. Each line takes the filter that leaves
 * the smallest sum of absolute differences (the heuristic of the PNG specification, section 12.7), which makes the repeated
 * lines of an enlarged picture vanish.
 */
import { checkKind } from "../runtime/options.ts";
import { type PngChunk, writeChunks } from "./pngChunks.ts";
import { textChunks } from "./pngText.ts";
import { checkImage, type RgbaImage } from "./rgba.ts";
import { deflate } from "./zlib.ts";

/**
 * Encodes an image: RGB when every pixel is opaque, RGBA otherwise.
 * @param text Text chunks by keyword, such as {@link formatParameters} makes them.
 * @returns The bytes of the file.
 * @throws ShapeError when the image is inconsistent, UsageError for a keyword or text that PNG does not allow.
 */
export async function encodePng(image: RgbaImage, text: Record<string, string> = {}): Promise<Uint8Array<ArrayBuffer>> {
  checkImage(image, "encodePng", "image");
  checkKind("encodePng", "text", "an object", text);
  const { width, height, data } = image;
  let opaque = true;
  for (let i = 3; i < data.length && opaque; i += 4) opaque = data[i] === 255;
  const channels = opaque ? 3 : 4;

  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  // Bit depth and colour type (2 is RGB, 6 is RGBA); compression, filter set and interlacing stay 0.
  header.set([8, opaque ? 2 : 6], 8);

  const chunks: PngChunk[] = [{ type: "IHDR", data: header }, ...textChunks(text)];
  chunks.push(
    { type: "IDAT", data: await deflate(filtered(image, channels)) },
    { type: "IEND", data: new Uint8Array(0) },
  );
  return writeChunks(chunks);
}

/** Every line as its filter's number and the differences that filter leaves. */
function filtered({ width, height, data }: RgbaImage, channels: number): Uint8Array {
  const stride = width * channels;
  const lines = new Uint8Array(height * (stride + 1));
  const rest = new Uint8Array(stride);
  let above = new Uint8Array(stride);
  let line = new Uint8Array(stride);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++)
      for (let c = 0; c < channels; c++) line[x * channels + c] = data[4 * (y * width + x) + c]!;
    let smallest = Number.POSITIVE_INFINITY;
    // "Up" first: in an enlarged picture it mostly leaves nothing, and then the others stop at once.
    for (const filter of [2, 0, 1, 3, 4]) {
      const cost = applyFilter(filter, line, above, channels, smallest, rest);
      if (cost >= smallest) continue;
      smallest = cost;
      lines[y * (stride + 1)] = filter;
      lines.set(rest, y * (stride + 1) + 1);
    }
    [above, line] = [line, above];
  }
  return lines;
}

/** Writes what remains of the line and returns its sum of absolute differences; gives up once that reaches `limit`. */
function applyFilter(
  filter: number,
  line: Uint8Array,
  above: Uint8Array,
  channels: number,
  limit: number,
  out: Uint8Array,
): number {
  const predict = PREDICTORS[filter]!;
  let cost = 0;
  for (let i = 0; i < line.length && cost < limit; i++) {
    const left = i < channels ? 0 : line[i - channels]!;
    const corner = i < channels ? 0 : above[i - channels]!;
    const rest = (line[i]! - predict(left, above[i]!, corner)) & 255;
    out[i] = rest;
    cost += rest < 128 ? rest : 256 - rest;
  }
  return cost;
}

/** What filters 0 to 4 (none, sub, up, average, Paeth) expect of a byte from those left, above and above left of it. */
export const PREDICTORS: readonly ((left: number, up: number, corner: number) => number)[] = [
  () => 0,
  (left) => left,
  (_, up) => up,
  (left, up) => (left + up) >> 1,
  (left, up, corner) => {
    const [toLeft, toUp, toCorner] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
    if (toLeft <= toUp && toLeft <= toCorner) return left;
    return toUp <= toCorner ? up : corner;
  },
];
