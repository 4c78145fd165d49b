/** Image i is the same bits at every batch size: in the samples and in the bytes. */
import { describe, expect, test } from "vitest";
import type { GenerateOptions } from "../../src/pipeline/types.ts";
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

describe("batches of 1, 2, 7 and 16 make the same 16 images:", () => {
  for (const [name, model, options] of RUNS)
    test(name, async () => {
      using pipe = await load(...model);
      const run = async (batch: number) => {
        const { samples, images } = await pipe.generate({ ...options, seed: 2n ** 63n + 11n, count: 16, batch });
        return { samples, images };
      };
      const whole = await run(16);
      expect(whole.images).toHaveLength(16);
      expect(whole.images[3]).not.toEqual(whole.images[11]);
      for (const batch of [7, 2, 1]) expect(await run(batch), `batch ${batch}`).toEqual(whole);
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
