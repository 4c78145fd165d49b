/** PNG files of every kind, written sample by sample without the code under test, and the pixels that they must give. */
import { deflateSync } from "node:zlib";
import fc from "fast-check";
import { type PngChunk, writeChunks } from "../../src/image/pngChunks.ts";

export interface PngKind {
  width: number;
  height: number;
  depth: number;
  colour: number;
  interlaced: boolean;
  /** A transparent colour, or some of a palette. */
  transparent: boolean;
  seed: number;
}

const CHANNELS: Record<number, number> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const DEPTHS: Record<number, number[]> = { 0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16] };

/** @param most pixels on a side */
export const pngKinds = (most = 19): fc.Arbitrary<PngKind> =>
  fc.constantFrom(0, 2, 3, 4, 6).chain((colour) =>
    fc.record({
      width: fc.integer({ min: 1, max: most }),
      height: fc.integer({ min: 1, max: most }),
      depth: fc.constantFrom(...DEPTHS[colour]!),
      colour: fc.constant(colour),
      interlaced: fc.boolean(),
      transparent: fc.boolean(),
      seed: fc.integer({ min: 1, max: 2 ** 30 }),
    }),
  );

/** Whole numbers below n, one after another. */
function numbers(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) % n;
  };
}

export interface PngParts {
  /** All but pixel data. */
  before: PngChunk[];
  /** Rows with the numbers of their filters, not compressed. */
  lines: Buffer;
  rgba: Uint8ClampedArray;
}

export function pngParts(kind: PngKind): PngParts {
  const { width, height, depth, colour, interlaced, transparent } = kind;
  const next = numbers(kind.seed);
  const channels = CHANNELS[colour]!;
  const levels = 2 ** depth;
  const entries = Math.min(levels, 1 + next(256));
  const samples = Array.from({ length: width * height }, () =>
    Array.from({ length: channels }, () => next(colour === 3 ? entries : levels)),
  );
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([depth, colour, 0, 0, interlaced ? 1 : 0], 8);
  const palette = Array.from({ length: entries }, () => [next(256), next(256), next(256)]);
  const alphas = Array.from({ length: 1 + next(entries) }, () => next(256));
  const key = samples[0]!;
  const before: PngChunk[] = [{ type: "IHDR", data: header }];
  if (colour === 3) before.push({ type: "PLTE", data: Uint8Array.from(palette.flat()) });
  if (transparent && colour === 3) before.push({ type: "tRNS", data: Uint8Array.from(alphas) });
  if (transparent && (colour === 0 || colour === 2))
    before.push({ type: "tRNS", data: Uint8Array.from(key.flatMap((v) => [v >> 8, v & 255])) });

  const eight = (v: number) => Math.round((v * 255) / (levels - 1));
  const pixel = (own: number[]) => {
    if (colour === 3) return [...palette[own[0]!]!, transparent ? (alphas[own[0]!] ?? 255) : 255];
    if (transparent && colour < 3 && own.every((v, i) => v === key[i])) return [0, 0, 0, 0];
    const v = own.map(eight);
    const grey = [v[0]!, v[0]!, v[0]!];
    return [[...grey, 255], [], [...v, 255], [], [...grey, v[1]!], [], v][colour]!;
  };
  const rgba = Uint8ClampedArray.from(samples.flatMap(pixel));

  // Adam7 as the specification draws it: the pass of each pixel of a square of eight.
  const adam7 = ["16462646", "77777777", "56565656", "77777777", "36463646", "77777777", "56565656", "77777777"];
  const lines: number[][] = [];
  for (const pass of interlaced ? "1234567" : "1") {
    let above: number[] | undefined;
    for (let y = 0; y < height; y++) {
      const taken = Array.from({ length: width }, (_, x) => x).filter(
        (x) => !interlaced || adam7[y % 8]![x % 8] === pass,
      );
      if (taken.length === 0) continue;
      const own = packed(
        taken.flatMap((x) => samples[y * width + x]!),
        depth,
      );
      const filter = next(5);
      lines.push([filter], filtered(filter, own, above ?? own.map(() => 0), Math.max(1, (channels * depth) >> 3)));
      above = own;
    }
  }
  return { before, lines: Buffer.concat(lines.map((line) => Buffer.from(line))), rgba };
}

/** Samples as bits from the left, the last byte filled with zeros. */
function packed(samples: readonly number[], depth: number): number[] {
  const bits = samples.map((v) => v.toString(2).padStart(depth, "0")).join("");
  return bits
    .padEnd(Math.ceil(bits.length / 8) * 8, "0")
    .match(/.{8}/g)!
    .map((byte) => Number.parseInt(byte, 2));
}

function filtered(filter: number, line: readonly number[], above: readonly number[], reach: number): number[] {
  return line.map((v, i) => {
    const [a, b, c] = [line[i - reach] ?? 0, above[i]!, above[i - reach] ?? 0];
    const p = a + b - c;
    const order = [a, b, c].map((n, k) => [Math.abs(p - n), k, n] as const).sort((m, n) => m[0] - n[0] || m[1] - n[1]);
    const expected = [0, a, b, Math.floor((a + b) / 2), order[0]![2]][filter]!;
    return (v - expected) & 255;
  });
}

/** The file with these pixel data, in chunks of `size` bytes. */
export function pngFile({ before }: PngParts, data: Uint8Array, size = 100): Uint8Array<ArrayBuffer> {
  const idat: PngChunk[] = [];
  for (let at = 0; at < data.length; at += size) idat.push({ type: "IDAT", data: data.subarray(at, at + size) });
  return writeChunks([...before, ...idat, { type: "IEND", data: new Uint8Array(0) }]);
}

export const wholePng = (parts: PngParts): Uint8Array<ArrayBuffer> => pngFile(parts, deflateSync(parts.lines));

/** A file that claims this size and holds no more than `lines`. */
export function claimedPng(
  width: number,
  height: number,
  lines: Uint8Array = new Uint8Array(1),
): Uint8Array<ArrayBuffer> {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2], 8);
  return pngFile(
    { before: [{ type: "IHDR", data: header }], lines: Buffer.alloc(0), rgba: new Uint8ClampedArray() },
    deflateSync(lines),
  );
}
