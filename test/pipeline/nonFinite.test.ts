/** Numbers that stop being finite during sampling: weights in memory with one value overwritten. */
import { describe, expect, test } from "vitest";
import type { GenerateOptions } from "../../src/pipeline/types.ts";
import { NonFiniteError } from "../../src/runtime/errors.ts";
import { f32ToF16 } from "../../src/weights/convert.ts";
import { latentModel } from "../support/latents.ts";
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
      expect(error.message).toMatch(
        /^the predicted x0 of image 2 is not finite at step 0 \(t = 666\); .*: tensor class_embedding.weight holds Infinity at position 261$/,
      );
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

describe("single evaluations", () => {
  const nan = (shape: number[], at: number) => {
    const data = new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(0.1);
    data[at] = Number.NaN;
    return { shape, data };
  };

  test("name the input that is not finite, or go on where they shall", async () => {
    const folder = goldenPath("pipelines/eps_clip");
    const inputs = { sample: nan([2, 3, 16, 16], 1000), timestep: [5] };
    using model = await load(folder);
    await expect(model.network.forward(inputs)).rejects.toThrow("sample holds NaN in image 1");
    await expect(model.network.taps(inputs, { modules: ["conv_in"] })).rejects.toThrow("sample holds NaN in image 1");
    const warnings: string[] = [];
    using lenient = await load(folder, { nonFinite: "warn", onWarning: (text) => warnings.push(text) });
    expect((await lenient.network.forward(inputs)).data.some(Number.isNaN)).toBe(true);
    expect(warnings).toEqual(["sample holds NaN in image 1", "the output holds NaN in image 1"]);
    await expect(load(folder, { nonFinite: "never" as "warn" })).rejects.toThrow("nonFinite must be error or warn");
  });
});

describe("a decoder", () => {
  const file = "vae/diffusion_pytorch_model.safetensors";

  /** A latent model whose decoder's last bias is infinite. */
  function poisonedDecoder() {
    const { header, data } = splitSafetensors(readFolder(goldenPath("autoencoders/kl"))[file]!);
    const bytes = new Uint8Array(Float32Array.of(Number.POSITIVE_INFINITY).buffer);
    data.set(bytes, header["decoder.conv_out.bias"]!.data_offsets[0]);
    return latentModel("sd1", "kl", { [file]: rawSafetensors(header, data) });
  }

  const run = { context: { shape: [2, 3, 32], data: new Float32Array(192).fill(0.2) }, steps: 1, spacing: "trailing" };
  const sentence =
    /^the decoded picture 0 is not finite; .*: tensor decoder.conv_out.bias holds Infinity at position 0$/;

  test("is named, where pictures stay on the GPU too", async () => {
    using model = await load(poisonedDecoder());
    await expect(model.generate(run as GenerateOptions)).rejects.toThrow(sentence);
    const { gpu } = model.device;
    const pixels = gpu.createBuffer({ size: 2 * 512 * 512 * 4, usage: GPUBufferUsage.COPY_DST });
    await expect(model.generate({ ...run, pixels } as GenerateOptions)).rejects.toThrow(sentence);
    pixels.destroy();
  });

  test("with nonFinite warn gives pictures, and a warning", async () => {
    using model = await load(poisonedDecoder(), { nonFinite: "warn" });
    const { images, warnings } = await model.generate(run as GenerateOptions);
    expect(images).toHaveLength(2);
    expect(warnings).toEqual([expect.stringMatching(sentence)]);
  });
});
