/** EXIF orientation: read from the bytes of both byte orders, and applied as the standard draws it. */
import { describe, expect, it } from "vitest";
import { jpegOrientation, oriented, pngOrientation } from "../../src/image/orientation.ts";
import { encodePng } from "../../src/image/png.ts";
import { readChunks, writeChunks } from "../../src/image/pngChunks.ts";
import { exif, withExif } from "../support/exif.ts";

/** Letters as pixels. */
const picture = (rows: string) => {
  const lines = rows.split("/");
  const data = Uint8ClampedArray.from([...lines.join("")].flatMap((c) => [c.charCodeAt(0), 1, 2, 255]));
  return { width: lines[0]!.length, height: lines.length, data };
};

/** What ABC over DEF is shown as. */
const shown = ["ABC/DEF", "CBA/FED", "FED/CBA", "DEF/ABC", "AD/BE/CF", "DA/EB/FC", "FC/EB/DA", "CF/BE/AD"];

describe("oriented", () => {
  it.each(shown.map((rows, i) => [i + 1, rows] as const))("%i", (orientation, rows) => {
    expect(oriented(picture("ABC/DEF"), orientation)).toEqual(picture(rows));
  });
});

describe("jpegOrientation", () => {
  const start = [0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2];
  const file = (...segments: number[][]) => Uint8Array.from([...start, ...segments.flat(), 0xff, 0xda, 0, 2]);

  it.each(["II", "MM"] as const)("reads the tag, %s", (order) => {
    for (let n = 1; n <= 8; n++) expect(jpegOrientation(withExif(file(), exif(n, order)))).toBe(n);
  });

  it("is 1 where there is no tag, or one that means nothing", () => {
    expect(jpegOrientation(file())).toBe(1);
    expect(jpegOrientation(new Uint8Array([0xff, 0xd8]))).toBe(1);
    for (const n of [0, 9, 65535]) expect(jpegOrientation(withExif(file(), exif(n, "II")))).toBe(1);
    // XMP lives in the same kind of segment.
    expect(jpegOrientation(file([0xff, 0xe1, 0, 10, ...Buffer.from("http://x")]))).toBe(1);
  });

  it("survives a structure that is cut anywhere", () => {
    const whole = exif(6, "MM");
    for (let n = 0; n < whole.length; n++)
      expect([1, 6]).toContain(jpegOrientation(withExif(file(), whole.slice(0, n))));
  });
});

describe("pngOrientation", () => {
  it("reads the chunk eXIf", async () => {
    const png = await encodePng(picture("ABC/DEF"));
    const chunks = readChunks(png, "a.png");
    expect(pngOrientation(chunks)).toBe(1);
    const [head, ...rest] = chunks;
    const data = Uint8Array.from(exif(8, "MM"));
    const file = writeChunks([head!, { type: "eXIf", data }, ...rest]);
    expect(pngOrientation(readChunks(file, "a.png"))).toBe(8);
  });
});
