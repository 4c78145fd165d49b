/** No function of the library takes an option that it does not read: unknown names are refused at every door. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { Autoencoder } from "../../src/autoencoder/autoencoder.ts";
import { openAutoencoder } from "../../src/autoencoder/open.ts";
import { grid } from "../../src/image/grid.ts";
import * as node from "../../src/node/index.ts";
import * as core from "../../src/pipeline/load.ts";
import { openModel } from "../../src/pipeline/model.ts";
import type { DiffusionPipeline } from "../../src/pipeline/pipeline.ts";
import { resolveRun } from "../../src/pipeline/run.ts";
import { UsageError } from "../../src/runtime/errors.ts";
import { openDevice } from "../../src/runtime/openDevice.ts";
import { sample } from "../../src/sampler/sample.ts";
import { makeSchedule } from "../../src/sampler/schedule.ts";
import { urlSource } from "../../src/weights/url.ts";
import { goldenPath, load, readFolder, shippedPath } from "../support/models.ts";
import { memorySource } from "../weights/memory-source.ts";

const FOLDER = shippedPath("pixel-avatars-16");
const image = { shape: [1, 3, 16, 16], data: new Float32Array(768) };
const inputs = { sample: image, timestep: [5], classLabels: [0] };

let pipe: DiffusionPipeline;
let autoencoder: Autoencoder;

beforeAll(async () => {
  pipe = await load(FOLDER);
  autoencoder = new Autoencoder(
    await openAutoencoder(memorySource(readFolder(goldenPath("autoencoders/kl")))),
    pipe.device,
  );
});
afterAll(() => {
  autoencoder.dispose();
  pipe.dispose();
});

type Door = readonly [where: string, given: string, meant: string, call: (more: object) => unknown];

const doors: readonly Door[] = [
  ["generate", "numInferenceSteps", "steps", (more) => pipe.generate({ steps: 1, ...more })],
  ["generate", "guidanceScale", "guidance", (more) => pipe.generate({ steps: 1, ...more })],
  ["generate", "width", "size", (more) => pipe.generate({ steps: 1, ...more })],
  ["generate", "prompt", "context", (more) => pipe.generate({ steps: 1, ...more })],
  ["generate", "generator", "seed", (more) => pipe.generate({ steps: 1, ...more })],
  ["steps", "batchSize", "count or batch", (more) => pipe.steps({ steps: 1, ...more }).next()],
  ["resolveRun", "negativePrompt", "negativeContext or negativeClass", (more) => resolveRun(pipe.model, more)],
  ["invert", "numInferenceSteps", "steps", (more) => pipe.invert(image, more)],
  ["invert", "eta", "", (more) => pipe.invert(image, more)],
  ["invert", "seed", "", (more) => pipe.invert(image, more)],
  ["reconstruct", "class_labels", "classes", (more) => pipe.reconstruct(image, more)],
  ["interpolate", "scheduler", "sampler", (more) => pipe.interpolate([1, 2], more)],
  ["interpolate", "count", "", (more) => pipe.interpolate([1, 2], more)],
  ["fuse", "mixs", "mix", (more) => pipe.fuse(image, image, more)],
  ["edit", "mask_image", "mask", (more) => pipe.edit(image, more)],
  ["edit's repaint", "jumpLength", "", (repaint) => pipe.edit(image, { repaint, mask: image } as never)],
  ["inpaint", "maskImage", "mask", (inpaint) => pipe.generate({ inpaint } as never)],
  ["threshold", "maximum", "", (threshold) => pipe.generate({ threshold } as never)],
  ["noise", "generator", "seed", (more) => pipe.noise(image, [5], more)],
  ["evalTerms", "eta", "", (more) => pipe.network.evalTerms(image, more)],
  ["encode", "abortSignal", "signal", (more) => pipe.encode(image, more)],
  ["DiffusionPipeline.decode", "quantize", "", (more) => pipe.decode(image, more)],
  ["forward", "abortSignal", "signal", (more) => pipe.network.forward(inputs, more)],
  ["forward's inputs", "encoder_hidden_states", "context", (more) => pipe.network.forward({ ...inputs, ...more })],
  ["taps", "module", "modules", (more) => pipe.network.taps(inputs, more)],
  ["profile", "class_labels_", "classLabels", (more) => pipe.network.profile({ ...inputs, ...more })],
  ["loadPipeline in browsers", "torchDtype", "dtype", (more) => core.loadPipeline(node.folderSource(FOLDER), more)],
  ["loadPipeline in Node", "torch_dtype", "dtype", (more) => node.loadPipeline(FOLDER, more)],
  ["createPipeline", "variant", "", (more) => core.createPipeline(pipe.model, { device: pipe.device, ...more })],
  ["openModel", "varient", "variant", (more) => openModel(pipe.model.source, more)],
  ["openModel in Node", "randomweights", "randomWeights", (more) => node.openModel(pipe.model.source, more)],
  ["openAutoencoder", "varient", "variant", (more) => node.openAutoencoder(pipe.model.source, more)],
  ["openDevice", "power_preference", "powerPreference", (more) => openDevice(undefined, more)],
  ["openNodeDevice", "Adapter", "adapter", (more) => node.openNodeDevice(more)],
  ["makeSchedule", "num_inference_steps", "steps", (more) => makeSchedule(more)],
  ["makeSchedule", "betaStart", "beta_start", (more) => makeSchedule(more)],
  ["sample", "model", "denoise", (more) => sample({ shape: [1, 1, 2, 2], ...more } as never)],
  ["sample", "scheduler", "schedule", (more) => sample({ shape: [1, 1, 2, 2], ...more } as never)],
  ["Autoencoder", "torchDtype", "dtype", (more) => new Autoencoder(autoencoder.model, pipe.device, more)],
  ["decode", "quantise", "quantize", (more) => autoencoder.decode(image, more)],
  ["Autoencoder.encode", "quantize", "", (more) => autoencoder.encode(image, more)],
  ["pickleSource", "use_ema", "weights", (more) => node.pickleSource(pipe.model.source, "x.ckpt", more)],
  ["readImage", "maxpixels", "maxPixels", (more) => node.readImage("nowhere.png", more)],
  ["upscale", "num_inference_steps", "steps", (more) => pipe.upscale(image, more)],
  ["grid", "columns", "", (more) => grid([], 1, more)],
  ["urlSource", "fetcher", "fetch", (more) => urlSource("https://x.y/", more)],
];

test.each(doors)("%s: %s", async (_, given, meant, call) => {
  const attempt = async () => await call({ [given]: {} });
  const error = await attempt().then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(UsageError);
  const { option, message } = error as UsageError;
  expect(option).toBe(given);
  expect(message).toContain(`there is no option "${given}"; ${meant ? `did you mean ${meant}?` : ""}`);
});

test.each([
  ...["onStep", "onProgress", "signal", "noise", "concat", "context", "textEmbeds"].map((name) => [name, 1]),
  ...[[], {}, { shape: 4, data: new Float32Array(4) }, { shape: [1], data: [1] }, null].map((v) => ["noise", v]),
  ...["1", 1, {}].map((v) => ["timesteps", v]),
  ...["yes", 1, [], null].map((v) => ["clip", v]),
  ["signal", {}],
] as [string, unknown][])("values of another type are refused by name: %s %j", async (name, value) => {
  const attempt = async () =>
    name === "onProgress"
      ? await node.loadPipeline(FOLDER, { [name]: value as never })
      : await pipe.generate({ steps: 1, [name]: value });
  const error = await attempt().catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(UsageError);
  expect((error as UsageError).option).toBe(name);
});

test("what a scheduler's file may hold is no mistake, and neither is an option that is undefined", async () => {
  expect(makeSchedule({ solver_order: 2, _diffusers_version: "0.42.1", steps: 3 } as object).steps).toHaveLength(3);
  expect(resolveRun(pipe.model, { steps: 2, ...{ width: undefined } }).schedule.steps).toHaveLength(2);
});

test.each([
  ["generate", () => pipe.generate(null as never)],
  ["edit", () => pipe.edit(5 as never)],
  ["invert", () => pipe.invert("x" as never)],
  ["eval", () => pipe.network.evalTerms(new Float32Array(768) as never)],
  ["encode", () => pipe.encode(null as never)],
  ["decode", () => pipe.decode({ shape: [1, 3, 16, 16], data: [] } as never)],
  ["noise", async () => pipe.noise(1 as never, [5])],
  ["noise", async () => pipe.noise(image, 5 as never)],
] as const)("%s refuses arguments of another kind", async (where, call) => {
  const error = await call().catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(UsageError);
  expect((error as Error).message).toMatch(new RegExp(`^${where}: `));
});
