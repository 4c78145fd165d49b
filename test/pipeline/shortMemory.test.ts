/** Memory that is short: smaller batches where nobody chose them, typed errors elsewhere, and nothing left behind. */
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import type { DiffusionPipeline } from "../../src/pipeline/pipeline.ts";
import type { Generation, SavedRun } from "../../src/pipeline/types.ts";
import type { Device } from "../../src/runtime/device.ts";
import { testDevice } from "../support/gpu.ts";
import { latentModel } from "../support/latents.ts";
import { goldenPath, load } from "../support/models.ts";

const short = { name: "DeviceError", reason: "out-of-memory" };
/** Bytes of a state of 16 × 16 pixels on the GPU. */
const STATE = 16 * 16 * 16;
const run = { steps: 3, seed: 5, count: 7, eta: 0.5 } as const;
let device: Device;
let pipe: DiffusionPipeline;
let right: Generation;
let idle: number;
beforeAll(async () => {
  device = await testDevice();
  pipe = await load(goldenPath("pipelines/eps_clip"), { onWarning: () => {} });
  right = await pipe.generate(run);
  idle = device.counters.liveBytes;
});
afterEach(() => {
  vi.restoreAllMocks();
  expect(device.counters.liveBytes).toBe(idle);
});
afterAll(() => pipe.dispose());

/** What fails for everything that is larger: mapping at creation, as implementations refuse it, or what an adapter allocates. */
const faults = {
  mapping: (most: Readonly<Record<string, number>>) => {
    const create = device.gpu.createBuffer.bind(device.gpu);
    return vi.spyOn(device.gpu, "createBuffer").mockImplementation((descriptor) => {
      if (descriptor.mappedAtCreation && descriptor.size > (most[descriptor.label as string] ?? Infinity))
        throw new RangeError("createBuffer failed to allocate a buffer mapped at creation.");
      return create(descriptor);
    });
  },
  allocation: (most: Readonly<Record<string, number>>) => {
    const { maxTextureDimension2D: side, maxTextureArrayLayers: layers } = device.gpu.limits;
    const create = device.gpu.createBuffer.bind(device.gpu);
    return vi.spyOn(device.gpu, "createBuffer").mockImplementation((descriptor) => {
      // In the same scope: no machine has as much.
      if (descriptor.size > (most[descriptor.label as string] ?? Infinity))
        device.gpu.createTexture({ size: [side, side, layers], format: "rgba32float", usage: 8 });
      return create(descriptor);
    });
  },
};

describe("a run", () => {
  for (const [name, label, bytes] of [
    ["mapping", "status", 16],
    ["allocation", "x", 4 * STATE],
    // When the pictures are read, all steps are done.
    ["allocation", "read-back", 4 * STATE],
  ] as const)
    test(`whose batch nobody chose takes fewer images: ${name} of ${label}`, async () => {
      faults[name]({ [label]: bytes });
      const seen: string[] = [];
      const made: number[] = [];
      const result = await pipe.generate({
        ...run,
        onStep: ({ image, images, index }) => void (index === 0 && seen.push(`${image}+${images}`)),
        onBatch: ({ first }) => made.push(first),
      });
      expect(result.samples.data).toEqual(right.samples.data);
      expect(result.images).toEqual(right.images);
      expect(result.warnings).toContain("7 images at a time do not fit in memory: 3 are made at a time");
      expect(seen.slice(-3)).toEqual(["0+3", "3+3", "6+1"]);
      expect(made).toEqual([0, 3, 6]);
      expect(result.ms.perStep).toBeGreaterThan(0);
    });

  test("whose batch was chosen does not", async () => {
    const spy = faults.mapping({ status: 16 });
    await expect(pipe.generate({ ...run, batch: 7 })).rejects.toMatchObject(short);
    expect(spy.mock.calls.filter(([{ label }]) => label === "status").length).toBe(1);
    expect((await pipe.generate({ ...run, batch: 4 })).samples.data).toEqual(right.samples.data);
  });

  test("that does not fit with one image is an error that names what", async () => {
    faults.mapping({ status: 0 });
    await expect(pipe.generate(run)).rejects.toMatchObject(short);
    await expect(pipe.generate(run)).rejects.toThrow(/^status \(1 MiB\) does not fit in memory: createBuffer failed/);
    vi.restoreAllMocks();
    expect((await pipe.generate(run)).samples.data).toEqual(right.samples.data);
  });

  test("that takes fewer images on the way is saved and resumed", async () => {
    let saved: SavedRun | undefined;
    const spy = faults.mapping({ status: 16 });
    for await (const step of pipe.steps(run)) {
      if (step.image !== 3 || step.index !== 1) continue;
      saved = await step.save();
      break;
    }
    expect(saved).toMatchObject({ batch: 3, first: 3 });
    expect((await pipe.generate({ ...run, resume: saved })).images).toEqual(right.images);
    spy.mockRestore();
    // A batch of 5, then of 2.
    const five = { ...run, count: 9, batch: 5 };
    const whole = await pipe.generate(five);
    for await (const step of pipe.steps(five)) {
      if (step.image !== 5) continue;
      saved = await step.save();
      break;
    }
    faults.mapping({ status: 16 });
    expect((await pipe.generate({ ...five, resume: saved })).images).toEqual(whole.images);
  });
});

test("single evaluations of many images", async () => {
  const inputs = { sample: right.samples, timestep: [9] };
  const whole = await pipe.network.forward(inputs);
  const spy = faults.allocation({ sample: 4 * STATE });
  expect((await pipe.network.forward(inputs)).data).toEqual(whole.data);
  expect(spy.mock.calls.filter(([{ label }]) => label === "sample").map(([{ size }]) => size / STATE)).toEqual([
    7, 3, 3, 1,
  ]);
  const { taps } = await pipe.network.taps(inputs, { modules: ["conv_in"] });
  vi.restoreAllMocks();
  expect((await pipe.network.taps(inputs, { modules: ["conv_in"] })).taps).toEqual(taps);
});

test("an autoencoder, in a run and by itself", async () => {
  using latent = await load(latentModel("ddpm", "vq"), { onWarning: () => {} });
  const options = { steps: 2, seed: 1, count: 5, size: { height: 32, width: 32 }, batch: 5 };
  const whole = await latent.generate(options);
  const codes = await latent.encode(whole.samples);
  const images = await latent.decode(whole.latents!);
  // Pictures that are painted, the codebook's entries that the decoder finds, the encoder's input.
  for (const [label, size] of Object.entries({
    rgba: 4 * 32 ** 2,
    "quantize.indices": 4 * 8 ** 2,
    image: 16 * 32 ** 2,
  })) {
    const spy = faults.allocation({ [label]: 2 * size });
    const made = await latent.generate(options);
    expect(made.images).toEqual(whole.images);
    expect(made.samples).toEqual(whole.samples);
    expect(await latent.encode(whole.samples)).toEqual(codes);
    expect(await latent.decode(whole.latents!)).toEqual(images);
    const refused = spy.mock.calls.filter(([made]) => made.label === label && made.size === 5 * size);
    expect(refused.length, label).toBeGreaterThan(0);
    spy.mockRestore();
  }
});

test("loading ends with an error of its kind and leaves nothing", async () => {
  const create = device.gpu.createBuffer.bind(device.gpu);
  vi.spyOn(device.gpu, "createBuffer").mockImplementation((descriptor) => {
    if (descriptor.mappedAtCreation) throw new RangeError("no memory");
    return create(descriptor);
  });
  await expect(load(goldenPath("pipelines/eps_clip"))).rejects.toMatchObject(short);
});
