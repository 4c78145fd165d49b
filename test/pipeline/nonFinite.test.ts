/** Numbers that stop being finite during sampling: weights in memory with one value overwritten. */
import { describe, expect, test } from "vitest";
import type { GenerateOptions } from "../../src/pipeline/types.ts";
import { NonFiniteError } from "../../src/runtime/errors.ts";
import { f32ToF16 } from "../../src/weights/convert.ts";
import { goldenPath, load, readFolder, shippedPath, sourceOf, splitSafetensors, WEIGHTS } from "../support/models.ts";
import { rawSafetensors } from "../weights/memory-source.ts";

describe("numbers that stop being finite", () => {
  /** One value of an F16 or F32 tensor overwritten in memory. */
  function poisoned(folder: string, tensor: string, index: number, value: number, extra: Record<string, string> = {}) {
    const { header, data } = splitSafetensors(readFolder(folder)[WEIGHTS]!);
    const { dtype, data_offsets } = header[tensor]!;
    const bytes = dtype === "F16" ? f32ToF16(Float32Array.of(value)) : Float32Array.of(value);
    data.set(new Uint8Array(bytes.buffer), data_offsets[0]! + index * bytes.byteLength);
    return sourceOf(folder, { [WEIGHTS]: rawSafetensors(header, data), ...extra });
  }

  async function failure(source: Parameters<typeof load>[0], options: GenerateOptions): Promise<NonFiniteError> {
    using model = await load(source);
    const { liveBytes } = model.device.counters;
    const error = await model.generate(options).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(NonFiniteError);
    expect(model.device.counters.liveBytes).toBe(liveBytes);
    return error as NonFiniteError;
  }

  test("name the image: the embedding of class 2 holds an infinity", async () => {
    const avatars = shippedPath("pixel-avatars-16");
    const width = 128;
    const source = poisoned(avatars, "class_embedding.weight", 2 * width + 5, Number.POSITIVE_INFINITY);
    for (const batch of [4, 1]) {
      const error = await failure(source, { steps: 3, count: 4, batch });
      expect(error).toMatchObject({ image: 2, step: 0, t: 666 });
      expect(error.message).toBe("the predicted x0 of image 2 is not finite at step 0 (t = 666)");
    }
    using model = await load(source);
    const { images } = await model.generate({ steps: 1, classes: [0, 1, 3], count: 3 });
    expect(images).toHaveLength(3);
  });

  test("name the step: the embedding of timestep 20 holds a NaN", async () => {
    const learned = goldenPath("corners/learned");
    const scheduler = { "scheduler_config.json": JSON.stringify({ num_train_timesteps: 50, clip_sample: true }) };
    const source = poisoned(learned, "time_proj.weight", 20 * 10 + 3, Number.NaN, scheduler);
    expect(await failure(source, { steps: 5, count: 2 })).toMatchObject({ image: 0, step: 2, t: 20 });
    using model = await load(source);
    expect((await model.generate({ timesteps: [40, 19, 3] })).images).toHaveLength(1);
  });

  test("a weight of 1e38 overflows, and clipping does not hide it", async () => {
    const folder = goldenPath("pipelines/eps_clip");
    expect(await failure(poisoned(folder, "conv_out.weight", 7, 1e38), { steps: 2 })).toMatchObject({ step: 0 });
    expect(await failure(poisoned(folder, "conv_norm_out.bias", 1, 3e38), { steps: 2 })).toMatchObject({ image: 0 });
  });
});
