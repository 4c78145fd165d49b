/** Runs of networks that read more than their state: what must not matter, what must, and the original layouts. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fromSampler } from "../../src/autoencoder/scaling.ts";
import { openModel } from "../../src/node/model.ts";
import { createPipeline } from "../../src/pipeline/load.ts";
import type { DiffusionPipeline } from "../../src/pipeline/pipeline.ts";
import type { GenerateOptions, SavedRun, Tensor } from "../../src/pipeline/types.ts";
import { ShapeError, UsageError } from "../../src/runtime/errors.ts";
import { addNoise } from "../../src/sampler/forward.ts";
import { initialNoise } from "../../src/sampler/philox.ts";
import { nmse, randomTensor } from "../reference/tensor.ts";
import { testDevice } from "../support/gpu.ts";
import { goldenPath, load } from "../support/models.ts";
import { memorySource } from "../weights/memory-source.ts";

const random = (shape: readonly number[], seed: number): Tensor => ({
  shape,
  data: Float32Array.from(randomTensor(shape, seed).data, (v) => Math.max(-1, Math.min(1, v / 2))),
});
const part = ({ shape, data }: Tensor, i: number): Tensor => {
  const size = data.length / (shape[0] as number);
  return { shape: [1, ...shape.slice(1)], data: data.slice(i * size, (i + 1) * size) };
};

describe("an in-painting network", () => {
  let pipe: DiffusionPipeline;
  const concat = random([3, 5, 8, 8], 1);
  const told = { context: random([1, 2, 6], 2), negativeContext: random([1, 2, 6], 3), guidance: 3 } as const;
  const options: GenerateOptions = { ...told, steps: 3, seed: 5, concat };
  beforeAll(async () => {
    pipe = await load(goldenPath("concat/inpaint"));
  });
  afterAll(() => pipe.dispose());

  test("reads every image's own channels, whatever the batch, and leaves nothing behind", async () => {
    const whole = await pipe.generate(options);
    expect(whole.samples.shape).toEqual([3, 3, 16, 16]);
    const live = pipe.device.counters.liveBytes;
    for (const batch of [1, 2])
      expect((await pipe.generate({ ...options, batch })).samples.data).toEqual(whole.samples.data);
    const last = await pipe.generate({ ...options, concat: part(concat, 2), firstImage: 2 });
    expect(last.samples.data).toEqual(part(whole.samples, 2).data);
    const shared = await pipe.generate({ ...options, concat: part(concat, 2), count: 3 });
    expect(part(shared.samples, 2).data).toEqual(part(whole.samples, 2).data);
    expect(part(shared.samples, 0).data).not.toEqual(part(whole.samples, 0).data);
    expect(pipe.device.counters.liveBytes).toBe(live);
  });

  test("goes on with the same channels, and with no others", async () => {
    const whole = await pipe.generate({ ...options, batch: 2 });
    let saved: SavedRun | undefined;
    for await (const step of pipe.steps({ ...options, batch: 2 })) {
      if (step.image !== 2 || step.index !== 1) continue;
      saved = await step.save();
      break;
    }
    const resumed = await pipe.generate({ ...options, resume: saved });
    expect(resumed.samples.data).toEqual(whole.samples.data);
    const other = random([3, 5, 8, 8], 4);
    await expect(pipe.generate({ ...options, concat: other, resume: saved })).rejects.toThrow("other options");
  });

  test("starts a picture's edit where its strength says, from the mean of its latents", async () => {
    const image = random([1, 3, 16, 16], 6);
    const mask = { shape: [1, 1, 16, 16], data: Float32Array.from({ length: 256 }, (_, i) => (i % 3 ? 1 : 0)) };
    const own = await pipe.edit(image, { ...told, steps: 2, seed: 5, strength: 0.5, mask });
    const known = await pipe.encode(image);
    const hole = image.data.map((v, i) => ((i % 256) % 3 ? v : 0));
    const masked = await pipe.encode({ shape: image.shape, data: hole });
    const small = Float32Array.from({ length: 64 }, (_, i) => ((2 * Math.floor(i / 8) * 16 + 2 * (i % 8)) % 3 ? 0 : 1));
    const channels = { shape: [1, 5, 8, 8], data: Float32Array.from([...small, ...masked.data]) };
    const alphas = alphasCumprod(1000);
    const data = addNoise(known.data, initialNoise(5n, 0, 4, 8, 8), 499, { alphasCumprod: alphas });
    const noise = { shape: known.shape, data };
    const made = await pipe.generate({ ...told, steps: 2, seed: 5, start: 499, noise, concat: channels });
    expect(nmse(own.samples.data, made.samples.data)).toBeLessThan(1e-10);
  });

  test("inverts and interpolates under the channels, and blends known latents", async () => {
    const image = random([1, 3, 16, 16], 7);
    const way = { context: told.context, timesteps: [3, 2, 1, 0], concat: part(concat, 0) };
    const there = await pipe.reconstruct(image, way);
    const encoded = await pipe.encode(image);
    expect(nmse(there.generation.latents!.data, encoded.data)).toBeLessThan(1e-5);
    const other = await pipe.invert(image, { ...way, concat: part(concat, 1) });
    expect(other.latents.data).not.toEqual(there.latents.data);
    const between = await pipe.interpolate([1, 2], { context: told.context, steps: 1, n: 3, concat: part(concat, 0) });
    expect(between.samples.shape).toEqual([3, 3, 16, 16]);
    const mask = { shape: [1, 1, 8, 8], data: new Float32Array(64).fill(1) };
    const kept = await pipe.generate({ ...options, concat: part(concat, 0), inpaint: { known: encoded, mask } });
    expect(kept.latents!.data).toEqual(encoded.data);
  });

  test.each<[string, () => Promise<unknown>, new (...args: never[]) => Error, RegExp]>([
    ["nothing", () => pipe.generate({ ...told }), UsageError, /9 channels, 4 of the state and 5 that are missing/],
    ["an inversion", () => pipe.invert(random([1, 3, 16, 16], 1)), UsageError, /5 that are missing, a mask and/],
    ["an edit without a mask", () => pipe.edit(random([1, 3, 16, 16], 1)), UsageError, /ddim edit IMAGE --mask/],
    ["an evaluation", () => pipe.network.evalTerms(random([1, 3, 16, 16], 1)), UsageError, /5 that are missing/],
    ["other channels", () => pipe.generate({ ...told, concat: random([1, 4, 8, 8], 1) }), ShapeError, /\[1, 5, 8, 8\]/],
    ["another size", () => pipe.generate({ ...options, size: { height: 8, width: 8 } }), ShapeError, /3, 5, 4, 4\]/],
    ["another number", () => pipe.generate({ ...options, count: 2 }), ShapeError, /\[1 or 2, 5, 8, 8\]/],
    [
      "RePaint",
      () =>
        pipe.edit(random([1, 3, 16, 16], 1), {
          ...told,
          mask: { shape: [1, 1, 16, 16], data: new Float32Array(256) },
          repaint: { jump: 1, resamples: 2 },
        }),
      UsageError,
      /repaint means nothing here/,
    ],
  ])("refuses %s", async (_, call, error, message) => {
    const failure = await call().catch((e: unknown) => e);
    expect(failure).toBeInstanceOf(error);
    expect((failure as Error).message).toMatch(message);
  });
});

/** Of the golden pipelines' scheduler. */
function alphasCumprod(steps: number): Float64Array {
  let product = 1;
  return Float64Array.from({ length: steps }, (_, i) => {
    const root = Math.sqrt(0.0015) + ((Math.sqrt(0.015) - Math.sqrt(0.0015)) * i) / (steps - 1);
    product *= 1 - root * root;
    return product;
  });
}

