/** Enlarging and arranging pictures. */
import { describe, expect, it } from "vitest";
import { grid } from "../../src/image/grid.ts";
import { defaultScale, enlarge, type RgbaImage } from "../../src/image/rgba.ts";
import { ShapeError, UsageError } from "../../src/runtime/errors.ts";

/** A picture drawn with one letter per pixel; what it is drawn with comes back from `letters`. */
function draw(...rows: string[]): RgbaImage {
  const text = rows.join("");
  const data = Uint8ClampedArray.from([...text].flatMap((c) => [c.charCodeAt(0), 1, 2, 3]));
  return { width: rows[0]!.length, height: rows.length, data };
}

function letters({ width, height, data }: RgbaImage): string[] {
  expect(data.length).toBe(4 * width * height);
  const pixel = (y: number, x: number) => String.fromCharCode(data[4 * (y * width + x)]!);
  return Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) => pixel(y, x)).join(""));
}

describe("enlarge", () => {
  it("repeats pixels, all four channels of them", () => {
    const big = enlarge(draw("ab", "cd"), 3);
    expect(letters(big)).toEqual(["aaabbb", "aaabbb", "aaabbb", "cccddd", "cccddd", "cccddd"]);
    expect([...big.data.subarray(-4)]).toEqual(["d".charCodeAt(0), 1, 2, 3]);
  });

  it("by 1 is a copy", () => {
    const image = draw("ab");
    const copy = enlarge(image, 1);
    expect(copy).toEqual(image);
    copy.data[0] = 0;
    expect(image.data[0]).toBe("a".charCodeAt(0));
  });

  it("takes an image that is a view into a larger buffer", () => {
    const whole = draw("xab");
    expect(letters(enlarge({ width: 2, height: 1, data: whole.data.subarray(4) }, 2))).toEqual(["aabb", "aabb"]);
  });

  it.each([0, -1, 1.5, Number.NaN])("refuses %d", (k) => {
    expect(() => enlarge(draw("a"), k)).toThrow(UsageError);
  });
});

it("defaultScale makes small pictures about 128 wide and leaves others alone", () => {
  expect([16, 32, 48, 63, 1].map(defaultScale)).toEqual([8, 4, 3, 2, 128]);
  expect([64, 65, 256].map(defaultScale)).toEqual([1, 1, 1]);
});

describe("grid", () => {
  const background = ["-".charCodeAt(0), 0, 0, 255] as const;
  const images = [..."abcde"].map((c) => draw(c + c, c + c));

  it("lays out rows with gaps and fills the rest", () => {
    expect(letters(grid(images, 3, { gap: 1, background }))).toEqual([
      "aa-bb-cc",
      "aa-bb-cc",
      "--------",
      "dd-ee---",
      "dd-ee---",
    ]);
  });

  it("has no gap when told so, and no wider a sheet than its images", () => {
    expect(letters(grid(images.slice(0, 2), 5, { gap: 0 }))).toEqual(["aabb", "aabb"]);
  });

  it("by default leaves two white pixels", () => {
    const sheet = grid(images.slice(0, 2), 2);
    expect([sheet.width, sheet.height]).toEqual([6, 2]);
    expect([...sheet.data.subarray(8, 16)]).toEqual(Array(8).fill(255));
  });

  it("refuses what cannot be laid out", () => {
    expect(() => grid([], 2)).toThrow(UsageError);
    expect(() => grid(images, 0)).toThrow(UsageError);
    expect(() => grid(images, 2.5)).toThrow(UsageError);
    expect(() => grid(images, 2, { gap: -1 })).toThrow(UsageError);
    expect(() => grid([images[0]!, draw("abc")], 2)).toThrow(ShapeError);
    expect(() => grid([images[0]!, draw("abc")], 2)).toThrow(
      "grid: image 1 has shape [3, 1], expected 2 x 2 like image 0",
    );
  });
});
