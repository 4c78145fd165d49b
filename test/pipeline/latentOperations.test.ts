/** Operations on images of latent models: through the encoder, on latents, through the decoder; and how latents look. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Autoencoder } from "../../src/autoencoder/autoencoder.ts";
import { LatentPreview, leastSquares } from "../../src/pipeline/latentPreview.ts";
import { latentMask } from "../../src/pipeline/maskInput.ts";
import type { Model } from "../../src/pipeline/model.ts";
import type { DiffusionPipeline } from "../../src/pipeline/pipeline.ts";
import type { Tensor } from "../../src/pipeline/types.ts";
import { ConfigError, ShapeError, UsageError } from "../../src/runtime/errors.ts";
import { nmse, randomTensor } from "../reference/tensor.ts";
import { latentModel } from "../support/latents.ts";
import { goldenPath, load, readTensors } from "../support/models.ts";

const random = (shape: readonly number[], seed: number): Tensor => ({
  shape,
  data: Float32Array.from(randomTensor(shape, seed).data, (v) => Math.max(-1, Math.min(1, v / 2))),
});
const part = ({ shape, data }: Tensor, i: number): Tensor => {
  const size = data.length / (shape[0] as number);
  return { shape: [1, ...shape.slice(1)], data: data.slice(i * size, (i + 1) * size) };
};

describe("images of a latent model", () => {
  let pipe: DiffusionPipeline;
  const images = random([2, 3, 32, 32], 1);
  const options = { steps: 4, timesteps: [3, 2, 1, 0] } as const;
  beforeAll(async () => {
    pipe = await load(latentModel("ddpm", "vq"));
  });
  afterAll(() => pipe.dispose());

  test("are encoded as the sampler has them: of a codebook's model not quantised", async () => {
    const golden = await readTensors(goldenPath("autoencoders/vq/io.safetensors"));
    const latents = await pipe.encode(golden.sample as Tensor);
    expect(nmse(latents.data, (golden.latents as Tensor).data)).toBeLessThanOrEqual(1e-10);
    using kl = await load(latentModel("sd1", "kl"));
    const other = await readTensors(goldenPath("autoencoders/kl/io.safetensors"));
    const scaled = await kl.encode(other.sample as Tensor);
    expect(nmse(scaled.data, (other.scaled_latents as Tensor).data)).toBeLessThanOrEqual(1e-10);
  });

  test("are inverted to latents, which sample what the decoder makes of them", async () => {
    const { latents, generation, mse } = await pipe.reconstruct(images, { ...options, steps: undefined });
    expect(latents.shape).toEqual([2, 3, 8, 8]);
    expect(generation.samples.shape).toEqual([2, 3, 32, 32]);
    const encoded = await pipe.encode(images);
    // So little noise is taken away again almost exactly; what is left between the images is the first stage's.
    expect(nmse(generation.latents!.data, encoded.data)).toBeLessThan(1e-6);
    const image = await pipe.decode(encoded);
    for (const [i, own] of mse.entries()) {
      const [a, b] = [part(image, i).data, part(images, i).data];
      const error = a.reduce((sum, v, j) => sum + (v - (b[j] as number)) ** 2, 0) / a.length;
      expect(own).toBeCloseTo(error, 3);
    }
  });

  test("are decoded from a run's latents as the run decodes them, and refused by name", async () => {
    const { latents, samples } = await pipe.generate({ ...options, count: 2, size: { height: 32, width: 32 } });
    expect(await pipe.decode(latents!)).toEqual(samples);
    const live = pipe.device.counters.liveBytes;
    const [bad] = [latents!.data.with(200, Number.NaN)];
    const wrong: [Tensor, RegExp][] = [
      [
        { shape: [2, 4, 8, 6], data: latents!.data },
        /decode: sample has shape \[2, 4, 8, 6\], expected \[N, 3, H, W\]/,
      ],
      [{ shape: [3, 3, 8, 8], data: latents!.data }, /decode: sample has shape \[384\], expected 576 values/],
      [{ shape: latents!.shape, data: bad }, /latents holds NaN in image 1/],
    ];
    for (const [given, message] of wrong) await expect(pipe.decode(given)).rejects.toThrow(message);
    await expect(pipe.decode(latents!, { signal: AbortSignal.abort(new Error("enough")) })).rejects.toThrow("enough");
    expect(pipe.device.counters.liveBytes).toBe(live);
    using onPixels = await load(goldenPath("models/ddpm"));
    expect(await onPixels.decode(images)).toBe(images);
  });

  test("are edited, in the latents that a mask leaves", async () => {
    const image = part(images, 0);
    const encoded = await pipe.encode(image);
    // One pixel to paint takes its latent with it.
    const mask = { shape: [1, 1, 32, 32], data: new Float32Array(1024).fill(1) };
    mask.data[32 * 5 + 9] = 0;
    const made = await pipe.edit(image, { ...options, steps: undefined, mask, seed: 1 });
    expect(made.samples.shape).toEqual([1, 3, 32, 32]);
    const changed = [...made.latents!.data].flatMap((v, i) => (v === encoded.data[i] ? [] : [i % 64]));
    expect(new Set(changed)).toEqual(new Set([8 + 2]));
    const free = await pipe.edit(image, { steps: 2, strength: 0.5, seed: 1 });
    expect(nmse(free.latents!.data, encoded.data)).toBeGreaterThan(1e-3);
    await expect(pipe.edit(image, { mask: { shape: [1, 1, 8, 8], data: new Float32Array(64) } })).rejects.toThrow(
      ShapeError,
    );
  });

  test("are fused; seeds are interpolated at the size of pictures", async () => {
    const fused = await pipe.fuse(part(images, 0), part(images, 1), { timesteps: [1, 0], mix: [0, 1] });
    const encoded = await pipe.encode(images);
    expect(fused.samples.shape).toEqual([2, 3, 32, 32]);
    expect(nmse(fused.latents!.data, encoded.data)).toBeLessThan(1e-4);
    const size = { height: 32, width: 64 };
    const between = await pipe.interpolate([5, 6], { steps: 1, n: 2, size });
    expect(between.samples.shape).toEqual([2, 3, 32, 64]);
    const own = await pipe.generate({ steps: 1, seed: 5, size });
    expect(part(between.samples, 0).data).toEqual(own.samples.data);
  });

  test.each([
    ["an image of other channels", () => pipe.invert(random([1, 4, 32, 32], 1)), ShapeError, "[N, 3, H, W]"],
    ["parts of a latent", () => pipe.invert(random([1, 3, 30, 32], 1)), UsageError, "must be a multiple of 4"],
    [
      "a size in parts of a latent",
      () => pipe.generate({ size: { height: 32, width: 33 } }),
      UsageError,
      "multiple of 4",
    ],
    ["noise added to pixels", async () => pipe.noise(images, [1]), UsageError, "adds its noise to latents"],
  ])("%s is refused", async (_, work, type, message) => {
    const failure = await work().then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(failure).toBeInstanceOf(type);
    expect((failure as Error).message).toContain(message);
  });
});

describe("contexts that cannot be right", () => {
  let pipe: DiffusionPipeline;
  beforeAll(async () => {
    pipe = await load(latentModel("sd1", "kl"));
  });
  afterAll(() => pipe.dispose());
  const context = (n: number, length = 3, width = pipe.model.config.context_dim as number) =>
    random([n, length, width], 2);

  test.each([
    ["none", () => ({}), /needs a context of shape \[N, L, \d+\]/],
    ["of another width", () => ({ context: context(1, 3, 5) }), /context has shape \[1, 3, 5\]/],
    ["of another number", () => ({ context: context(2), count: 3 }), /context has shape \[2, 3, \d+\], expected \[3,/],
    ["none to lead away from", () => ({ context: context(1), guidance: 2 }), /negative context of 3 tokens/],
    [
      "a negative one of another length",
      () => ({ context: context(1), negativeContext: context(1, 4), guidance: 2 }),
      /negative context has shape \[1, 4, \d+\]/,
    ],
    [
      "a negative one without guidance",
      () => ({ context: context(1), negativeContext: context(1) }),
      /negativeContext means nothing while guidance is 1/,
    ],
    ["classes besides", () => ({ context: context(1), classes: [1] }), /takes no class/],
    ["a negative class", () => ({ context: context(1), guidance: 2, negativeClass: 1 }), /needs classes/],
    ["pooled texts", () => ({ context: context(1), textEmbeds: context(1) }), /takes no text_embeds/],
  ])("%s", async (_, options, message) => {
    await expect(pipe.generate({ ...options(), steps: 2 })).rejects.toThrow(message);
  });

  test("say how many images there are; others' networks take none", async () => {
    const { samples } = await pipe.generate({ steps: 1, context: context(3), size: { height: 32, width: 32 } });
    expect(samples.shape[0]).toBe(3);
    using other = await load(latentModel("ddpm", "vq"));
    await expect(other.generate({ context: context(1) })).rejects.toThrow("attends to no context and takes no context");
  });

  test("an autoencoder with other latents than the network's", async () => {
    using other = await load(latentModel("ddpm", "kl"));
    const failure = await other.generate({ steps: 1 }).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ConfigError);
    expect((failure as Error).message).toContain("3 channels, but the autoencoder has latents of 4");
  });
});

describe("how latents look", () => {
  test("least squares find what made the numbers, and the mean where nothing did", () => {
    const [a, b, ones] = [
      [1, 2, 3, 4, -1],
      [0, 1, 0, -2, 5],
      [1, 1, 1, 1, 1],
    ];
    const found = leastSquares(
      [a, b, ones] as number[][],
      a!.map((v, i) => 2 * v - 3 * b![i]! + 0.5),
    );
    [2, -3, 0.5].forEach((v, i) => expect(found[i]).toBeCloseTo(v, 10));
    expect(leastSquares([[1, 1, 1, 1]], [1, 2, 3, 6])[0]).toBeCloseTo(3, 12);
  });

  test("a linear decoder's pictures are met exactly, one value per latent", async () => {
    const scale = 4;
    let decoded = 0;
    // Every colour a linear function of unscaled latents, each block with a pattern that has no mean.
    const decode = async ({ shape, data }: Tensor) => {
      decoded++;
      const [, , h = 0, w = 0] = shape;
      const points = h * w;
      const image = new Float32Array(3 * points * scale ** 2);
      for (let c = 0; c < 3; c++)
        for (let y = 0; y < h * scale; y++)
          for (let x = 0; x < w * scale; x++) {
            const at = Math.floor(y / scale) * w + Math.floor(x / scale);
            const own = 0.2 * (data[c * points + at] as number) - 0.05 * (data[3 * points + at] as number) + 0.1 * c;
            image[(c * h * scale + y) * w * scale + x] = own + ((x + y) % 2 ? 0.3 : -0.3);
          }
      return { image: { shape: [1, 3, h * scale, w * scale], data: image }, indices: null };
    };
    const spec = {
      ...{ latent_channels: 4, scaling_factor: 0.5, shift_factor: 1, latents_mean: null, latents_std: null },
      up: [{ resample: true }, { resample: true }, { resample: false }],
    };
    const preview = new LatentPreview({ spec, decode } as unknown as Autoencoder);
    const latents = random([2, 4, 3, 5], 7);
    const pictures = await preview.images(latents.data, 2, { height: 3, width: 5 });
    await preview.images(latents.data, 2, { height: 3, width: 5 });
    expect(decoded).toBe(1);
    expect([pictures.length, pictures[0]!.width, pictures[0]!.height]).toEqual([2, 5, 3]);
    for (let i = 0; i < 2; i++)
      for (let p = 0; p < 15; p++)
        for (let c = 0; c < 3; c++) {
          const z = (channel: number) => (latents.data[(i * 4 + channel) * 15 + p] as number) / 0.5 + 1;
          const value = 0.2 * z(c) - 0.05 * z(3) + 0.1 * c;
          const byte = Math.min(255, Math.max(0, (value / 2 + 0.5) * 255));
          expect(Math.abs(pictures[i]!.data[4 * p + c]! - byte)).toBeLessThanOrEqual(0.51);
        }
  });

  test("masks become as large as latents", () => {
    const model = { firstStage: { spec: { up: [{ resample: true }] } } } as unknown as Model;
    const mask = {
      shape: [1, 2, 2, 4],
      data: Float32Array.from([1, 1, 1, 0.5, 1, 1, 1, 1, 1, 1, 0.25, 1, 1, 1, 1, 1]),
    };
    expect(latentMask(model, mask)).toEqual({ shape: [1, 1, 1, 2], data: Float32Array.of(1, 0.25) });
  });
});
