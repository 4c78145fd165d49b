/**
 * The core in a browser: a headless Chromium on whatever adapter it has (without a GPU its own software adapter, which has
 * no shader-f16 and subgroups of four) samples an avatar and has to get what Node gets.
 */
import { readFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { readPngText } from "../../src/image/pngText.ts";
import type { SavedRun, Step } from "../../src/pipeline/types.ts";
import { maxAbs, nmse } from "../reference/tensor.ts";
import { goldenPath, load, readEvaluation, shippedPath } from "../support/models.ts";
import { type OpenPage, openPage } from "./openPage.ts";
import type { Ddim } from "./page/main.ts";

declare const ddim: Ddim;

let browser: OpenPage;
beforeAll(async () => {
  browser = await openPage();
});
afterAll(() => browser?.close());

afterEach(() => {
  // Browsers report every 404: a good model is found without any.
  expect(browser.errors).toEqual([]);
});

test("checkSupport names the adapter and its features", async () => {
  const support = await browser.page.evaluate(() => ddim.checkSupport());
  expect(support).toMatchObject({ ok: true, adapter: expect.stringMatching(/\w/) });
  expect(support.ok && support.features).toContain("subgroups");
});

test("an avatar is the same as in Node", async () => {
  const options = { seed: 7, steps: 4, classes: [3], guidance: 2, eta: 0.5 };
  const result = await browser.page.evaluate(async (options) => {
    const loaded: number[] = [];
    const pipe = await ddim.loadPipeline(new URL("/weights/pixel-avatars-16", location.href), {
      onProgress: (event) => event.type === "download" && loaded.push(event.loaded / event.total),
    });
    const { samples, images } = await pipe.generate(options);
    const [image] = images as [(typeof images)[number]];
    const canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext("2d") as OffscreenCanvasRenderingContext2D;
    context.putImageData(new ImageData(image.data, image.width, image.height), 0, 0);
    const drawn = [...context.getImageData(0, 0, image.width, image.height).data];
    const { counters } = pipe.device;
    pipe.dispose();
    return { samples: [...samples.data], bytes: [...image.data], drawn, loaded, liveBytes: counters.liveBytes };
  }, options);
  using pipe = await load(shippedPath("pixel-avatars-16"));
  const { samples, images } = await pipe.generate(options);
  expect(maxAbs(result.samples, samples.data)).toBeLessThanOrEqual(1e-4);
  expect(maxAbs(result.bytes, images[0]!.data)).toBeLessThanOrEqual(1);
  expect(result.drawn).toEqual(result.bytes);
  expect(result.loaded.at(-1)).toBe(1);
  expect(result.liveBytes).toBe(0);
});

test("a device that is lost is replaced without a request for the model, and a run goes on from its state", async () => {
  const open = await browser.page.evaluateHandle(async () => {
    const pipe = await ddim.loadPipeline(new URL("/weights/pixel-avatars-16", location.href));
    const options = { seed: 7, steps: 4, classes: [3], eta: 0.5 };
    const { samples } = await pipe.generate(options);
    let resume: SavedRun | undefined;
    async function onStep(step: Step) {
      resume = await step.save();
      if (step.index === 1) pipe.device.gpu.destroy();
    }
    const error = await pipe.generate({ ...options, onStep }).catch((error: unknown) => error);
    if (!(error instanceof ddim.DeviceError && error.reason === "lost")) throw error;
    return { pipe, options, resume, right: [...samples.data] };
  });
  const { length } = browser.requests;
  const [right, resumed] = await open.evaluate(async ({ pipe, options, resume, right }) => {
    await Promise.all([pipe.recover(), pipe.recover()]);
    const { samples } = await pipe.generate({ ...options, resume });
    pipe.dispose();
    return [right, [...samples.data]];
  });
  expect(resumed).toEqual(right);
  expect(browser.requests.slice(length).filter((request) => request.includes("/weights/"))).toEqual([]);
});

test("attention, odd widths, float16: a network from files, as <input webkitdirectory> gives them", async () => {
  const { inputs, output } = await readEvaluation(goldenPath("corners/no_middle/io_8x12.safetensors"));
  const { sample, timestep } = inputs;
  const results = await browser.page.evaluate(
    async ([origin, shape, data, timestep]) => {
      const folder = "no_middle/unet";
      const names = ["config.json", "diffusion_pytorch_model.safetensors"];
      const files = await Promise.all(
        names.map(async (name) => {
          const bytes = await (await fetch(`${origin}/golden/corners/${folder}/${name}`)).arrayBuffer();
          return Object.defineProperty(new File([bytes], name), "webkitRelativePath", { value: `${folder}/${name}` });
        }),
      );
      const run = async (dtype: "f32" | "f16") => {
        const pipe = await ddim.loadPipeline(files, { dtype });
        const result = await pipe.network.forward({ sample: { shape, data: Float32Array.from(data) }, timestep });
        pipe.dispose();
        return [...result.data];
      };
      return { f32: await run("f32"), f16: await run("f16") };
    },
    [new URL(browser.page.url()).origin, sample.shape, [...sample.data], timestep] as const,
  );
  expect(nmse(results.f32, output.data)).toBeLessThanOrEqual(1e-10);
  expect(nmse(results.f16, output.data)).toBeLessThanOrEqual(2e-5);
});

test("encodePng writes a PNG that the browser decodes, with its text", async () => {
  const { png, pixels } = await browser.page.evaluate(async () => {
    const data = Uint8ClampedArray.from({ length: 5 * 3 * 4 }, (_, i) => (i % 4 === 3 ? 255 : (i * 37) % 256));
    const bytes = await ddim.encodePng({ width: 5, height: 3, data }, { parameters: "Seed: 7, Größe: 5x3" });
    const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const context = canvas.getContext("2d") as OffscreenCanvasRenderingContext2D;
    context.drawImage(bitmap, 0, 0);
    const decoded = context.getImageData(0, 0, 5, 3).data;
    return { png: [...bytes], pixels: { drawn: [...decoded], given: [...data] } };
  });
  expect(pixels.drawn).toEqual(pixels.given);
  expect(await readPngText(Uint8Array.from(png))).toMatchObject({ parameters: "Seed: 7, Größe: 5x3" });
});

test("readImage reads what the browser reads, pixel by pixel, within the limits and whole", async () => {
  const results = await browser.page.evaluate(async () => {
    const fetched = async (name: string) =>
      new Uint8Array(await (await fetch(`/golden/pictures/${name}`)).arrayBuffer());
    const reading = async (from: Blob | Uint8Array, maxPixels?: number) => {
      const warnings: string[] = [];
      try {
        const { width, height, data } = await ddim.readImage(from, {
          maxPixels,
          onWarning: (text) => warnings.push(text),
        });
        return { width, height, data: [...data], warnings };
      } catch (error) {
        return `${(error as Error).name} ${(error as Error).message}`;
      }
    };
    // Every alpha, and colours that would not survive being multiplied with it.
    const data = Uint8ClampedArray.from({ length: 64 * 4 * 4 }, (_, i) => (i % 4 === 3 ? i >> 2 : (i * 37) % 256));
    const own = await ddim.encodePng({ width: 64, height: 4, data });
    const bitmap = [0x42, 0x4d, 58, 0, 0, 0, 0, 0, 0, 0, 54, 0, 0, 0, 40, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 24, 0];
    return {
      given: [...data],
      own: await reading(own),
      surplus: await reading(new Blob([own, "more"])),
      bmp: await reading(Uint8Array.from([...bitmap, ...Array(24).fill(0), 3, 2, 1, 0])),
      turned: await reading(await fetched("turned-fill.jpg")),
      webp: await reading(await fetched("alpha-lossless.webp")),
      animated: await reading(new File([await fetched("animated.webp")], "a.webp")),
      refused: [
        await reading(new File([own.subarray(0, 300)], "cut.png")),
        await reading((await fetched("420.jpg")).subarray(0, 500)),
        await reading((await fetched("lossy.webp")).subarray(0, 100)),
        await reading(new TextEncoder().encode("no picture")),
        await reading(own, 255),
      ],
    };
  });
  expect(results.own).toEqual({ width: 64, height: 4, data: results.given, warnings: [] });
  expect(results.surplus).toMatchObject({
    data: results.given,
    warnings: ["picture: 4 bytes after its end were passed over"],
  });
  expect(results.bmp).toMatchObject({ width: 1, height: 1, data: [1, 2, 3, 255] });
  const pixels = JSON.parse(readFileSync(goldenPath("pictures/pixels.json"), "utf8"));
  for (const [name, result] of [
    ["turned-fill.jpg", results.turned],
    ["alpha-lossless.webp", results.webp],
    ["animated.webp", results.animated],
  ] as const) {
    const { width, height, rgba } = pixels[name];
    const image = result as { width: number; height: number; data: number[] };
    expect([name, image.width, image.height]).toEqual([name, width, height]);
    expect(maxAbs(image.data, Buffer.from(rgba, "base64"))).toBeLessThanOrEqual(2);
  }
  expect(results.refused).toEqual([
    expect.stringMatching(/^FileError cut\.png: is cut off at byte 300/),
    expect.stringMatching(/^FileError picture: .*is cut off at byte 500/),
    expect.stringMatching(/^FileError picture: is cut off at byte 100 of \d+/),
    "FileError picture: is no picture that this browser reads, or is damaged",
    expect.stringMatching(/^FileError picture: has 64 x 4 pixels, more than the limit of 255/),
  ]);
});
