/** Devices that are lost at any time: what fails, what comes back, and what it costs. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import v8 from "node:v8";
import vm from "node:vm";
import { expect, test } from "vitest";
import { openNodeDevice } from "../../src/node/device.ts";
import { openModel } from "../../src/node/model.ts";
import { createPipeline } from "../../src/pipeline/load.ts";
import type { OpenOptions } from "../../src/pipeline/model.ts";
import type { CreateOptions } from "../../src/pipeline/options.ts";
import type { DiffusionPipeline } from "../../src/pipeline/pipeline.ts";
import type { GenerateOptions, PackedStore, SavedRun, Tensor } from "../../src/pipeline/types.ts";
import type { Device } from "../../src/runtime/device.ts";
import { DeviceError, UsageError, UseAfterDisposeError } from "../../src/runtime/errors.ts";
import { cin256, latentModel } from "../support/latents.ts";
import { goldenPath, sourceOf } from "../support/models.ts";
import { memorySource } from "../weights/memory-source.ts";

const golden = (path: string) => readFileSync(goldenPath(path), "utf8");

/** A network of one level, 8 × 8, which is quickly loaded. */
const tiny = JSON.stringify({
  ...JSON.parse(golden("corners/no_middle/unet/config.json")),
  block_out_channels: [8],
  down_block_types: ["DownBlock2D"],
  up_block_types: ["UpBlock2D"],
  layers_per_block: 1,
  norm_num_groups: 4,
  sample_size: 8,
});
const source = memorySource({
  "unet/config.json": tiny,
  "scheduler/scheduler_config.json": golden("models/sd1/scheduler/scheduler_config.json"),
});
const made: OpenOptions = { randomWeights: 1n };

/** Devices that were opened, and a pipeline that opens its own. */
async function own(options: CreateOptions = {}, from = source, how = made) {
  const opened: Device[] = [];
  const open = async () => {
    const device = await openNodeDevice({ fast: false });
    opened.push(device);
    return device;
  };
  const pipe = await createPipeline(await openModel(from, how), { onWarning: () => {}, ...options }, open);
  return { pipe, opened, open };
}

const lost = { name: "DeviceError", reason: "lost" };
const lose = (pipe: DiffusionPipeline) => pipe.device.gpu.destroy();
const run = { steps: 4, seed: 3, count: 3, batch: 2, eta: 0.5 } as const;

test("50 devices lost in a loop of runs that go on: every picture is right, and nothing grows", {
  timeout: 120_000,
}, async () => {
  v8.setFlagsFromString("--expose-gc");
  const collect: () => void = vm.runInNewContext("gc");
  const { pipe, opened } = await own();
  const right = await pipe.generate(run);
  /** A run, taken again from what was saved of it until it is done; the device goes at one of its steps, or behind it. */
  async function endure(losses: number[]): Promise<void> {
    let [saved, steps]: [SavedRun | undefined, number] = [undefined, 0];
    for (;;) {
      const onStep: GenerateOptions["onStep"] = async (step) => {
        saved = await step.save();
        if (steps++ === losses[0]) {
          losses.shift();
          lose(pipe);
        }
      };
      const { images, samples } = await pipe.generate({ ...run, resume: saved, onStep }).catch(async (error) => {
        expect(error).toMatchObject(lost);
        await pipe.recover();
        return { images: undefined, samples: undefined };
      });
      if (!images) continue;
      expect(samples.data).toEqual(right.samples.data);
      expect(images).toEqual(right.images);
      return;
    }
  }
  const devices: WeakRef<Device>[] = [];
  const heap: number[] = [];
  for (let round = 0; round < 17; round++) {
    // Of 8 steps; the last one's loss shows when the pictures are read.
    await endure([round % 7, 7]);
    lose(pipe);
    await expect(pipe.generate(run)).rejects.toMatchObject(lost);
    await pipe.recover();
    devices.push(...opened.splice(0).map((device) => new WeakRef(device)));
    await sleep(5);
    collect();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    heap.push(heapUsed + arrayBuffers);
  }
  expect(devices.length).toBe(1 + 3 * 17);
  expect((await pipe.generate(run)).images).toEqual(right.images);
  await sleep(20);
  collect();
  expect(devices.filter((device) => device.deref()).length).toBeLessThanOrEqual(2);
  expect((heap.at(-1)! - heap[4]!) / 2 ** 20).toBeLessThan(1);
  const { counters } = pipe.device;
  pipe.dispose();
  expect(counters).toMatchObject({ liveBytes: 0, liveObjects: 0 });
});

