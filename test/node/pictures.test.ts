/** Pictures of every kind against what was put in, or what Pillow reads; cut off, they are refused, never filled up. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deflateSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { readChunks, writeChunks } from "../../src/image/pngChunks.ts";
import type { RgbaImage } from "../../src/image/rgba.ts";
import { readImage } from "../../src/node/image.ts";
import { readPng } from "../../src/node/png.ts";
import { FileError, UsageError } from "../../src/runtime/errors.ts";
import { goldenPath } from "../support/models.ts";
import { claimedPng, pngFile, pngKinds, pngParts, wholePng } from "../support/pngFile.ts";

const folder = mkdtempSync(join(tmpdir(), "ddim-pictures-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** The picture, with the sentences that were said about it. */
async function read(bytes: Uint8Array, options: { maxPixels?: number } = {}) {
  const warnings: string[] = [];
  const onWarning = (text: string) => warnings.push(text.replace("picture: ", ""));
  const image = await readImage(bytes, { ...options, onWarning });
  return { image, warnings };
}

/** The error that reading ends with; fails where there is none, or one that is not ours. */
async function refusal(bytes: Uint8Array, options: { maxPixels?: number } = {}): Promise<string> {
  const error = await read(bytes, options).then(
    () => undefined,
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(FileError);
  return (error as FileError).problem;
}

const pictures = goldenPath("pictures");
const bytesOf = (name: string) => new Uint8Array(readFileSync(join(pictures, name)));
const expected: Record<string, { width: number; height: number; rgba: string }> = JSON.parse(
  readFileSync(join(pictures, "pixels.json"), "utf8"),
);
const names = readdirSync(pictures).filter((name) => /\.(jpg|webp)$/.test(name));
const still = names.filter((name) => name !== "animated.webp");

function worst(image: RgbaImage, name: string): number {
  const { width, height, rgba } = expected[name]!;
  expect([image.width, image.height]).toEqual([width, height]);
  const reference = Buffer.from(rgba, "base64");
  return image.data.reduce((most, v, i) => Math.max(most, Math.abs(v - reference[i]!)), 0);
}

describe("PNG", () => {
  it("of every colour type, depth and interlacing gives the pixels that went in", async () => {
    await fc.assert(
      fc.asyncProperty(pngKinds(), async (kind) => {
        const parts = pngParts(kind);
        const { image, warnings } = await read(wholePng(parts));
        expect([image.width, image.height, warnings]).toEqual([kind.width, kind.height, []]);
        expect(Buffer.from(image.data).equals(Buffer.from(parts.rgba))).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it("wider than a strip comes in parts", async () => {
    const wide = { width: 2 ** 16 + 21, height: 2, interlaced: false, transparent: true, seed: 5 };
    for (const [depth, colour] of [
      [1, 0],
      [16, 6],
    ] as const) {
      const parts = pngParts({ ...wide, depth, colour });
      const { image } = await read(wholePng(parts));
      expect(Buffer.from(image.data).equals(Buffer.from(parts.rgba))).toBe(true);
    }
  });

  it("with too little pixel data is cut off, wherever they end", async () => {
    await fc.assert(
      fc.asyncProperty(pngKinds(9), fc.double({ min: 0, max: 0.999, noNaN: true }), async (kind, share) => {
        const parts = pngParts(kind);
        const length = Math.floor(parts.lines.length * share);
        const little = pngFile(parts, deflateSync(parts.lines.subarray(0, length)));
        expect(await refusal(little)).toMatch(`is cut off: there are ${length} of ${parts.lines.length} bytes`);
        const packed = deflateSync(parts.lines, { level: 0 });
        const torn = pngFile(parts, packed.subarray(0, 2 + Math.floor((packed.length - 8) * share)));
        expect(await refusal(torn)).toMatch(/is cut off: there are \d+ of \d+ bytes/);
      }),
      { numRuns: 150 },
    );
  });

  it("with more data than pixels, or bytes after its compression or its end, gives them and a warning", async () => {
    await fc.assert(
      fc.asyncProperty(pngKinds(9), fc.integer({ min: 1, max: 300 }), async (kind, count) => {
        const parts = pngParts(kind);
        const surplus = Buffer.alloc(count, 7);
        const files: [Uint8Array, RegExp][] = [
          [pngFile(parts, deflateSync(Buffer.concat([parts.lines, surplus]))), /^pixel data beyond its last row/],
          [pngFile(parts, Buffer.concat([deflateSync(parts.lines), surplus])), /^\d+ bytes after its pixel data/],
          [Buffer.concat([wholePng(parts), surplus]), new RegExp(`^${count} bytes after its end`)],
        ];
        for (const [file, sentence] of files) {
          const { image, warnings } = await read(file);
          expect(Buffer.from(image.data).equals(Buffer.from(parts.rgba))).toBe(true);
          expect(warnings).toEqual([expect.stringMatching(sentence)]);
        }
      }),
      { numRuns: 40 },
    );
  });

  it("is refused in one sentence for values that PNG does not have", async () => {
    const parts = pngParts({
      width: 3,
      height: 3,
      depth: 2,
      colour: 3,
      interlaced: false,
      transparent: false,
      seed: 1,
    });
    const chunks = readChunks(wholePng(parts), "");
    const changed = (type: string, data: (old: Uint8Array) => Uint8Array) =>
      writeChunks(chunks.map((chunk) => (chunk.type === type ? { type, data: data(chunk.data) } : chunk)));
    const header = (at: number, value: number) =>
      changed("IHDR", (old) => old.map((byte, i) => (i === at ? value : byte)));
    expect(await refusal(header(8, 3))).toMatch(/header that PNG does not have/);
    expect(await refusal(header(9, 2))).toMatch(/header that PNG does not have/);
    expect(await refusal(header(12, 2))).toMatch(/header that PNG does not have/);
    expect(await refusal(header(3, 0))).toMatch(/has no pixels \(0 x 3\)/);
    expect(await refusal(changed("PLTE", () => new Uint8Array(0)))).toMatch(/no valid palette/);
    expect(await refusal(changed("PLTE", () => new Uint8Array(3)))).toMatch(/colours are not in its palette/);
    expect(await refusal(changed("IDAT", () => deflateSync(Buffer.alloc(6, 9))))).toMatch(/a row has the filter 9/);
    expect(await refusal(changed("IDAT", () => Buffer.from("no zlib")))).toMatch(/cannot be decompressed/);
    expect(
      await refusal(writeChunks([chunks[0]!, { type: "ABCD", data: new Uint8Array(1) }, ...chunks.slice(1)])),
    ).toMatch(/holds a ABCD chunk/);
  });

  it("takes at most three times its pixels, which are four bytes each", async () => {
    const size = 4000;
    const header = claimedPng(size, size).slice(16, 29);
    header.set([1, 0], 8);
    const lines = Buffer.alloc(size * (1 + size / 8));
    const file = pngFile(
      { before: [{ type: "IHDR", data: header }], lines, rgba: new Uint8ClampedArray() },
      deflateSync(lines),
    );
    const before = process.memoryUsage.rss();
    const { data } = (await read(file)).image;
    expect(new Uint32Array(data.buffer).every((pixel) => pixel === 0xff000000)).toBe(true);
    expect(process.resourceUsage().maxRSS * 1024 - before).toBeLessThan(3 * 4 * size * size);
  });

  it("that claims more pixels than the limit is refused before anything is inflated", async () => {
    for (const [width, height] of [
      [23, 33554451],
      [12000, 12000],
      [2 ** 31 - 1, 2 ** 31 - 1],
    ] as const)
      expect(await refusal(claimedPng(width, height))).toMatch(
        `has ${width} x ${height} pixels, more than the limit of 64000000; --max-pixels N (library: maxPixels) raises it`,
      );
    const parts = pngParts({
      width: 5,
      height: 4,
      depth: 8,
      colour: 2,
      interlaced: false,
      transparent: false,
      seed: 1,
    });
    expect(await refusal(wholePng(parts), { maxPixels: 19 })).toMatch(/more than the limit of 19;/);
    expect((await read(wholePng(parts), { maxPixels: 20 })).image.width).toBe(5);
    const path = join(folder, "a.png");
    writeFileSync(path, wholePng(parts));
    await expect(readPng(path, { maxPixels: 19 })).rejects.toThrow(/more than the limit of 19;/);
    for (const maxPixels of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, "64"])
      await expect(readImage(path, { maxPixels: maxPixels as number })).rejects.toThrow(UsageError);
    await expect(readImage(path, { maxPixel: 1 } as object)).rejects.toThrow(/maxPixels/);
  });
});

describe("JPEG and WebP", () => {
  it.each(still)("%s is what Pillow reads", async (name) => {
    const { image, warnings } = await read(bytesOf(name));
    // jpeg-js has another cosine transform than libjpeg.
    expect(worst(image, name)).toBeLessThanOrEqual(name === "cmyk.jpg" ? 3 : 1);
    expect(warnings).toEqual(name === "trailing.jpg" ? ["13 bytes after its end were passed over"] : []);
  });

  it("an animation is refused", async () => {
    expect(await refusal(bytesOf("animated.webp"))).toMatch(/is an animated WebP picture/);
  });

  it.each(names)("%s is refused, cut off anywhere", async (name) => {
    const whole = bytesOf(name);
    const end = name === "trailing.jpg" ? whole.length - 13 : whole.length;
    for (let length = 2; length < end; length++)
      expect(await refusal(whole.subarray(0, length))).toMatch(/cut off|neither a PNG nor a JPEG|animated/);
  });

  it.each(still.filter((name) => name.endsWith(".jpg")))("%s with its end too early gives no grey", async (name) => {
    const whole = bytesOf(name);
    const scan = whole.lastIndexOf(0xda);
    for (let length = scan + 12; length < whole.length - 2; length += 3) {
      const torn = Buffer.concat([whole.subarray(0, length), Buffer.of(0xff, 0xd9)]);
      const image = await read(torn).then(
        (made) => made.image,
        (error: unknown) => {
          expect(error).toBeInstanceOf(FileError);
        },
      );
      // Filling bits at the very end are no loss.
      if (image) expect(worst(image, name)).toBeLessThanOrEqual(3);
    }
  });

  it("with too few restarts, components or scans' data is cut off", async () => {
    const whole = bytesOf("restarts.jpg");
    const at = whole.findIndex((byte, i) => byte === 0xff && whole[i + 1] === 0xd1);
    const torn = Buffer.concat([whole.subarray(0, at), Buffer.of(0xff, 0xd9)]);
    expect(await refusal(torn)).toMatch(/is cut off: a scan has 1 of 3 restarts/);
    const progressive = bytesOf("progressive.jpg");
    const scans = Buffer.from(progressive).indexOf(Buffer.of(0xff, 0xda));
    const none = Buffer.concat([progressive.subarray(0, scans), Buffer.of(0xff, 0xd9)]);
    expect(await refusal(none)).toMatch(/is cut off: 3 of its components have no data/);
  });

  it("damaged anywhere, is one sentence or a picture of its size, twice the same", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...names),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        async (name, at, flip) => {
          const bytes = bytesOf(name);
          bytes[at % bytes.length]! ^= flip;
          const outcome = () =>
            read(bytes, { maxPixels: 1e6 }).then(
              ({ image }) => `${image.width} x ${image.height} ${Buffer.from(image.data).toString("base64")}`,
              (error: unknown) => {
                expect(error).toBeInstanceOf(FileError);
                return (error as FileError).message;
              },
            );
          expect(await outcome()).toBe(await outcome());
        },
      ),
      { numRuns: 80 },
    );
  });

  it("of enormous size is refused by its header", async () => {
    const jpeg = bytesOf("grey.jpg");
    const frame = Buffer.from(jpeg).indexOf(Buffer.of(0xff, 0xc0));
    jpeg.set([0x27, 0x10, 0x27, 0x10], frame + 5);
    expect(await refusal(jpeg)).toMatch(/has 10000 x 10000 pixels, more than the limit/);
    const webp = bytesOf("lossless.webp");
    webp.set([0xff, 0xff, 0xff, 0x0f], Buffer.from(webp).indexOf("VP8L") + 9);
    expect(await refusal(webp)).toMatch(/has 16384 x 16384 pixels, more than the limit/);
    const scans = Buffer.concat([
      bytesOf("progressive.jpg").subarray(0, -2),
      ...Array.from({ length: 100 }, () => Buffer.of(0xff, 0xda, 0, 8, 1, 1, 0, 1, 5, 0, 0)),
      Buffer.of(0xff, 0xd9),
    ]);
    expect(await refusal(scans)).toMatch(/has more than 100 JPEG scans/);
  });
});
