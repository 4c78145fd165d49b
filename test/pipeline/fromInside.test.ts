/** What is no image, tensor, source or list is refused by the library's own errors, before anything is allocated. */
import { describe, expect, it } from "vitest";
import * as core from "../../src/index.ts";
import { readImage } from "../../src/node/image.ts";

const image = { width: 2, height: 2, data: new Uint8ClampedArray(16) };
const tensor = { shape: [1, 1, 1, 1], data: new Float32Array(1) };
const wrong = [null, 3, Number.NaN, 1e10, "x", "a\0b", [], [1, 2], {}, () => {}, Symbol("s"), 5n, Object.create(null)];
const rest = [new Uint8Array(3), { shape: [1, 2, 3, 4], data: [1] }, { width: 1e9, height: 1e9, data: [] }, undefined];

const calls: Record<string, (value: never) => unknown> = {
  "grid of": (v) => core.grid(v, 2),
  "grid of images": (v) => core.grid([v], 1),
  fitImage: (v) => core.fitImage(v, { width: 2, height: 2 }),
  "fitImage to": (v) => core.fitImage(image, v),
  encodePng: (v) => core.encodePng(v),
  enlarge: (v) => core.enlarge(v, 2),
  "enlarge by": (v) => core.enlarge(image, v === 3 ? (1e9 as never) : v),
  "toRgbaImages to": (v) => core.toRgbaImages(tensor.data, 1, 1, v),
  "fromRgbaImages of one": (v) => core.fromRgbaImages([v], 3),
  readPngText: (v) => core.readPngText(v),
  readImage: (v) => readImage(v),
  findAutoencoder: (v) => core.findAutoencoder(v),
  openAutoencoder: (v) => core.openAutoencoder(v),
  toSampler: (v) => core.toSampler({} as never, v),
  fromSampler: (v) => core.fromSampler({} as never, v),
  samplePosterior: (v) => core.samplePosterior(v, tensor),
  "samplePosterior with": (v) => core.samplePosterior({ mean: { ...tensor, shape: [2] }, logvar: tensor }, v),
};

describe.each(Object.entries(calls))("%s", (_, call) => {
  it.each([...wrong, ...rest].map((value, i) => [i, value] as const))("value %i", async (_, value) => {
    await expect((async () => call(value as never))()).rejects.toBeInstanceOf(core.DdimError);
  });
});

it("a sheet or picture that no memory holds is refused", () => {
  expect(() => core.grid([image, image], 2, { gap: 1e10 })).toThrow(core.UsageError);
  expect(() => core.fitImage(image, { width: 1e9, height: 1e9 })).toThrow(core.UsageError);
});

it("sections of no steps are refused, under compat openai, too", () => {
  for (const compat of [undefined, "openai"] as const)
    expect(() => core.makeSchedule({ spacing: "0,0", compat } as never)).toThrow(core.UsageError);
});

it("a denoiser that returns nothing is named", async () => {
  const schedule = core.makeSchedule({ steps: 2 } as never);
  for (const result of [undefined, null, 3, {}, "x"]) {
    const options = { denoise: () => result as never, schedule, xT: new Float32Array(4), shape: [1, 1, 2, 2] };
    const { testDevice } = await import("../support/gpu.ts");
    await expect(core.sample({ ...options, device: await testDevice() } as never)).rejects.toMatchObject({
      name: "UsageError",
      option: "denoise",
    });
  }
});
