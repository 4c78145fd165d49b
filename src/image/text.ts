/** Short labels in a font of three by five pixels: enough for numbers and the names of the options that are swept. */
import type { RgbaImage } from "./rgba.ts";

/** Five lines from the top, three bits each. */
const glyphs: Readonly<Record<string, readonly number[]>> = {
  "0": [7, 5, 5, 5, 7],
  "1": [2, 6, 2, 2, 7],
  "2": [7, 1, 7, 4, 7],
  "3": [7, 1, 7, 1, 7],
  "4": [5, 5, 7, 1, 1],
  "5": [7, 4, 7, 1, 7],
  "6": [7, 4, 7, 5, 7],
  "7": [7, 1, 1, 2, 2],
  "8": [7, 5, 7, 5, 7],
  "9": [7, 5, 7, 1, 7],
  ".": [0, 0, 0, 0, 2],
  "=": [0, 7, 0, 7, 0],
  a: [0, 3, 5, 5, 3],
  c: [0, 3, 4, 4, 3],
  e: [7, 5, 7, 4, 7],
  t: [2, 7, 2, 2, 3],
  w: [0, 5, 5, 7, 7],
  S: [7, 4, 7, 1, 7],
};

const ADVANCE = 4;
const HEIGHT = 5;

/**
 * A picture under a line of text, black on white. Characters without a glyph are blank; what does not fit is cut off.
 *
 * @param size pixels per pixel of the font
 */
export function captioned(image: RgbaImage, text: string, size = 2): RgbaImage {
  const { width } = image;
  const top = (HEIGHT + 2) * size;
  const data = new Uint8ClampedArray(4 * width * (top + image.height)).fill(255);
  data.set(image.data, 4 * width * top);
  [...text].forEach((character, k) => {
    glyphs[character]?.forEach((bits, line) => {
      for (let column = 0; column < 3; column++) {
        if (!(bits & (4 >> column))) continue;
        for (let j = 0; j < size; j++)
          for (let i = 0; i < size; i++) {
            const x = (k * ADVANCE + column) * size + i;
            if (x < width) data.set([0, 0, 0], 4 * (((line + 1) * size + j) * width + x));
          }
      }
    });
  });
  return { width, height: top + image.height, data };
}
