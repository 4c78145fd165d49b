/** Image i is the same bits at every batch size: in the samples and in the bytes. */
import { describe, expect, test } from "vitest";
import type { GenerateOptions, Generation } from "../../src/pipeline/types.ts";
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
