/** Runs of latent models: what must not matter to them, how they are seen, stopped and resumed, and their bounds. */
import { describe, expect, test } from "vitest";
import { Autoencoder } from "../../src/autoencoder/autoencoder.ts";
import { openModel } from "../../src/node/model.ts";
import { createPipeline } from "../../src/pipeline/load.ts";
import type { SavedRun } from "../../src/pipeline/types.ts";
import { nmse } from "../reference/tensor.ts";
import { testDevice } from "../support/gpu.ts";
import { cin256, latentModel } from "../support/latents.ts";
import { load } from "../support/models.ts";

describe("a run of a latent model", () => {
  const open = () => load(latentModel("ddpm", "vq"));
  const options = { steps: 3, seed: 9, count: 3, size: { height: 64, width: 64 } } as const;

  test("is the same at any batch, in parts, in a caller's buffer; and leaves nothing behind", async () => {
    using pipe = await open();
    const whole = await pipe.generate(options);
    const live = pipe.device.counters.liveBytes;
    const single = await pipe.generate({ ...options, batch: 1 });
    expect(single.samples.data).toEqual(whole.samples.data);
    expect(single.images).toEqual(whole.images);
    const pixels = pipe.device.gpu.createBuffer({
      size: 3 * 64 * 64 * 4,
      usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC,
    });
    const empty = await pipe.generate({ ...options, batch: 2, pixels });
    expect([empty.images, empty.samples.data.length]).toEqual([[], 0]);
    const bytes = new Uint8ClampedArray(await pipe.device.read(pixels, pixels.size));
    pixels.destroy();
    expect(bytes).toEqual(Uint8ClampedArray.from(whole.images.flatMap(({ data }) => [...data])));
    let saved: SavedRun | undefined;
    for await (const step of pipe.steps({ ...options, batch: 1 })) {
      if (step.image !== 1 || step.index !== 1) continue;
      saved = await step.save();
      break;
    }
    const resumed = await pipe.generate({ ...options, resume: saved });
    expect(resumed.samples.data).toEqual(whole.samples.data);
    expect(resumed.images).toEqual(whole.images);
    expect(pipe.device.counters.liveBytes).toBe(live);
    await expect(
      pipe.generate({ ...options, pixels: pipe.device.gpu.createBuffer({ size: 64, usage: 8 }) }),
    ).rejects.toThrow("pixels holds 64 bytes, the pictures need 49152");
  });

  test("a memory limit decodes some pictures at a time, which changes none", async () => {
    using pipe = await open();
    const whole = await pipe.generate(options);
    using firstStage = new Autoencoder(pipe.model.firstStage!, pipe.device);
    const shape = { height: 16, width: 16 };
    const decoder = await firstStage.decoder(shape, { images: 2 });
    const memory = decoder.bytes + 4096;
    decoder.dispose();
    using limited = new Autoencoder(pipe.model.firstStage!, pipe.device, { memory });
    expect(limited.decoderImages(shape, 3)).toBe(2);
    using small = await load(latentModel("ddpm", "vq"), { memory });
    const made = await small.generate({ ...options, batch: 3 });
    expect(made.samples.data).toEqual(whole.samples.data);
    expect(made.images).toEqual(whole.images);
  });

  test("a small memory limit decodes in tiles, and changes no latent", async () => {
    using pipe = await open();
    const whole = await pipe.generate({ ...options, count: 1, size: { height: 128, width: 64 } });
    using small = await load(latentModel("ddpm", "vq"), { memory: 2 ** 19 });
    const tiled = await small.generate({ ...options, count: 1, size: { height: 128, width: 64 } });
    expect(tiled.latents!.shape).toEqual([1, 3, 32, 16]);
    expect(tiled.latents!.data).toEqual(whole.latents!.data);
    expect(tiled.samples.shape).toEqual([1, 3, 128, 64]);
    const error = nmse(tiled.samples.data, whole.samples.data);
    expect(error).toBeGreaterThan(0);
    expect(error).toBeLessThan(1);
  });

  test("a mean and a deviation per channel are put back before decoding", async () => {
    const plain = JSON.parse(new TextDecoder().decode(await latentModel("sd1", "kl").read("vae/config.json")));
    const config = { ...plain, latents_mean: [1, -1, 0.5, 0], latents_std: [2, 1, 0.5, 3] };
    using pipe = await load(latentModel("sd1", "kl", { "vae/config.json": JSON.stringify(config) }));
    const context = { shape: [1, 1, 32], data: new Float32Array(32).fill(0.5) };
    const { samples, latents } = await pipe.generate({ ...options, context, batch: 2 });
    const unscaled = latents!.data.map((v, i) => {
      const channel = Math.floor(i / 256) % 4;
      return (v * config.latents_std[channel]!) / plain.scaling_factor + config.latents_mean[channel]!;
    });
    using firstStage = new Autoencoder(pipe.model.firstStage!, pipe.device);
    const { image } = await firstStage.decode({ shape: latents!.shape, data: unscaled });
    expect(nmse(samples.data, image.data)).toBeLessThan(1e-10);
    expect(await pipe.decode(latents!)).toEqual(samples);
  });

  test("shows previews as large as the latents", async () => {
    using pipe = await open();
    const seen: number[] = [];
    for await (const step of pipe.steps({ ...options, count: 2 })) {
      const previews = await step.preview();
      expect(previews.map(({ width, height }) => [width, height])).toEqual([
        [16, 16],
        [16, 16],
      ]);
      seen.push(new Set(previews[0]!.data).size);
    }
    expect(seen).toHaveLength(3);
    expect(Math.min(...seen)).toBeGreaterThan(10);
  });

  test("an abort while it is decoded ends it", async () => {
    using pipe = await open();
    await pipe.generate({ ...options, count: 1 });
    const live = pipe.device.counters.liveBytes;
    const abort = new AbortController();
    const onStep = ({ index }: { index: number }) => index === 2 && abort.abort(new Error("enough"));
    await expect(pipe.generate({ ...options, signal: abort.signal, onStep })).rejects.toThrow("enough");
    expect(pipe.device.counters.liveBytes).toBe(live);
  });
});

