/** readImage: PNG and JPEG by their content, the right way up, and one sentence about files that it cannot read. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import jpeg from "jpeg-js";
import { afterAll, describe, expect, it } from "vitest";
import { oriented } from "../../src/image/orientation.ts";
import { encodePng } from "../../src/image/png.ts";
import { readChunks, writeChunks } from "../../src/image/pngChunks.ts";
import type { RgbaImage } from "../../src/image/rgba.ts";
import { readImage } from "../../src/node/image.ts";
import { FileError } from "../../src/runtime/errors.ts";
import { exif, withExif } from "../support/exif.ts";

const folder = mkdtempSync(join(tmpdir(), "ddim-image-"));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

const colours = [
  [220, 30, 40],
  [20, 200, 60],
  [30, 40, 210],
  [240, 230, 30],
  [10, 10, 10],
  [200, 200, 200],
];
/** Three blocks over three, a colour each, of 16 pixels: wide enough for halved colour. */
const data = Uint8ClampedArray.from({ length: 48 * 32 * 4 }, (_, i) => {
  const [c, pixel] = [i & 3, i >> 2];
  const block = Math.floor(pixel / 48 / 16) * 3 + Math.floor((pixel % 48) / 16);
  return c === 3 ? 255 : (colours[block]![c] as number);
});
const picture: RgbaImage = { width: 48, height: 32, data };
const encoded = new Uint8Array(jpeg.encode({ ...picture, data: Buffer.from(data) }, 95).data);

const worst = (a: RgbaImage, b: RgbaImage) => {
  expect([a.width, a.height]).toEqual([b.width, b.height]);
  return a.data.reduce((most, v, i) => Math.max(most, Math.abs(v - b.data[i]!)), 0);
};

describe("readImage", () => {
  it("reads a JPEG file, whatever its name", async () => {
    expect(worst(await readImage(file("a.png", encoded)), picture)).toBeLessThan(6);
  });

  it("reads a PNG file, whatever its name", async () => {
    expect(await readImage(file("b.jpg", await encodePng(picture)))).toEqual(picture);
  });

  it.each([1, 2, 3, 4, 5, 6, 7, 8])("shows EXIF orientation %i", async (n) => {
    const turned = oriented(picture, n);
    const path = file(`turned-${n}.jpg`, withExif(encoded, exif(n, n % 2 ? "II" : "MM")));
    expect(worst(await readImage(path), turned)).toBeLessThan(6);
    const [head, ...rest] = readChunks(await encodePng(picture), "");
    const chunk = { type: "eXIf", data: Uint8Array.from(exif(n, "MM")) };
    expect(await readImage(file("turned.png", writeChunks([head!, chunk, ...rest])))).toEqual(turned);
  });

  it("names the file that it cannot read", async () => {
    const bad: [string, RegExp][] = [
      [join(folder, "missing.jpg"), /cannot be read \(ENOENT\)/],
      [folder, /is not a file$/],
      [file("empty.jpg", new Uint8Array()), /neither a PNG nor a JPEG file/],
      [file("gif.jpg", Buffer.from("GIF89a and so on")), /neither a PNG nor a JPEG file/],
      [file("start.jpg", encoded.subarray(0, 2)), /cannot be decoded, cut off or damaged/],
      [file("header.jpg", encoded.subarray(0, 200)), /cannot be decoded, cut off or damaged/],
      [file("cut.jpg", encoded.subarray(0, encoded.length - 60)), /cannot be decoded, cut off or damaged/],
      [file("cut.png", (await encodePng(picture)).subarray(0, 60)), /not a readable PNG file/],
    ];
    for (const [path, message] of bad) {
      const failing = readImage(path);
      await expect(failing, path).rejects.toThrow(FileError);
      await expect(failing, path).rejects.toThrow(`${path}: `);
      await expect(failing, path).rejects.toThrow(message);
    }
  });
});
