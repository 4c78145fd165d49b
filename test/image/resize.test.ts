import { describe, expect, it } from "vitest";
import { fitImage } from "../../src/image/resize.ts";
import type { RgbaImage } from "../../src/image/rgba.ts";

/** Grey rows of a function of x and y, opaque. */
function picture(width: number, height: number, grey: (x: number, y: number) => number): RgbaImage {
  const data = new Uint8ClampedArray(4 * width * height);
  for (let p = 0; p < width * height; p++) {
    const v = grey(p % width, Math.floor(p / width));
    data.set([v, v, v, 255], 4 * p);
  }
  return { width, height, data };
}
const grey = ({ data }: RgbaImage) => Array.from({ length: data.length / 4 }, (_, p) => data[4 * p]);

describe("fitImage", () => {
  it("keeps a picture that fits, and says nothing", () => {
    const image = picture(3, 2, (x, y) => 10 * x + y);
    expect(fitImage(image, { width: 3, height: 2 })).toEqual({ image, done: "" });
  });

  it("puts transparency over white", () => {
    const data = new Uint8ClampedArray([0, 0, 0, 0, 100, 100, 100, 51]);
    expect([...fitImage({ width: 2, height: 1, data }, { width: 2, height: 1 }).image.data]).toEqual([
      255, 255, 255, 255, 224, 224, 224, 255,
    ]);
  });

  it("averages what becomes smaller", () => {
    const checks = picture(64, 64, (x, y) => ((x + y) % 2) * 200);
    for (const v of grey(fitImage(checks, { width: 8, height: 8 }).image))
      expect(Math.abs(v! - 100)).toBeLessThanOrEqual(1);
  });

  it("keeps a ramp a ramp when it becomes larger", () => {
    const { image } = fitImage(
      picture(8, 8, (x) => 16 * x),
      { width: 32, height: 32 },
    );
    const row = grey(image).slice(0, 32) as number[];
    expect(row).toEqual([...row].sort((a, b) => a - b));
    expect(row[16]! - row[15]!).toBeCloseTo(4, 0);
  });

  it("crops the middle, pads with white, or stretches, and says so", () => {
    const wide = picture(30, 10, (x) => (x < 10 || x >= 20 ? 0 : 200));
    const crop = fitImage(wide, { width: 10, height: 10 }, "crop");
    expect(crop.done).toBe("cropped and resized from 30 x 10 to 10 x 10");
    expect(grey(crop.image)[55]).toBe(200);
    const pad = fitImage(wide, { width: 30, height: 30 }, "pad");
    expect(pad.done).toMatch(/padded/);
    expect([grey(pad.image)[0], grey(pad.image)[15 * 30 + 15]]).toEqual([255, 200]);
    const stretch = fitImage(wide, { width: 10, height: 10 }, "stretch");
    expect(stretch.done).toMatch(/^resized from/);
    expect([grey(stretch.image)[50], grey(stretch.image)[55]]).toEqual([0, 200]);
    expect(() => fitImage(wide, { width: 1, height: 1 }, "squeeze" as never)).toThrow(/fit must be one of/);
  });
});
