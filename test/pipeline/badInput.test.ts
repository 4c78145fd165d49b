/** Requests that cannot be right: one sentence each, before anything is allocated. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { DiffusionPipeline } from "../../src/pipeline/pipeline.ts";
import type { GenerateOptions, Tensor } from "../../src/pipeline/types.ts";
import { ConfigError, ShapeError, UsageError } from "../../src/runtime/errors.ts";
import { testDevice } from "../support/gpu.ts";
import { goldenPath, load, readFolder, shippedPath, sourceOf } from "../support/models.ts";
import { type ErrorClass, expectRefusal } from "../support/refusal.ts";

let pipe: DiffusionPipeline;
let created: number;
beforeAll(async () => {
  pipe = await load(shippedPath("pixel-avatars-16"));
});
beforeEach(async () => {
  created = (await testDevice()).counters.created;
});
afterAll(() => pipe.dispose());

const expectNothingAllocated = async () => expect((await testDevice()).counters.created).toBe(created);

function noise(shape: number[], value = 0.5): Tensor {
  return { shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(value) };
}

function withNaN(image: number, value: number): Tensor {
  const tensor = noise([3, 3, 16, 16]);
  tensor.data[image * 768 + 100] = value;
  return tensor;
}

describe("options of generate:", () => {
  const cases: [string, GenerateOptions, ErrorClass, RegExp][] = [
    ["steps 0", { steps: 0 }, UsageError, /steps .*0/],
    ["steps above T", { steps: 1001 }, UsageError, /steps .*1001/],
    ["steps that are not whole", { steps: 2.5 }, UsageError, /steps .*2\.5/],
    ["steps NaN", { steps: Number.NaN }, UsageError, /steps .*NaN/],
    ["count 0", { count: 0 }, UsageError, /count must be a whole number from 1, got 0/],
    ["count 1.5", { count: 1.5 }, UsageError, /count .*1\.5/],
    ["batch 0", { batch: 0 }, UsageError, /batch must be a whole number from 1, got 0/],
    ["seed -1", { seed: -1 }, UsageError, /seed must be within 0\.\.2\^64-1, got -1/],
    ["seed 2^64", { seed: 2n ** 64n }, UsageError, /seed .*18446744073709551616/],
    ["seed 0.5", { seed: 0.5 }, UsageError, /seed must be a whole number, got 0\.5/],
    ["seed beyond exact numbers", { seed: 2 ** 60 }, UsageError, /seed .*bigint/],
    ["seed true", { seed: true as never }, UsageError, /seed must be a whole number, got true/],
    ["a list as seed", { seed: [] as never }, UsageError, /seed must be a whole number, got \[\]/],
    ["a text as seed", { seed: "7" as never }, UsageError, /seed must be a whole number, got "7"/],
    ["no seed", { seed: null as never }, UsageError, /seed must be a whole number, got null/],
    ["an rng that is none", { rng: "mt" as never }, UsageError, /rng must be one of philox, torch, .*, got mt/],
    [
      "an image beyond 2^32",
      { firstImage: 2 ** 32 },
      UsageError,
      /firstImage must be .* to 4294967295 .*got 4294967296/,
    ],
    ["images across 2^32", { firstImage: 2 ** 32 - 1, count: 2 }, UsageError, /firstImage must be .* to 4294967294 /],
    ["a first image that is a text", { firstImage: "1" as never }, UsageError, /firstImage must be a whole number/],
    ["more images than a seed has", { count: 2 ** 33 }, UsageError, /count must be at most 2\^32.*got 8589934592/],
    ["half a first image", { firstImage: 0.5 }, UsageError, /firstImage must be a whole number .*got 0\.5/],
    ["a shard of torch-batch", { rng: "torch-batch", firstImage: 4 }, UsageError, /cannot begin at image 4/],
    ["antithetic torch-batch", { rng: "torch-batch", antithetic: true }, UsageError, /no antithetic pairs/],
    ["a class out of range", { classes: [0, 5] }, UsageError, /class 5 is out of range: .* has classes 0\.\.4/],
    ["a class below 0", { classes: [-1] }, UsageError, /class -1/],
    ["half a class", { classes: [0.5] }, UsageError, /class 0\.5/],
    ["no class", { classes: [] }, UsageError, /classes must name at least one/],
    ["guidance NaN", { guidance: Number.NaN }, UsageError, /guidance must be a number, got NaN/],
    ["guidance Infinity", { guidance: Number.POSITIVE_INFINITY }, UsageError, /guidance .*Infinity/],
    ["eta -1", { eta: -1 }, UsageError, /eta .*-1/],
    ["eta NaN", { eta: Number.NaN }, UsageError, /eta .*NaN/],
    ["eta 5", { eta: 5 }, UsageError, /eta .*5/],
    ["a spacing that is none", { spacing: "even" as never }, UsageError, /spacing .*even/],
    ["a compat that is none", { compat: "k" as never }, UsageError, /compat .*k/],
    ["a timestep T", { timesteps: [1000, 0] }, UsageError, /timestep.*1000/],
    ["a timestep twice", { timesteps: [10, 10, 0] }, UsageError, /timesteps/],
    ["no timesteps", { timesteps: [] }, UsageError, /timesteps/],
    ["a size that the levels cannot halve", { size: { height: 16, width: 18 } }, UsageError, /16×18: width .* of 4/],
    ["a size of 0", { size: { height: 0, width: 16 } }, UsageError, /size must be .* from 1, got 0/],
    ["half a pixel", { size: { height: 16.5, width: 16 } }, UsageError, /size .*16\.5/],
    ["a size beyond every binding", { size: { height: 2 ** 16, width: 2 ** 16 } }, UsageError, /size 65536×65536/],
    ["noise of a rank", { noise: noise([3, 16, 16]) }, ShapeError, /noise x_T has shape \[3, 16, 16\].*\[N, 3, H, W\]/],
    ["noise of other channels", { noise: noise([1, 4, 16, 16]) }, ShapeError, /noise x_T has shape \[1, 4, 16, 16\]/],
    ["noise without images", { noise: noise([0, 3, 16, 16]) }, ShapeError, /noise x_T/],
    ["noise of no size", { noise: noise([1, 3, 16, 17]) }, UsageError, /16×17: width must be a multiple of 4/],
    [
      "noise of another size",
      { noise: noise([1, 3, 16, 16]), size: { height: 8, width: 16 } },
      ShapeError,
      /noise x_T has shape \[1, 3, 16, 16\], expected \[N, 3, 8, 16\]/,
    ],
    [
      "noise that is too short",
      { noise: { shape: [1, 3, 16, 16], data: new Float32Array(767) } },
      ShapeError,
      /noise x_T has shape \[767\], expected 768 values/,
    ],
    ["another count than the noise's", { noise: noise([2, 3, 16, 16]), count: 3 }, UsageError, /count 3 .* 2 images/],
    ["NaN in the noise", { noise: withNaN(1, Number.NaN) }, UsageError, /noise x_T holds NaN in image 1/],
    ["-Infinity in the noise", { noise: withNaN(2, -Infinity) }, UsageError, /noise x_T holds -Infinity in image 2/],
  ];
  for (const [name, options, kind, says] of cases)
    test(name, async () => {
      await expectRefusal(pipe.generate(options), kind, says);
      await expectNothingAllocated();
    });
});

describe("requests that a model cannot serve:", () => {
  const epsilon = goldenPath("pipelines/eps_clip");
  const avatars = shippedPath("pixel-avatars-16");
  const schedulerOf = (folder: string) =>
    JSON.parse(new TextDecoder().decode(readFolder(folder)["scheduler/scheduler_config.json"])) as object;
  const rescheduled = (folder: string, change: object) =>
    sourceOf(folder, { "scheduler/scheduler_config.json": JSON.stringify({ ...schedulerOf(folder), ...change }) });

  const cases: [string, () => Parameters<typeof load>[0], GenerateOptions, ErrorClass, RegExp][] = [
    ["a class of an unconditional one", () => epsilon, { classes: [0] }, UsageError, /is unconditional/],
    ["guidance of an unconditional one", () => epsilon, { guidance: 2 }, UsageError, /guidance 2 needs a class-cond/],
    [
      "guidance without a null class",
      () => sourceOf(avatars, { "model_index.json": undefined }),
      { guidance: 2 },
      UsageError,
      /needs a null class/,
    ],
    [
      "sampling without a scheduler",
      () => sourceOf(avatars, { "scheduler/scheduler_config.json": undefined }),
      {},
      ConfigError,
      /scheduler_config\.json: the model has none/,
    ],
    [
      "a variance that the network does not predict",
      () => rescheduled(avatars, { variance_type: "learned_range" }),
      { sampler: "ddpm" },
      ConfigError,
      /learned variance needs a second half of channels/,
    ],
    [
      "epsilon from zero terminal SNR",
      () => rescheduled(avatars, { rescale_betas_zero_snr: true, timestep_spacing: "trailing" }),
      {},
      UsageError,
      /epsilon cannot start at t = 999/,
    ],
    [
      "class vectors",
      () => sourceOf(goldenPath("models/classidentity"), { "scheduler_config.json": "{}" }),
      {},
      ConfigError,
      /class_embed_type: a model of type identity can be evaluated, not sampled/,
    ],
    [
      "timesteps beyond a learned embedding",
      () => sourceOf(goldenPath("corners/learned"), { "scheduler_config.json": "{}" }),
      {},
      UsageError,
      /timestep 980 is out of range: the learned embedding has rows 0\.\.49/,
    ],
    [
      "no size at all",
      () => sourceOf(goldenPath("corners/one_level"), { "scheduler_config.json": "{}" }),
      {},
      UsageError,
      /names no sample_size, so a size must be given/,
    ],
  ];
  for (const [name, source, options, kind, says] of cases)
    test(name, async () => {
      using model = await load(source());
      created = model.device.counters.created;
      await expectRefusal(model.generate(options), kind, says);
      await expectNothingAllocated();
    });
});
