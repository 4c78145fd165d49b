/** PNG files: pixels, and texts. Changed chunks get the right checksums, changed pixel data are compressed again. */
import { readFileSync } from "node:fs";
import { deflateSync, inflateSync } from "node:zlib";
import fc from "fast-check";
import { pictureSize } from "../../../src/image/header.ts";
import { parseInfotext, parseParameters, parsePrompts } from "../../../src/image/parameters.ts";
import { type PngChunk, readChunks, writeChunks } from "../../../src/image/pngChunks.ts";
import { readPngText } from "../../../src/image/pngText.ts";
import { withFile } from "../../../src/node/file.ts";
import { readImage } from "../../../src/node/image.ts";
import { readPngTextFile } from "../../../src/node/pngText.ts";
import { claimedPng, pngKinds, pngParts, wholePng } from "../../support/pngFile.ts";
import { onDisk } from "../disk.ts";
import { every, type Target } from "../harness.ts";
import { encode, mutatedBytes, mutatedJson } from "../mutate.ts";

/** Pictures as they are read here; what is accepted has the size that its header says. */
export async function picture(file: string, bytes: Uint8Array): Promise<unknown> {
  const warnings: string[] = [];
  const onWarning = (text: string) => void warnings.push(text);
  const image = await readImage(onDisk(file, bytes), { maxPixels: 1e6, onWarning });
  if (image.data.length !== 4 * image.width * image.height || image.width * image.height > 1e6)
    throw new Error(`${image.data.length} bytes for ${image.width} x ${image.height} pixels`);
  return { ...image, warnings };
}

const wholes = fc.sample(pngKinds(12), { numRuns: 24, seed: 3 }).map((kind) => wholePng(pngParts(kind)));
const byChunks = wholes.map((png) => readChunks(png, "seed"));

const size = fc.oneof(fc.nat(20), fc.constantFrom(0, 1e3, 1e4, 46341, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1));
const header = fc
  .tuple(size, size, fc.constantFrom(1, 2, 4, 8, 16, 3, 0), fc.constantFrom(0, 2, 3, 4, 6, 1, 7), fc.nat(2))
  .map(([width, height, depth, colour, interlace]) => {
    const data = Buffer.alloc(13);
    data.writeUInt32BE(width, 0);
    data.writeUInt32BE(height, 4);
    data.set([depth, colour, 0, 0, interlace], 8);
    return new Uint8Array(data);
  });
const type = fc.constantFrom("IHDR", "PLTE", "IDAT", "IEND", "tRNS", "tEXt", "zTXt", "iTXt", "eXIf", "abcd", "ABCD");
const chunkChange = fc.record({
  how: fc.constantFrom("data", "data", "type", "drop", "twice", "pixels", "header", "add"),
  at: fc.nat(),
  type,
  header,
  data: fc.uint8Array({ maxLength: 40 }),
});

/** Chunks changed one by one, with checksums that are right. */
const changedChunks = fc
  .record({ seed: fc.nat(byChunks.length - 1), changes: fc.array(chunkChange, { minLength: 1, maxLength: 3 }) })
  .map(({ seed, changes }) => {
    const chunks: PngChunk[] = [...byChunks[seed]!];
    for (const { how, at, type, header, data } of changes) {
      const i = at % Math.max(1, chunks.length);
      const own = chunks[i] ?? { type, data };
      if (how === "drop") chunks.splice(i, 1);
      else if (how === "twice") chunks.splice(i, 0, own);
      else if (how === "add") chunks.splice(i, 0, { type, data });
      else if (how === "type") chunks[i] = { ...own, type };
      else if (how === "header") chunks[0] = { type: "IHDR", data: header };
      else if (how === "data") chunks[i] = { ...own, data: mixed(own.data, data, at) };
      else repack(chunks, (lines) => mixed(lines, data, at));
    }
    return writeChunks(chunks);
  });

/** Bytes with some of others over or behind them, or fewer. */
function mixed(bytes: Uint8Array, other: Uint8Array, at: number): Uint8Array {
  const place = at % (bytes.length + 1);
  if (at % 3 === 0) return bytes.subarray(0, place);
  const copy = new Uint8Array(Math.max(bytes.length, place + other.length));
  copy.set(bytes);
  copy.set(other, place);
  return copy;
}

