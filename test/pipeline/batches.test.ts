/** Image i is the same bits at every batch size: in the samples and in the bytes. */
import { describe, expect, test } from "vitest";
import type { RgbaImage } from "../../src/image/rgba.ts";
import type { GenerateOptions, Generation, SavedRun } from "../../src/pipeline/types.ts";
import { latentModel } from "../support/latents.ts";
import { goldenPath, load, shippedPath, sourceOf } from "../support/models.ts";

const scheduler = JSON.stringify({ _class_name: "DDIMScheduler", num_train_timesteps: 50, clip_sample: false });

/** Odd channel counts and heads, learned timesteps, a picture that is not square: what a shipped model does not have. */
const corner = (name: string) =>
  sourceOf(goldenPath(`corners/${name}`), { "scheduler/scheduler_config.json": scheduler });

const RUNS: [string, Parameters<typeof load>, GenerateOptions][] = [
  ["guidance and noise", [shippedPath("pixel-avatars-16")], { steps: 4, eta: 0.5, guidance: 2.5 }],
  ["f16", [shippedPath("pixel-avatars-16"), { dtype: "f16" }], { steps: 3, eta: 1 }],
  ["attention at several levels", [shippedPath("crawl-tiles-32")], { steps: 2, eta: 0.5 }],
  ["torch's noise", [shippedPath("pixel-avatars-16")], { steps: 2, rng: "torch" }],
  ["odd widths, learned timesteps", [corner("learned")], { steps: 3, eta: 0.5, size: { height: 6, width: 10 } }],
  ["not square", [corner("centred")], { steps: 3, eta: 0.5 }],
];

/** The images that are not the same bits, before or after quantisation. */
function differing(a: Generation, b: Generation): number[] {
  const size = a.samples.data.length / a.images.length;
  const floats = ({ samples }: Generation, i: number) =>
    Buffer.from(samples.data.slice(i * size, (i + 1) * size).buffer);
  const same = (i: number) =>
    floats(a, i).equals(floats(b, i)) && Buffer.from(a.images[i]!.data).equals(Buffer.from(b.images[i]!.data));
  return [...a.images.keys()].filter((i) => !same(i));
}

describe("batches of 1, 2, 7 and 16 make the same 16 images:", () => {
  for (const [name, model, options] of RUNS)
    test(name, async () => {
      using pipe = await load(...model);
      const run = (batch: number) => pipe.generate({ ...options, seed: 2n ** 63n + 11n, count: 16, batch });
      const whole = await run(16);
      expect(whole.images).toHaveLength(16);
      expect(whole.images[3]).not.toEqual(whole.images[11]);
      for (const batch of [7, 2, 1]) expect(differing(await run(batch), whole), `batch ${batch}`).toEqual([]);
    });
});

test("an image does not depend on how many follow it", async () => {
  using pipe = await load(shippedPath("pixel-avatars-16"));
  const options = { seed: 5, steps: 3, eta: 0.5 };
  const many = await pipe.generate({ ...options, count: 5 });
  const one = await pipe.generate({ ...options, count: 1 });
  expect(one.images[0]).toEqual(many.images[0]);
});

test("the seed decides, and a returned seed makes the image again", async () => {
  using pipe = await load(shippedPath("pixel-avatars-16"));
  const { seed, images } = await pipe.generate({ steps: 2 });
  const { images: again } = await pipe.generate({ steps: 2, seed });
  const { images: other } = await pipe.generate({ steps: 2, seed: seed + 1n });
  expect(again).toEqual(images);
  expect(other).not.toEqual(images);
});

describe.each([
  ["pixels", () => load(shippedPath("pixel-avatars-16")), { height: 16, width: 16 }],
  ["latents", () => load(latentModel("ddpm", "vq")), { height: 64, width: 64 }],
])("batches of %s", (_, open, size) => {
  const options = { steps: 2, seed: 5, count: 5, batch: 2, size };

  test("come when they are made, after resuming all of them, and are waited for", async () => {
    using pipe = await open();
    const { images } = await pipe.generate(options);
    const order: (string | number)[] = [];
    const made: RgbaImage[] = [];
    const onBatch: GenerateOptions["onBatch"] = async (batch) => {
      expect(batch.first).toBe(made.length);
      made.push(...batch.images);
      await new Promise((next) => setTimeout(next, 5));
      order.push(batch.images.length);
    };
    let saved: SavedRun | undefined;
    for await (const step of pipe.steps({ ...options, onBatch })) {
      order.push(`${step.image}.${step.index}`);
      if (step.image === 2 && step.index === 0) saved = await step.save();
    }
    expect(order).toEqual(["0.0", "0.1", 2, "2.0", "2.1", 2, "4.0", "4.1", 1]);
    expect(made.splice(0)).toEqual(images);
    await pipe.generate({ ...options, onBatch, resume: saved });
    expect(order.splice(9)).toEqual([2, 2, 1]);
    expect(made).toEqual(images);
  });

  test("end the run where whoever takes them throws, and leave nothing behind", async () => {
    using pipe = await open();
    await pipe.generate({ ...options, count: 2 });
    const live = pipe.device.counters.liveObjects;
    const onBatch = () => Promise.reject(new Error("full"));
    await expect(pipe.generate({ ...options, onBatch })).rejects.toThrow("full");
    expect(pipe.device.counters.liveObjects).toBe(live);
  });
});
