/** Whole runs against diffusers: the two golden pipelines and the shipped models, from given noise with eta 0. */
import { describe, expect, test } from "vitest";
import type { DiffusionPipeline } from "../../src/pipeline/pipeline.ts";
import type { GenerateOptions, Tensor } from "../../src/pipeline/types.ts";
import { maxAbs, nmse } from "../reference/tensor.ts";
import { goldenPath, load, readTensors, shippedPath } from "../support/models.ts";

const LIMIT = 1e-7;

/** The share of bytes that differ, none by more than one: x in -1..1 lies on a rounding edge now and then. */
function byteDifference(images: readonly { data: Uint8ClampedArray }[], expected: Tensor): number {
  const channels = expected.shape[3] as number;
  const bytes = images.flatMap(({ data }) => [...data].filter((_, i) => i % 4 < channels));
  expect(maxAbs(bytes, expected.data)).toBeLessThanOrEqual(1);
  return bytes.filter((v, i) => v !== expected.data[i]).length / bytes.length;
}

/** The first images of a batch. */
function first({ shape, data }: Tensor, count: number): Tensor {
  return { shape: [count, ...shape.slice(1)], data: data.subarray(0, (data.length / shape[0]!) * count) };
}

describe("pipelines", () => {
  for (const name of ["eps_clip", "v_trailing_zsnr"])
    test(name, async () => {
      const folder = goldenPath(`pipelines/${name}`);
      const { x_T } = await readTensors(`${folder}/x_T.safetensors`);
      const golden = await readTensors(`${folder}/images.safetensors`);
      const { timesteps, x_0, images_uint8_nhwc } = golden;
      using pipe = await load(folder);
      const visited: number[] = [];
      const run = await pipe.generate({
        noise: x_T,
        steps: 8,
        eta: 0,
        compat: "diffusers",
        onStep: ({ t }) => visited.push(t),
      });
      expect(visited).toEqual([...timesteps!.data]);
      expect(run.samples.shape).toEqual(x_0!.shape);
      expect(nmse(run.samples.data, x_0!.data)).toBeLessThanOrEqual(LIMIT);
      expect(byteDifference(run.images, images_uint8_nhwc!)).toBeLessThan(0.01);
    });
});

describe("shipped models", () => {
  // A part of each golden's images is enough: images do not depend on each other.
  for (const [model, count] of [
    ["pixel-avatars-16", 4],
    ["crawl-tiles-32", 2],
  ] as const)
    for (const run of ["S20-w1", "S50-w1", "S10-w2"])
      test(`${model} ${run}`, async () => {
        const { x_T, class_labels, x_0_f64 } = await readTensors(goldenPath(`shipped/${model}-${run}.safetensors`));
        const [, steps, guidance] = /S(\d+)-w(\d+)/.exec(run)!.map(Number) as [number, number, number];
        using pipe = await load(shippedPath(model));
        const { samples, classes } = await pipe.generate({
          noise: first(x_T!, count),
          classes: [...class_labels!.data],
          steps,
          guidance,
          compat: "diffusers",
        });
        expect(classes).toEqual([...class_labels!.data].slice(0, count));
        expect(nmse(samples.data, first(x_0_f64!, count).data)).toBeLessThanOrEqual(LIMIT);
      });
});

/** ᾱ of a linear beta schedule, from its definition. */
function linearAlphasCumprod(start: number, end: number, T: number): number[] {
  let product = 1;
  return Array.from({ length: T }, (_, i) => {
    product *= 1 - (start + ((end - start) * i) / (T - 1));
    return product;
  });
}

/** DDIM with eta 0 by the paper's formula, written out in float64 around `pipe.network.forward`, for epsilon and clipping. */
async function ddim(pipe: DiffusionPipeline, xT: Tensor, steps: number, rederive: boolean): Promise<Float64Array> {
  const alphas = linearAlphasCumprod(1e-4, 0.02, 1000);
  let x = Float64Array.from(xT.data);
  for (let i = steps - 1; i >= 0; i--) {
    const t = i * Math.floor(1000 / steps);
    const a = alphas[t]!;
    const p = i > 0 ? alphas[t - Math.floor(1000 / steps)]! : 1;
    const { data } = await pipe.network.forward({
      sample: { shape: xT.shape, data: Float32Array.from(x) },
      timestep: [t],
    });
    x = x.map((v, k) => {
      const x0 = Math.min(1, Math.max(-1, (v - Math.sqrt(1 - a) * data[k]!) / Math.sqrt(a)));
      const eps = rederive ? (v - Math.sqrt(a) * x0) / Math.sqrt(1 - a) : data[k]!;
      return Math.sqrt(p) * x0 + Math.sqrt(1 - p) * eps;
    });
  }
  return x;
}

describe("the default mode differs from diffusers'", () => {
  const run = async (pipe: DiffusionPipeline, options: GenerateOptions) => (await pipe.generate(options)).samples.data;

  test("where x0 is clipped: epsilon is derived again", async () => {
    const folder = goldenPath("pipelines/eps_clip");
    const { x_T } = await readTensors(`${folder}/x_T.safetensors`);
    using pipe = await load(folder);
    const ours = await run(pipe, { noise: x_T, steps: 8 });
    const theirs = await run(pipe, { noise: x_T, steps: 8, compat: "diffusers" });
    const derived = await ddim(pipe, x_T!, 8, true);
    const kept = await ddim(pipe, x_T!, 8, false);
    expect(nmse(ours, derived)).toBeLessThanOrEqual(LIMIT);
    expect(nmse(theirs, kept)).toBeLessThanOrEqual(LIMIT);
    expect(nmse(derived, kept)).toBeGreaterThan(1e-3);
  });

  test("by the rounding of its tables alone where nothing is clipped and T/S is whole", async () => {
    const folder = goldenPath("pipelines/v_trailing_zsnr");
    const { x_T } = await readTensors(`${folder}/x_T.safetensors`);
    using pipe = await load(folder);
    const ours = await run(pipe, { noise: x_T, steps: 8 });
    const theirs = await run(pipe, { noise: x_T, steps: 8, compat: "diffusers" });
    expect(nmse(ours, theirs)).toBeLessThanOrEqual(LIMIT);
    expect(ours).not.toEqual(theirs);
  });

  test("where T/S is not whole: each step goes to the next timestep", async () => {
    const folder = goldenPath("pipelines/v_trailing_zsnr");
    const { x_T } = await readTensors(`${folder}/x_T.safetensors`);
    using pipe = await load(folder);
    const ours = await run(pipe, { noise: x_T, steps: 7 });
    const theirs = await run(pipe, { noise: x_T, steps: 7, compat: "diffusers" });
    expect(nmse(ours, theirs)).toBeGreaterThan(LIMIT);
  });
});
