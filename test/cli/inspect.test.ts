import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { memoryLines, reportMemory } from "../../src/cli/inspect/memory.ts";
import { lower } from "../../src/cli/kernels.ts";
import { encodePng } from "../../src/image/png.ts";
import { DeviceError } from "../../src/runtime/errors.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { parseUNet2DConfig } from "../../src/unet/config.ts";
import { encodeSafetensors } from "../../src/weights/encode.ts";
import type { World } from "../support/cli.ts";
import { ddim, scratchFolder } from "../support/cli.ts";

const scratch = scratchFolder();
const noAdapter: World = {
  openDevice: async () => {
    throw new DeviceError("unsupported", "no adapter");
  },
};

async function json(path: string, world?: World) {
  const { code, stdout, stderr } = await ddim(["inspect", path, "--json", "-q"], world);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return JSON.parse(stdout);
}

test("a model: parameters, classes, layers, kernels and a memory plan for the adapter", async () => {
  const report = await json("pixel-avatars-16");
  expect(report).toMatchObject({
    kind: "model",
    name: "pixel-avatars-16",
    parameters: 1064291,
    bytes: 2128582,
    stored_as: ["F16"],
    sample_size: [16, 16],
    classes: 4,
    class_names: ["plain", "glasses", "hat", "hat and glasses"],
    null_class: 4,
    scheduler: "DDIMScheduler",
    memory: { adapter: expect.any(String), dtype: "f32", height: 16, width: 16 },
  });
  expect(report.layers).toContainEqual({
    layer: "conv_in",
    parameters: 896,
    shapes: ["bias [32]", "weight [32, 3, 3, 3]"],
  });
  const sum = report.layers.reduce((total: number, layer: { parameters: number }) => total + layer.parameters, 0);
  expect(sum).toBe(report.parameters);
  expect(report.memory.weights).toBeGreaterThanOrEqual(4 * 1064291);
  const [one, four, sixteen] = report.memory.activations;
  expect([one.batch, four.batch, sixteen.batch]).toEqual([1, 4, 16]);
  expect(sixteen.bytes).toBeGreaterThan(four.bytes);
  expect(report.kernels.map((k: { kernel: string }) => k.kernel)).toContain("conv2d");
});

test("without an adapter the plan is for some GPU, and says so", async () => {
  expect((await json("pixel-avatars-16", noAdapter)).memory.adapter).toBeNull();
  const { code, stdout } = await ddim(["inspect"], noAdapter);
  expect(code).toBe(0);
  expect(stdout).toContain("pixel-avatars-16: UNet2DModel, 1.06 M parameters");
  expect(stdout).toContain("planned for a GPU; no adapter is here");
});

test("f16 halves what the weights take", async () => {
  const full = await json("pixel-avatars-16", noAdapter);
  const { stdout } = await ddim(["inspect", "pixel-avatars-16", "--dtype", "f16", "--json"], noAdapter);
  const half = JSON.parse(stdout);
  expect(half.memory.weights / full.memory.weights).toBeLessThan(0.6);
});

test("plans in both types for a network of real size, and what no binding can hold", async () => {
  const at = ["inspect", "bench/configs/cin256-v2", "--random-weights", "1"];
  const { stdout } = await ddim([...at, "--json"], noAdapter);
  const { parameters, memory, flops_per_image } = JSON.parse(stdout);
  expect(parameters).toBe(400_920_579);
  // At least that of the first level's ten convolutions, 2·9·192² per pixel each.
  expect(flops_per_image).toBeGreaterThan(10 * 2 * 9 * 192 ** 2 * 64 ** 2);
  const [f32, f16] = memory.plans;
  expect([f32.dtype, f16.dtype, memory.dtype]).toEqual(["f32", "f16", "f32"]);
  expect(f32.weights).toBeGreaterThanOrEqual(4 * 400_920_579);
  expect(f16.weights).toBeGreaterThanOrEqual(2 * 400_920_579);
  expect(f16.weights).toBeLessThan(0.6 * f32.weights);
  for (const { activations } of memory.plans)
    for (const { bytes, lower_bound } of activations) {
      expect(lower_bound).toBeGreaterThan(0);
      expect(bytes / lower_bound).toBeGreaterThanOrEqual(1);
      expect(bytes / lower_bound).toBeLessThan(1.5);
    }
  const text = (await ddim(at, noAdapter)).stdout;
  expect(text).toMatch(/f16: weights .* of the least possible/);
  expect(text).toMatch(
    /fits bindings: the largest weights are \S+ with [\d.]+ MiB, and a batch has at most \d+ images/,
  );
});

