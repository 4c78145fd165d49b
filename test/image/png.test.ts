/** encodePng against pngjs, which shares no code with it, and the compression that enlarged pictures rely on. */
import { Buffer } from "node:buffer";
import { inflateSync } from "node:zlib";
import fc from "fast-check";
import { PNG } from "pngjs";
import { describe, expect, it } from "vitest";
import { encodePng } from "../../src/image/png.ts";
import { readChunks } from "../../src/image/pngChunks.ts";
import { enlarge, type RgbaImage } from "../../src/image/rgba.ts";
import { uniforms } from "../reference/tensor.ts";

/** Rows that call for different filters: a slope, the same again, noise, almost flat. */
function picture(width: number, height: number, seed: number, opaque: boolean): RgbaImage {
  const next = uniforms(seed);
  const data = new Uint8ClampedArray(4 * width * height);
  for (let i = 0; i < data.length; i++) {
    const [x, y, c] = [(i >> 2) % width, Math.floor(i / 4 / width), i & 3];
    const value = [9 * x, 9 * x, 256 * next(), 100][y % 4]!;
    data[i] = opaque && c === 3 ? 255 : value + 3 * next();
  }
  return { width, height, data };
}

const sizes: [number, number][] = [
  [1, 1],
  [1, 9],
  [9, 1],
  [7, 5],
  [16, 16],
  [33, 40],
];

describe("encodePng", () => {
  it.each(sizes.flatMap(([w, h]) => [true, false].map((opaque) => ({ w, h, opaque }))))(
    "pngjs decodes $w x $h, opaque $opaque, to the same pixels",
    async ({ w, h, opaque }) => {
      const image = picture(w, h, w * h, opaque);
      const { width, height, data } = PNG.sync.read(Buffer.from(await encodePng(image)));
      expect({ width, height }).toEqual({ width: w, height: h });
      expect([...data]).toEqual([...image.data]);
    },
  );

  it("survives arbitrary pixels", async () => {
    const pixels = fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 })).chain(([width, height]) => {
      const length = 4 * width * height;
      return fc.uint8ClampedArray({ minLength: length, maxLength: length }).map((data) => ({ width, height, data }));
    });
    await fc.assert(
      fc.asyncProperty(pixels, async (image) => {
        const decoded = PNG.sync.read(Buffer.from(await encodePng(image as RgbaImage)));
        expect([...decoded.data]).toEqual([...image.data]);
      }),
      { numRuns: 50 },
    );
  });

  it("writes opaque pictures as RGB and others as RGBA", async () => {
    const colourType = async (opaque: boolean) =>
      readChunks(await encodePng(picture(4, 4, 1, opaque)), "test")[0]!.data[9];
    expect(await colourType(true)).toBe(2);
    expect(await colourType(false)).toBe(6);
  });

  it("chooses a filter for each line: all kinds for a mixed picture, `up` for repeated lines", async () => {
    const filters = async (image: RgbaImage) => {
      const idat = readChunks(await encodePng(image), "test").find((chunk) => chunk.type === "IDAT")!;
      const lines = inflateSync(idat.data);
      return Array.from({ length: image.height }, (_, y) => lines[y * (3 * image.width + 1)]);
    };
    const image = picture(33, 40, 1, true);
    expect(new Set(await filters(image)).size).toBeGreaterThanOrEqual(3);
    expect((await filters(enlarge(image, 4))).filter((_, y) => y % 4 !== 0)).toEqual(Array(120).fill(2));
  });

  it("refuses an inconsistent image", async () => {
    const data = new Uint8ClampedArray(15);
    await expect(encodePng({ width: 2, height: 2, data })).rejects.toThrow("image has shape [15], expected 2 x 2 x 4");
    await expect(encodePng({ width: 0, height: 2, data })).rejects.toThrow("image has shape [0, 2]");
    await expect(encodePng({ width: 1.5, height: 2, data })).rejects.toThrow("image has shape [1.5, 2]");
  });
});