/** Packed weights in memory, as a service may keep them. */
function packedMemory(): PackedStore {
  const entries = new Map<string, { sizes: string; parts: Uint8Array[]; note: string }>();
  return {
    async open(key, sizes) {
      const entry = entries.get(key);
      if (entry?.sizes !== sizes.join()) return undefined;
      const parts = entry.parts.values();
      return {
        note: entry.note,
        async read(target) {
          target.set(parts.next().value as Uint8Array);
          return true;
        },
        async close() {},
      };
    },
    async save(key, sizes, parts, note) {
      const all: Uint8Array[] = [];
      for await (const part of parts) all.push(part.slice());
      entries.set(key, { sizes: sizes.join(), parts: all, note });
    },
  };
}

/** Of a diffusers folder, of one with vectors of timesteps and classes, of one with a table of contexts. */
const keepers = {
  diffusers: { from: sourceOf(goldenPath("pipelines/eps_clip")), shape: [1, 3, 16, 16] },
  learned: { from: sourceOf(goldenPath("corners/learned_class")), shape: [1, 2, 6, 6], classLabels: [2] },
  original: { from: cin256(), shape: [1, 3, 8, 8], classLabels: [5] },
};

for (const [name, { from, shape, ...labels }] of Object.entries(keepers))
  test(`what is kept is not read again: ${name}`, async () => {
    const { pipe } = await own({ packed: packedMemory() }, from, { firstStage: false });
    using _ = pipe;
    const data = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => Math.sin(i));
    const evaluate = () => pipe.network.forward({ sample: { shape, data }, timestep: [3], ...labels });
    const right = await evaluate();
    expect(from.reads.length).toBeGreaterThan(0);
    for (let i = 0; i < 2; i++) {
      from.reads.length = 0;
      lose(pipe);
      await pipe.recover();
      expect((await evaluate()).data).toEqual(right.data);
      expect(from.reads).toEqual([]);
    }
  });

test("calls side by side fail once each, and recover together", async () => {
  const { pipe, opened } = await own();
  using _ = pipe;
  const { network } = pipe;
  const right = await pipe.generate(run);
  const calls = [1, 2, 3].map(() => pipe.generate({ ...run, steps: 200 }));
  await sleep(30);
  lose(pipe);
  for (const outcome of await Promise.allSettled(calls)) expect(outcome).toMatchObject({ reason: lost });
  const before = pipe.device;
  await Promise.all([pipe.recover(), pipe.recover({}), pipe.recover()]);
  expect(opened).toEqual([before, pipe.device]);
  expect(before.counters).toMatchObject({ liveBytes: 0, liveObjects: 0 });
  // It works, so there is nothing to do.
  await pipe.recover();
  expect(opened.length).toBe(2);
  expect((await pipe.generate(run)).samples.data).toEqual(right.samples.data);
  expect(pipe.network).toBe(network);
  expect(network.memory().weights).toBeGreaterThan(0);
});

test("between two steps: save, preview and the next step fail, and recovering does not wait for the run", async () => {
  const { pipe } = await own();
  using _ = pipe;
  const right = await pipe.generate(run);
  const steps = pipe.steps(run);
  const { value: step } = await steps.next();
  if (!step || !("save" in step)) throw new Error("a step");
  const saved = await step.save();
  lose(pipe);
  await expect(step.save()).rejects.toMatchObject(lost);
  await expect(step.preview()).rejects.toMatchObject(lost);
  await pipe.recover();
  await expect(steps.next()).rejects.toMatchObject(lost);
  expect((await pipe.generate({ ...run, resume: saved })).samples.data).toEqual(right.samples.data);
});

const picture: Tensor = { shape: [1, 3, 32, 32], data: Float32Array.from({ length: 3072 }, (_, i) => Math.sin(i)) };
const latents: Tensor = { shape: [1, 3, 8, 8], data: picture.data.slice(0, 192) };
const small = { steps: 3, seed: 1 } as const;
const calls: Record<string, (pipe: DiffusionPipeline) => Promise<Tensor>> = {
  generate: async (pipe) => (await pipe.generate({ ...small, count: 2, size: { height: 32, width: 32 } })).samples,
  edit: async (pipe) => (await pipe.edit(picture, { ...small, strength: 0.7 })).samples,
  invert: async (pipe) => (await pipe.invert(picture, { steps: 2 })).latents,
  encode: (pipe) => pipe.encode(picture),
  decode: (pipe) => pipe.decode(latents),
  forward: (pipe) => pipe.network.forward({ sample: latents, timestep: [10] }),
};