test("a plan that does not fit says so", () => {
  const spec = parseUNet2DConfig(JSON.parse(readFileSync("weights/pixel-avatars-16/unet/config.json", "utf8")), "x");
  const target: Target = { shapes: "const", storage: "buffer", lanes: 0, software: false };
  const lowered = lower(spec, target, { height: 16, width: 16 }, "f32");
  const within = (bytes: number) => reportMemory(lowered, "f32", { maxUnits: (_, unit) => Math.floor(bytes / unit) });
  const roomy = within(2 ** 27);
  expect([roomy.fits, roomy.too_large]).toEqual([true, []]);
  const tight = within(roomy.largest_weight.bytes - 1);
  expect(tight.fits).toBe(false);
  expect(tight.too_large).toContainEqual(roomy.largest_weight);
  expect(memoryLines(tight)[1]).toContain(`does not fit: ${tight.too_large.length} weight tensor`);
  expect(within(64)).toMatchObject({ fits: false, most_images: 0 });
});

test("a latent model tells its first stage", async () => {
  const model = join(scratch, "latent");
  cpSync("test/golden/models/sd1", model, { recursive: true });
  cpSync("test/golden/autoencoders/kl", model, { recursive: true });
  const report = await json(model, noAdapter);
  expect(report.first_stage).toEqual({
    ...{ kind: "AutoencoderKL", parameters: 62_463, latent_channels: 4, pixels_per_latent: 4, scaling_factor: 0.18215 },
  });
  expect((await json("pixel-avatars-16", noAdapter)).first_stage).toBeNull();
  const { stdout } = await ddim(["inspect", model], noAdapter);
  expect(stdout).toContain("latents: 4 channels, 16 x 16\nfirst stage: AutoencoderKL");
});

test("a network without a scheduler, and its warnings, are told", async () => {
  const { stdout } = await ddim(["inspect", "test/golden/models/ddpm_sharded"], noAdapter);
  expect(stdout).toContain("scheduler: none, so the model can be evaluated but not sampled");
  const model = join(scratch, "ddpm");
  cpSync("weights/pixel-avatars-16", model, { recursive: true });
  const config = join(model, "scheduler/scheduler_config.json");
  writeFileSync(config, readFileSync(config, "utf8").replace("DDIMScheduler", "DDPMScheduler"));
  const { stderr } = await ddim(["inspect", model], noAdapter);
  expect(stderr).toMatch(/^warning: the model names DDPMScheduler; it is sampled with DDIM.*\n$/);
});

test("a safetensors file: its tensors and metadata", async () => {
  const file = join(scratch, "x.safetensors");
  const data = Float32Array.of(1, 2, 3, 4, 5, 6);
  const tensors = {
    b: { dtype: "F32", shape: [2, 3], data },
    a: { dtype: "I64", shape: [], data: BigInt64Array.of(7n) },
  } as const;
  writeFileSync(file, encodeSafetensors(tensors, { made: "by hand" }));
  expect(await json(file)).toEqual({
    file,
    kind: "safetensors",
    tensors: [
      { name: "a", dtype: "I64", shape: [], bytes: 8 },
      { name: "b", dtype: "F32", shape: [2, 3], bytes: 24 },
    ],
    elements: 7,
    bytes: 32,
    metadata: { made: "by hand" },
  });
  const { stdout } = await ddim(["inspect", file]);
  expect(stdout).toMatch(/^b +F32 +\[2, 3\] +24 B$/m);
  expect(stdout).toContain("made: by hand");
});

test("a picture: the parameters of other tools, or that there are none", async () => {
  const image = { width: 2, height: 1, data: new Uint8ClampedArray(8).fill(255) };
  const file = join(scratch, "other.png");
  writeFileSync(file, await encodePng(image, { parameters: "a cat\nSteps: 20, Sampler: DDIM", Author: "A. N. Other" }));
  expect(await json(file)).toMatchObject({ kind: "png", width: 2, height: 1, parameters: null });
  const { stdout } = await ddim(["inspect", file]);
  expect(stdout).toContain("  Steps: 20\n  Sampler: DDIM\n  Author: A. N. Other\n");
  writeFileSync(file, await encodePng(image));
  expect((await ddim(["inspect", file])).stdout).toContain("no parameters");
});

test("anything else is refused", async () => {
  const file = join(scratch, "notes.txt");
  writeFileSync(file, "hello");
  const failures: [string, string][] = [
    [file, "notes.txt: is neither a folder, nor a PNG, JPEG or WebP picture, nor a .safetensors,"],
    [join(scratch, "none.png"), "none.png: cannot be read (ENOENT)"],
    [join(scratch, "none"), "none: there is no such folder"],
  ];
  for (const [path, message] of failures) {
    const { code, stderr } = await ddim(["inspect", path]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^ddim: .*\n$/);
    expect(stderr).toContain(message);
  }
});