describe("made-up weights", () => {
  test("are those of network and first stage, in two folders or in one file, whatever is there", async () => {
    const options = { steps: 2, seed: 2 } as const;
    const { list: _, ...blind } = latentModel("ddpm", "vq");
    const sources = [latentModel("ddpm", "vq"), blind];
    const made = [];
    for (const source of sources) {
      const model = await openModel(source, { randomWeights: 5n });
      using pipe = await createPipeline(model, { device: await testDevice() });
      made.push((await pipe.generate({ ...options, size: { height: 64, width: 64 } })).samples.data);
    }
    expect(made[1]).toEqual(made[0]);
    using real = await load(latentModel("ddpm", "vq"));
    const { samples } = await real.generate({ ...options, size: { height: 64, width: 64 } });
    expect(nmse(made[0]!, samples.data)).toBeGreaterThan(0.1);
    const model = await openModel(cin256(), { randomWeights: 5n });
    expect([...model.checkpoint.tensors.keys()].some((name) => name.startsWith("first_stage_model."))).toBe(true);
    using pipe = await createPipeline(model, { device: await testDevice() });
    const one = await pipe.generate({ ...options, guidance: 2 });
    expect(one.samples.shape).toEqual([1, 3, 64, 64]);
    expect(one.samples.data.every(Number.isFinite)).toBe(true);
  });
});

describe("bounds of x0", () => {
  const scheduler = (changes: object) => ({
    "scheduler/scheduler_config.json": JSON.stringify({ _class_name: "DDIMScheduler", ...changes }),
  });
  const open = (changes: object) => load(latentModel("ddpm", "vq", scheduler(changes)));
  const options = { steps: 3, seed: 1, size: { height: 64, width: 64 } } as const;

  test("that a configuration asks for do not hold for latents, and this is said", async () => {
    using plain = await open({ clip_sample: false });
    const { latents, warnings } = await plain.generate(options);
    expect(warnings.join()).not.toContain("latents");
    for (const bounds of [{ clip_sample: true }, { clip_sample: false, thresholding: true }]) {
      using bounded = await open(bounds);
      const made = await bounded.generate(options);
      expect(made.latents!.data).toEqual(latents!.data);
      expect(made.warnings.join()).toMatch(/scheduler_config\.json: bounds x0 .* latents have no bounds/);
    }
  });

  test("hold where they are asked for, or where another system would keep to them", async () => {
    using pipe = await open({ clip_sample: true });
    const free = await pipe.generate(options);
    const clipped = await pipe.generate({ ...options, clip: true });
    expect(nmse(clipped.latents!.data, free.latents!.data)).toBeGreaterThan(1e-3);
    const theirs = await pipe.generate({ ...options, compat: "diffusers", rederive: true });
    expect(nmse(theirs.latents!.data, clipped.latents!.data)).toBeLessThan(1e-8);
  });
});
