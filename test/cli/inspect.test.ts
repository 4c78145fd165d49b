import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { encodePng } from "../../src/image/png.ts";
import { DeviceError } from "../../src/runtime/errors.ts";
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
    [file, "notes.txt: is neither a folder nor a PNG or .safetensors file"],
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
