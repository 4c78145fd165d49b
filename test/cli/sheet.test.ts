import { expect, test } from "vitest";
import { sheet } from "../../src/cli/sheet.ts";
import type { RgbaImage } from "../../src/image/rgba.ts";

const dot = (value: number): RgbaImage => ({
  width: 1,
  height: 1,
  data: new Uint8ClampedArray([value, value, value, 255]),
});

/** Grey values at the places of the images, row by row; gaps are 2 wide. */
function cells({ width, height, data }: RgbaImage): number[][] {
  const rows = Array.from({ length: (height + 2) / 3 }, (_, y) => y);
  const columns = Array.from({ length: (width + 2) / 3 }, (_, x) => x);
  return rows.map((y) => columns.map((x) => data[4 * (3 * y * width + 3 * x)] as number));
}

test("without classes the sheet is nearly square", () => {
  expect(cells(sheet([1, 2, 3, 4, 5].map(dot), 1))).toEqual([
    [1, 2, 3],
    [4, 5, 255],
  ]);
});

test("with classes every class has its row, in the order in which they occur", () => {
  expect(cells(sheet([1, 2, 3, 4, 5].map(dot), 1, [7, 2, 7, 2, 7]))).toEqual([
    [1, 3, 5],
    [2, 4, 255],
  ]);
});

test("one image is itself, enlarged", () => {
  expect(sheet([dot(9)], 3)).toMatchObject({ width: 3, height: 3 });
  expect(sheet([dot(9)], 3, [0])).toMatchObject({ width: 3, height: 3 });
});
