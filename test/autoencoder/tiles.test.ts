/** How latents are cut, and that a decoder in tiles makes what its tiles put together by the f64 reference are. */
import { expect, test } from "vitest";
import { Autoencoder } from "../../src/autoencoder/autoencoder.ts";
import { coderBytes, lowerDecoder } from "../../src/autoencoder/coder.ts";
import { lowerTiles, tiledBytes } from "../../src/autoencoder/tiled.ts";
import { spans, tileSides } from "../../src/autoencoder/tiles.ts";
import { targetFor } from "../../src/kernels/target.ts";
import { folderSource } from "../../src/node/folder.ts";
import { openAutoencoder } from "../../src/node/model.ts";
import { DeviceError } from "../../src/runtime/errors.ts";
import { nmse, type RefTensor, randomTensor, tensor } from "../reference/tensor.ts";
import { blend } from "../reference/tiles.ts";
import { testDevice } from "../support/gpu.ts";
import { goldenPath } from "../support/models.ts";

test.each([
  [5, 8],
  [8, 8],
  [9, 8],
  [14, 8],
  [15, 8],
  [64, 8],
  [100, 64],
  [113, 64],
])("tiles over %i latents of side %i share a quarter and end at the end", (length, side) => {
  const list = spans(length, side);
  const own = Math.min(length, side);
  expect(list[0]).toMatchObject({ at: 0, first: 0, before: 0 });
  expect(list.at(-1)).toMatchObject({ at: length - own, after: 0 });
  for (const [i, { at, first, before }] of list.entries()) {
    if (i === 0) continue;
    const previous = list[i - 1]!;
    expect(before).toBe(side / 4);
    expect(previous.after).toBe(side / 4);
    expect(at + first + before).toBe(previous.at + own);
    expect(first + before).toBeLessThan(own);
  }
});

test("sides go down to 8, from what is smaller than the latents", () => {
  expect(tileSides(64, 70, 20).slice(0, 2)).toEqual([64, 60]);
  expect(tileSides(64, 18, 30)).toEqual([28, 24, 20, 16, 12, 8]);
  expect(tileSides(64, 8, 8)).toEqual([]);
});

const nchw = (t: RefTensor, [n, c, h, w]: readonly [number, number, number, number]) => ({
  shape: [n, c, h, w],
  data: Float32Array.from({ length: n * c * h * w }, (_, i) => {
    const [image, channel, pixel] = [Math.floor(i / (c * h * w)), Math.floor(i / (h * w)) % c, i % (h * w)];
    return t.data[(image * h * w + pixel) * c + channel]!;
  }),
});
const nhwc = ({ shape, data }: { shape: readonly number[]; data: Float32Array }) => {
  const [n, c, h, w] = shape as [number, number, number, number];
  return tensor([n, h, w, c], (i) => {
    const [pixel, channel] = [Math.floor(i / c), i % c];
    return data[(Math.floor(pixel / (h * w)) * c + channel) * h * w + (pixel % (h * w))]!;
  });
};

test("a decoder under a memory limit works in tiles, with the same bits at any batch", async () => {
  const device = await testDevice();
  const model = await openAutoencoder(folderSource(goldenPath("autoencoders/kl")));
  const [n, h, w, c] = [2, 11, 19, 4];
  const latents = randomTensor([n, h, w, c], 5);
  using whole = new Autoencoder(model, device);
  // The model was trained on 32 × 32 images, 8 × 8 latents.
  const [rows, columns] = [spans(h, 8), spans(w, 8)];
  const tiles: RefTensor[] = [];
  for (const row of rows)
    for (const column of columns) {
      const tile = tensor([n, 8, 8, c], (i) => {
        const [pixel, channel] = [Math.floor(i / c), i % c];
        const [image, r, q] = [Math.floor(pixel / 64), Math.floor(pixel / 8) % 8, pixel % 8];
        return latents.data[((image * h + row.at + r) * w + column.at + q) * c + channel]!;
      });
      tiles.push(nhwc((await whole.decode(nchw(tile, [n, c, 8, 8]))).image));
    }
  const places = (list: typeof rows) => list.map(({ at, first }) => ({ at: at * 4, first: first * 4 }));
  const expected = blend(tiles, places(rows), places(columns), 8);
  const input = nchw(latents, [n, c, h, w]);
  const target = targetFor(device);
  const choices = { height: h, width: w, dtype: "f32", quantize: false, scale: 1, shift: 0 } as const;
  const smallest = lowerTiles(device, model.spec, target, choices, Number.POSITIVE_INFINITY);
  const memory = tiledBytes(smallest!, 1);
  expect(coderBytes(lowerDecoder(model.spec, target, choices), 1)).toBeGreaterThan(memory);
  using tiled = new Autoencoder(model, device, { memory });
  expect(tiled.decoderImages({ height: h, width: w }, n)).toBe(1);
  const { image } = await tiled.decode(input);
  expect(image.shape).toEqual([n, 3, h * 4, w * 4]);
  expect(nmse(nhwc(image).data, expected.data)).toBeLessThanOrEqual(1e-12);
  const single = { shape: [1, c, h, w], data: input.data.subarray(c * h * w) };
  expect((await tiled.decode(single)).image.data).toEqual(image.data.subarray(image.data.length / 2));
  // Tiles see less than the whole, so that this is another picture.
  expect(nmse((await whole.decode(input)).image.data, image.data)).toBeGreaterThan(1e-4);
  using tiny = new Autoencoder(model, device, { memory: 1000 });
  await expect(tiny.decode(input)).rejects.toThrow(DeviceError);
});
