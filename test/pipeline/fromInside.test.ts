/** What is no image, tensor, source or list is refused by the library's own errors, before anything is allocated. */
import { afterAll, describe, expect, it } from "vitest";
import * as core from "../../src/index.ts";
import * as node from "../../src/node/index.ts";

const image = { width: 2, height: 2, data: new Uint8ClampedArray(16) };
const tensor = { shape: [1, 1, 1, 1], data: new Float32Array(1) };
const wrong = [null, 3, Number.NaN, 1e10, "x", "a\0b", [], [1, 2], {}, () => {}, Symbol("s"), 5n, Object.create(null)];
const rest = [new Uint8Array(3), { shape: [1, 2, 3, 4], data: [1] }, { width: 1e9, height: 1e9, data: [] }, undefined];

const refused = () => {
  throw new core.UsageError("value", "what a function may be given is no case");
};
const isObject = (v: unknown) => typeof v === "object" && v !== null && !Array.isArray(v);

const calls: Record<string, (value: never) => unknown> = {
  "grid of": (v) => core.grid(v, 2),
  "grid of images": (v) => core.grid([v], 1),
  fitImage: (v) => core.fitImage(v, { width: 2, height: 2 }),
  "fitImage to": (v) => core.fitImage(image, v),
  encodePng: (v) => core.encodePng(v),
  enlarge: (v) => core.enlarge(v, 2),
  "enlarge by": (v) => core.enlarge(image, v === 3 ? (1e9 as never) : v),
  "toRgbaImages to": (v) => core.toRgbaImages(tensor.data, 1, 1, v),
  "fromRgbaImages of one": (v) => core.fromRgbaImages([v], 3),
  readPngText: (v) => core.readPngText(v),
  readImage: (v) => node.readImage(v),
  findAutoencoder: (v) => core.findAutoencoder(v),
  openAutoencoder: (v) => core.openAutoencoder(v),
  toSampler: (v) => core.toSampler({} as never, v),
  fromSampler: (v) => core.fromSampler({} as never, v),
  samplePosterior: (v) => core.samplePosterior(v, tensor),
  openModel: (v) => core.openModel(v),
  openSafetensorsFile: (v) => node.openSafetensorsFile(v),
  folderSource: async (v) => node.openModel(node.folderSource(v)),
  readPng: (v) => node.readPng(v),
  "sample's options": (v) => node.sample(v),
  Autoencoder: (v) => new core.Autoencoder(v, {} as never),
  "Autoencoder on": (v) => new core.Autoencoder({ spec: {} } as never, v),
  defaultScale: (v) => (typeof v === "number" ? refused() : core.defaultScale(v)),
  modelHash: (v) => core.modelHash(v),
  modelId: (v) => core.modelId(v),
  resolveRun: (v) => core.resolveRun(v),
  checkSupport: (v) => (v === undefined || v === null ? refused() : core.checkSupport(v)),
  formatTuning: (v) => (isObject(v) ? refused() : core.formatTuning(v)),
  tuningHash: (v) => core.tuningHash(v),
  openDevice: (v) => core.openDevice(v),
  wrapDevice: (v) => core.wrapDevice(v),
  chromeTrace: (v) => (Array.isArray(v) ? refused() : core.chromeTrace(v)),
  summarise: (v) => (Array.isArray(v) ? refused() : core.summarise(v)),
  "addNoise to": (v) => core.addNoise(v, new Float32Array(7), 1, { alphasCumprod: [1, 0.5] } as never),
  "velocity by": (v) => core.velocity(new Float32Array(4), new Float32Array(4), 1, v),
  slerp: (v) => core.slerp(v, new Float32Array(7), 0.5),
  pickleSource: (v) => core.pickleSource(v, "x.pt"),
  singleFileSource: (v) => core.singleFileSource(v, "x"),
  urlSource: (v) => core.openModel(core.urlSource(v)),
  fileListSource: async (v) => core.openModel(core.fileListSource(v)),
  "samplePosterior with": (v) => core.samplePosterior({ mean: { ...tensor, shape: [2] }, logvar: tensor }, v),
};

