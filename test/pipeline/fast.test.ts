/**
 * Goldens once more with the settings of a release run (no validation, no robustness checks, no clearing of memory): in
 * a file and therefore a process of its own. What reads past an array's end or memory that nobody wrote shows here.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openNodeDevice } from "../../src/node/device.ts";
import type { Device } from "../../src/runtime/device.ts";
import { nmse } from "../reference/tensor.ts";
import { goldenPath, load, readEvaluation, readTensors, shippedPath } from "../support/models.ts";

let device: Device;
beforeAll(async () => {
  device = await openNodeDevice({ fast: true });
});
afterAll(() => device.dispose());

describe("networks", () => {
  const names = ["models/adm/io", "models/ddpm/io", "models/classidentity/io", "models/defaults/io"];
  const corners = ["centred/io_12x20", "learned/io_8x8", "no_middle/io_8x12", "deep/io_32x16", "one_level/io_1x1"];
  for (const name of [...names, ...corners.map((corner) => `corners/${corner}`)])
    test(name, async () => {
      const folder = goldenPath(name.replace(/\/io.*/, ""));
      const { inputs, output } = await readEvaluation(goldenPath(`${name}.safetensors`));
      using f32 = await load(folder, { device });
      expect(nmse((await f32.network.forward(inputs)).data, output.data)).toBeLessThanOrEqual(1e-10);
      using f16 = await load(folder, { device, dtype: "f16" });
      expect(nmse((await f16.network.forward(inputs)).data, output.data)).toBeLessThanOrEqual(2e-5);
    });
});

test("a whole run with guidance", async () => {
  const golden = await readTensors(goldenPath("shipped/pixel-avatars-16-S10-w2.safetensors"));
  using pipe = await load(shippedPath("pixel-avatars-16"), { device });
  const { samples } = await pipe.generate({
    noise: golden.x_T,
    classes: [...golden.class_labels!.data],
    steps: 10,
    guidance: 2,
    compat: "diffusers",
  });
  expect(nmse(samples.data, golden.x_0_f64!.data)).toBeLessThanOrEqual(1e-7);
});

test("the same bits at batch 1 and 5", async () => {
  using pipe = await load(shippedPath("pixel-avatars-16"), { device });
  const run = async (batch: number) => (await pipe.generate({ steps: 2, seed: 4, eta: 1, count: 5, batch })).samples;
  expect(await run(1)).toEqual(await run(5));
});

test("nothing stays allocated", () => {
  expect(device.counters.liveBytes).toBe(0);
});
