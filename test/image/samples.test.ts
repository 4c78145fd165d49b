import { describe, expect, it } from "vitest";
import { fromRgbaImages, toRgbaImages } from "../../src/image/samples.ts";
import { ShapeError } from "../../src/runtime/errors.ts";
import { tensorsOf } from "../reference/inputs.ts";
import { toRgba } from "../reference/toRgba.ts";

describe("toRgbaImages", () => {
  it.each([1, 3, 4])("%i channels give the bytes of the GPU's kernel", (c) => {
    const x = tensorsOf("samples")([2, 5, 3, c]);
    const planar = Float32Array.from({ length: x.data.length }, (_, i) => {
      const [n, k, p] = [Math.floor(i / (15 * c)), Math.floor(i / 15) % c, i % 15];
      return x.data[(n * 15 + p) * c + k] as number;
    });
    const images = toRgbaImages(planar, 2, c, { height: 5, width: 3 });
    expect(images.flatMap(({ data }) => [...data])).toEqual([...toRgba(x)]);
  });
});

describe("fromRgbaImages", () => {
  it("is the inverse for bytes", () => {
    const data = new Uint8ClampedArray(4 * 256).map((_, i) => (i % 4 === 3 ? 255 : (i * 7) % 256));
    const { shape, data: samples } = fromRgbaImages([{ width: 16, height: 16, data }], 3);
    expect(shape).toEqual([1, 3, 16, 16]);
    expect(toRgbaImages(samples, 1, 3, { width: 16, height: 16 })[0]!.data).toEqual(data);
  });

  it("makes luma of one channel, and white of transparency", () => {
    const data = new Uint8ClampedArray([255, 0, 0, 255, 0, 0, 0, 0]);
    const { data: samples } = fromRgbaImages([{ width: 2, height: 1, data }], 1);
    expect(samples[0]).toBeCloseTo(0.299 * 2 - 1, 5);
    expect(samples[1]).toBeCloseTo(1, 6);
  });

  it("refuses pictures of two sizes", () => {
    const of = (width: number) => ({ width, height: 1, data: new Uint8ClampedArray(4 * width) });
    expect(() => fromRgbaImages([of(1), of(2)], 3)).toThrow(ShapeError);
    expect(() => fromRgbaImages([of(1)], 4)).toThrow(ShapeError);
  });
});