function repack(chunks: PngChunk[], change: (lines: Uint8Array) => Uint8Array): void {
  const at = chunks.findIndex(({ type }) => type === "IDAT");
  try {
    const lines = inflateSync(Buffer.concat(chunks.flatMap(({ type, data }) => (type === "IDAT" ? [data] : []))));
    chunks[at] = { type: "IDAT", data: deflateSync(change(lines)) };
  } catch {
    // What is compressed is damaged already.
  }
}

/** A few bytes that claim or inflate to a lot. */
const bombs = fc.oneof(
  fc.tuple(size, size).map(([width, height]) => claimedPng(width, height)),
  fc.integer({ min: 1, max: 4e6 }).map((length) => claimedPng(3, 3, new Uint8Array(length))),
);

export const png: Target = {
  name: "png",
  seeds: wholes,
  input: fc.oneof(
    { weight: 4, arbitrary: changedChunks },
    { weight: 4, arbitrary: mutatedBytes(wholes) },
    { weight: 1, arbitrary: bombs },
    { weight: 1, arbitrary: pngKinds().map((kind) => wholePng(pngParts(kind))) },
  ),
  read: (bytes) => picture("fuzz.png", bytes),
};

const recorded = {
  ...{ model: "pixel-avatars-16", seed: "1", count: 1, steps: 5, eta: 0, sampler: "ddim", spacing: "leading" },
  ...{ compat: "none", guidance: 1, clip: true, dtype: "f32", rng: "philox", size: { width: 16, height: 16 } },
  ...{ adapter: "x", command: "ddim sample -n 1 -o out.png", version: "0.1.0" },
};
const own = mutatedJson([recorded]);
const infotext = mutatedBytes([
  encode('a cat\nNegative prompt: dog\nSteps: 20, Sampler: DDIM, CFG scale: 7, Model: "x, y"'),
]);

const latin = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));
const bytesOf = (...parts: (Uint8Array | string)[]) =>
  new Uint8Array(Buffer.concat(parts.map((part) => (typeof part === "string" ? latin(part) : part))));

/** Text chunks of the three kinds, whose texts may be anything, in a picture. */
const texts = fc
  .record({
    kind: fc.constantFrom("tEXt", "zTXt", "iTXt", "iTXt compressed"),
    keyword: fc.constantFrom("ddim-webgpu", "parameters", "command", "", "x".repeat(80), "__proto__", "a b"),
    text: fc.oneof(
      own,
      infotext,
      fc.uint8Array({ maxLength: 60 }),
      fc.nat(3e6).map((n) => new Uint8Array(n).fill(97)),
    ),
    damage: fc.option(fc.nat(255), { freq: 5 }),
  })
  .map(({ kind, keyword, text, damage }): PngChunk => {
    const packed = kind === "zTXt" || kind === "iTXt compressed" ? deflateSync(text) : text;
    if (damage !== null && packed.length > 0) packed[damage % packed.length]! ^= 0x55;
    const flag = kind === "iTXt compressed" ? "\x01" : "\0";
    const head = kind === "tEXt" ? "\0" : kind === "zTXt" ? "\0\0" : `\0${flag}\0en\0\0`;
    return { type: kind.slice(0, 4), data: bytesOf(keyword, head, packed) };
  });

const pixel = byChunks[0]!;
const withTexts = fc
  .array(texts, { minLength: 1, maxLength: 3 })
  .map((chunks) => writeChunks([pixel[0]!, ...chunks, ...pixel.slice(1)]));
const textSeeds = ["weights/pixel-avatars-16.png"].map((path) => {
  const [head, ...rest] = readChunks(new Uint8Array(readFileSync(path)), path);
  return writeChunks([head!, ...rest.filter(({ type }) => type !== "IDAT")]);
});

export const pngText: Target = {
  name: "png-text",
  seeds: textSeeds,
  input: fc.oneof({ weight: 3, arbitrary: withTexts }, { weight: 2, arbitrary: mutatedBytes(textSeeds) }),
  read: async (bytes) => {
    const path = onDisk("text.png", bytes);
    const described = (text: Record<string, string>) => [
      text,
      parseParameters(text, "text.png") ?? null,
      ...Object.values(text).map((value) => [parseInfotext(value), parsePrompts(value)]),
    ];
    return every([
      async () => described(await withFile(path, (handle, length) => readPngTextFile(handle, length, path))),
      async () => described(await readPngText(bytes)),
      () => pictureSize(bytes, "png", path),
    ]);
  },
};