test("a network that takes the guidance scale refuses what it has no second evaluation for", async () => {
  using pipe = await load(goldenPath("concat/guidance_embedding"));
  const context = random([1, 2, 6], 2);
  const list = await pipe.generate({ steps: 1, seed: 1, context, count: 2, guidance: [1, 7] });
  const second = await pipe.generate({ steps: 1, seed: 1, context, firstImage: 1, guidance: 7 });
  expect(part(list.samples, 1).data).toEqual(second.samples.data);
  for (const option of [{ negativeContext: context }, { guidanceRescale: 0.5 }, { guidanceInterval: [0, 1] as const }])
    await expect(pipe.generate({ steps: 1, context, guidance: 7, ...option })).rejects.toThrow(
      /means nothing here: guidance_embedding takes the guidance scale itself/,
    );
});

/** A model of latent-diffusion with made-up weights. */
async function ldm(inputs: number, params: Record<string, unknown>, network: Record<string, unknown> = {}) {
  const coder = { double_z: false, z_channels: 3, resolution: 16, in_channels: 3, out_ch: 3, ch: 32, ch_mult: [1, 1] };
  const config = {
    model: {
      target: "ldm.models.diffusion.ddpm.LatentDiffusion",
      params: {
        ...{ linear_start: 0.0015, linear_end: 0.0205, timesteps: 1000, image_size: 8, channels: 3, scale_factor: 0.5 },
        ...params,
        unet_config: {
          target: "ldm.modules.diffusionmodules.openaimodel.UNetModel",
          params: {
            ...{ in_channels: inputs, out_channels: 3, image_size: 8, model_channels: 32, channel_mult: [1] },
            ...{ num_res_blocks: 1, attention_resolutions: [], num_heads: 1, ...network },
          },
        },
        first_stage_config: {
          target: "ldm.models.autoencoder.VQModelInterface",
          params: {
            ...{ embed_dim: 3, n_embed: 16, lossconfig: { target: "torch.nn.Identity" } },
            ddconfig: { ...coder, num_res_blocks: 1, attn_resolutions: [], dropout: 0 },
          },
        },
      },
    },
  };
  const model = await openModel(memorySource({ "config.json": JSON.stringify(config) }), { randomWeights: 1n });
  return createPipeline(model, { device: await testDevice() });
}