test("every call of a latent model, at any time", { timeout: 60_000 }, async () => {
  const { pipe } = await own({}, latentModel("ddpm", "vq"), {});
  using _ = pipe;
  for (const [name, call] of Object.entries(calls)) {
    const { data } = await call(pipe);
    const start = performance.now();
    await call(pipe);
    const whole = performance.now() - start;
    const under = call(pipe);
    under.catch(() => {});
    await sleep(0.3 * whole);
    lose(pipe);
    await expect(under, name).rejects.toMatchObject(lost);
    await pipe.recover();
    expect((await call(pipe)).data, name).toEqual(data);
  }
});

test("while a model is loaded, or loaded again: an error, nothing left, and another try", async () => {
  const losing = (type: string, opened: Device[]) => (event: { type: string }) => {
    if (event.type === type) opened.at(-1)?.gpu.destroy();
  };
  const opened: Device[] = [];
  const open = async () => {
    opened.push(await openNodeDevice({ fast: false }));
    return opened.at(-1)!;
  };
  const model = await openModel(source, made);
  for (const type of ["download", "compile"]) {
    const loading = createPipeline(model, { onProgress: losing(type, opened) }, open);
    await expect(loading, type).rejects.toMatchObject(lost);
    expect(opened.at(-1)?.counters).toMatchObject({ liveBytes: 0, liveObjects: 0 });
  }
  let bad = "";
  using pipe = await createPipeline(model, { onProgress: (event) => losing(bad, opened)(event) }, open);
  const right = await pipe.generate(run);
  lose(pipe);
  for (bad of ["download", "compile"]) {
    await expect(pipe.recover(), bad).rejects.toMatchObject(lost);
    expect(opened.at(-1)?.counters).toMatchObject({ liveBytes: 0, liveObjects: 0 });
    await expect(pipe.generate(run)).rejects.toMatchObject(lost);
  }
  bad = "";
  await pipe.recover();
  expect((await pipe.generate(run)).samples.data).toEqual(right.samples.data);
});

test("where there is no adapter any more, the next try counts", async () => {
  let none = false;
  const open = async () => {
    if (none) throw new DeviceError("unsupported", "no WebGPU adapter was found");
    return openNodeDevice({ fast: false });
  };
  using pipe = await createPipeline(await openModel(source, made), {}, open);
  const right = await pipe.generate(run);
  lose(pipe);
  none = true;
  for (let i = 0; i < 2; i++) await expect(pipe.recover()).rejects.toMatchObject({ reason: "unsupported" });
  await expect(pipe.generate(run)).rejects.toMatchObject(lost);
  none = false;
  await pipe.recover();
  expect((await pipe.generate(run)).samples.data).toEqual(right.samples.data);
});

test("a caller's device is replaced by another of the caller's", async () => {
  const devices = await Promise.all([1, 2, 3].map(() => openNodeDevice({ fast: false })));
  const [first, second, third] = devices as [Device, Device, Device];
  using pipe = await createPipeline(await openModel(source, made), { device: first });
  const right = await pipe.generate(run);
  // Nothing has happened yet.
  await pipe.recover({ device: second });
  expect(pipe.device).toBe(first);
  lose(pipe);
  await expect(pipe.recover()).rejects.toThrow(UsageError);
  await expect(pipe.recover()).rejects.toThrow("recover({ device })");
  await expect(pipe.recover({ device: first })).rejects.toMatchObject(lost);
  await expect(pipe.recover({ device: {} as Device })).rejects.toThrow(UsageError);
  expect(first.counters.liveBytes).toBe(0);
  await pipe.recover({ device: second });
  expect(pipe.device).toBe(second);
  expect((await pipe.generate(run)).samples.data).toEqual(right.samples.data);
  lose(pipe);
  await pipe.recover({ device: third.gpu });
  expect((await pipe.generate(run)).samples.data).toEqual(right.samples.data);
  pipe.dispose();
  expect(second.counters.liveBytes).toBe(0);
  // Never destroyed.
  expect(await Promise.race([third.gpu.lost, sleep(50, "alive")])).toBe("alive");
  for (const device of devices) device.dispose();
});

test("a pipeline that is disposed of while it recovers, or was before", async () => {
  const { pipe, opened } = await own();
  lose(pipe);
  const recovering = pipe.recover();
  recovering.catch(() => {});
  await expect.poll(() => opened.length).toBe(2);
  pipe.dispose();
  await expect(recovering).rejects.toThrow(UseAfterDisposeError);
  expect(opened.map(({ counters }) => counters.liveBytes)).toEqual([0, 0]);
  await expect(pipe.recover()).rejects.toThrow(UseAfterDisposeError);
});

test("options that recover does not know are refused", async () => {
  const { pipe } = await own();
  using _ = pipe;
  await expect(pipe.recover({ divice: 1 } as object)).rejects.toThrow("divice");
});