describe.each(Object.entries(calls))("%s", (_, call) => {
  it.each([...wrong, ...rest].map((value, i) => [i, value] as const))("value %i", async (_, value) => {
    await expect((async () => call(value as never))()).rejects.toBeInstanceOf(core.DdimError);
  });
});

it("a sheet or picture that no memory holds is refused", () => {
  expect(() => core.grid([image, image], 2, { gap: 1e10 })).toThrow(core.UsageError);
  expect(() => core.fitImage(image, { width: 1e9, height: 1e9 })).toThrow(core.UsageError);
});

it("sections of no steps are refused, under compat openai, too", () => {
  for (const compat of [undefined, "openai"] as const)
    expect(() => core.makeSchedule({ spacing: "0,0", compat } as never)).toThrow(core.UsageError);
});

it("a denoiser that returns nothing is named", async () => {
  const schedule = core.makeSchedule({ steps: 2 } as never);
  for (const result of [undefined, null, 3, {}, "x"]) {
    const options = { denoise: () => result as never, schedule, xT: new Float32Array(4), shape: [1, 1, 2, 2] };
    const { testDevice } = await import("../support/gpu.ts");
    await expect(core.sample({ ...options, device: await testDevice() } as never)).rejects.toMatchObject({
      name: "UsageError",
      option: "denoise",
    });
  }
});

describe("a pipeline's functions", async () => {
  const pipe = await node.loadPipeline("weights/pixel-avatars-16");
  afterAll(() => pipe.dispose());
  const x = { shape: [1, 3, 16, 16], data: new Float32Array(768) };
  const methods = [
    "edit",
    "upscale",
    "invert",
    "reconstruct",
    "interpolate",
    "fuse",
    "encode",
    "decode",
    "noise",
  ] as const;
  const options = [
    "count",
    "eta",
    "seed",
    "batch",
    "guidance",
    "classes",
    "onStep",
    "signal",
    "noise",
    "sampler",
    "steps",
  ];
  // Accepted by some: these say nothing of what is refused.
  const never = [null, Number.NaN, "\0", "x", true, Symbol("s"), { exists: 1 }, () => {}];

  it.each(methods)("%s", async (name) => {
    const before = pipe.device.counters.created;
    const call = pipe[name] as (...given: unknown[]) => Promise<unknown>;
    for (const value of [null, undefined, 5, Number.NaN, "x", {}, []])
      await expect((async () => call.call(pipe, value, {}))(), String(value)).rejects.toBeInstanceOf(core.DdimError);
    // No timesteps are no images.
    for (const value of name === "noise" ? [null, 5, "x"] : [null, 5, "x", [], { nothing: 1 }])
      await expect((async () => call.call(pipe, x, value))(), String(value)).rejects.toBeInstanceOf(core.DdimError);
    expect(pipe.device.counters.created).toBe(before);
  });

  it.each(options)("generate's %s", async (name) => {
    const before = pipe.device.counters.created;
    for (const value of [
      ...never,
      ...(name === "count" ? [0, -1, 1.5, 1e10, 2 ** 53] : []),
      [Number.NaN],
      { data: [1] },
    ])
      if (!(name === "onStep" && typeof value === "function") && !(name === "sampler" && typeof value === "function"))
        await expect(pipe.generate({ steps: 1, [name]: value } as never), String(value)).rejects.toBeInstanceOf(
          core.DdimError,
        );
    expect(pipe.device.counters.created).toBe(before);
  });

  it("generate and steps with no object", async () => {
    for (const value of [null, 5, "x", []]) {
      await expect(pipe.generate(value as never)).rejects.toBeInstanceOf(core.UsageError);
      await expect((async () => pipe.steps(value as never).next())()).rejects.toBeInstanceOf(core.UsageError);
    }
  });
});