describe("latent-diffusion's", () => {
  const image = random([2, 3, 16, 16], 8);
  const mask = { shape: [1, 1, 16, 16], data: Float32Array.from({ length: 256 }, (_, i) => (i % 5 ? 1 : 0)) };
  /** The masked pictures' latents, and the mask of latents, 1 where they are painted. */
  const made = async (pipe: DiffusionPipeline, hole: number) => ({
    masked: await pipe.encode({ shape: image.shape, data: image.data.map((v, i) => ((i % 256) % 5 ? v : hole)) }),
    small: Float32Array.from({ length: 64 }, (_, i) => ((2 * Math.floor(i / 8) * 16 + 2 * (i % 8)) % 5 ? 0 : 1)),
  });

  test("in-painting: latents that are not scaled, then a mask of -1 and 1; black where nothing is", async () => {
    using pipe = await ldm(7, { concat_mode: true, cond_stage_config: "__is_first_stage__", cond_stage_key: "masked" });
    const { masked, small } = await made(pipe, -1);
    const latents = fromSampler(pipe.model.firstStage!.spec, masked);
    const data = [0, 1].flatMap((i) => [...part(latents, i).data, ...small.map((v) => 2 * v - 1)]);
    const concat = { shape: [2, 4, 8, 8], data: Float32Array.from(data) };
    const options = { steps: 2, seed: 3 };
    const own = await pipe.edit(image, { ...options, mask });
    expect(own.samples.data).toEqual((await pipe.generate({ ...options, concat })).samples.data);
    await expect(pipe.generate(options)).rejects.toThrow("4 that are missing, the latents of the masked picture and a");
  });

  test("in-painting of Stable Diffusion, conditioning_key hybrid: a mask, then scaled latents of zeros there", async () => {
    const spatial = { use_spatial_transformer: true, transformer_depth: 1, context_dim: 4, attention_resolutions: [1] };
    const conditioner = { target: "ldm.modules.encoders.modules.FrozenCLIPEmbedder" };
    using pipe = await ldm(7, { conditioning_key: "hybrid", cond_stage_config: conditioner }, spatial);
    const { masked, small } = await made(pipe, 0);
    const data = [0, 1].flatMap((i) => [...small, ...part(masked, i).data]);
    const concat = { shape: [2, 4, 8, 8], data: Float32Array.from(data) };
    const options = { steps: 2, seed: 3, context: random([1, 2, 4], 1) };
    const own = await pipe.edit(image, { ...options, mask });
    expect(own.samples.data).toEqual((await pipe.generate({ ...options, concat })).samples.data);
  });

  test("super-resolution: the small picture as it is", async () => {
    using pipe = await ldm(6, { concat_mode: true, cond_stage_config: { target: "torch.nn.Identity" } });
    const small = random([2, 3, 8, 8], 9);
    const own = await pipe.upscale(small, { steps: 2, seed: 3 });
    expect(own.samples.shape).toEqual([2, 3, 16, 16]);
    expect(own.samples.data).toEqual((await pipe.generate({ steps: 2, seed: 3, concat: small })).samples.data);
  });
});
