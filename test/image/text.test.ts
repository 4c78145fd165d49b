import { expect, it } from "vitest";
import { captioned } from "../../src/image/text.ts";

const image = { width: 12, height: 2, data: new Uint8ClampedArray(96).fill(7) };

it("writes black on white above the picture, and cuts off what does not fit", () => {
  const { width, height, data } = captioned(image, "1=0S", 1);
  expect([width, height]).toEqual([12, 9]);
  const rows = Array.from({ length: 7 }, (_, y) =>
    Array.from({ length: 12 }, (_, x) => (data[4 * (12 * y + x)] === 0 ? "#" : ".")).join(""),
  );
  expect(rows).toEqual([
    "............",
    ".#......###.",
    "##..###.#.#.",
    ".#......#.#.",
    ".#..###.#.#.",
    "###.....###.",
    "............",
  ]);
  expect([...data.subarray(4 * 12 * 7)]).toEqual([...image.data]);
});
