/** Who owns what, and for how long: dispose at any time, callers' devices, repeated loading. */
import { setTimeout as sleep } from "node:timers/promises";
import v8 from "node:v8";
import vm from "node:vm";
import { describe, expect, test, vi } from "vitest";
import { openNodeDevice } from "../../src/node/device.ts";
import { loadPipeline } from "../../src/node/index.ts";
import type { DiffusionPipeline } from "../../src/pipeline/pipeline.ts";
import type { LoadEvent } from "../../src/pipeline/types.ts";
import { DeviceError, UseAfterDisposeError } from "../../src/runtime/errors.ts";
import { testDevice } from "../support/gpu.ts";
import { goldenPath, load, shippedPath, sourceOf } from "../support/models.ts";

const AVATARS = shippedPath("pixel-avatars-16");
const own = (options = {}) => loadPipeline(AVATARS, { fast: false, ...options });

const sample = { shape: [1, 3, 16, 16], data: new Float32Array(768) };
const inputs = { sample, timestep: [1], classLabels: [0] };

const uses: Record<string, (pipe: DiffusionPipeline) => unknown> = {
  generate: (pipe) => pipe.generate(),
  steps: (pipe) => pipe.steps().next(),
  forward: (pipe) => pipe.network.forward(inputs),
  benchmark: (pipe) => pipe.network.benchmark(inputs, 0.01),
  memory: (pipe) => pipe.network.memory(),
  plan: (pipe) => pipe.network.plan(1),
};

describe("dispose", () => {
  test("leaves nothing, and a second time does nothing", async () => {
    const pipe = await own();
    await pipe.generate({ steps: 1 });
    const { counters } = pipe.device;
    expect(counters.liveBytes).toBeGreaterThan(0);
    pipe.dispose();
    expect(counters).toMatchObject({ liveBytes: 0, liveObjects: 0 });
    pipe.dispose();
    expect(counters).toMatchObject({ liveBytes: 0, liveObjects: 0 });
    expect((await pipe.device.gpu.lost).reason).toBe("destroyed");
  });

  test("`using` disposes", async () => {
    let seen: DiffusionPipeline;
    {
      using pipe = await own();
      seen = pipe;
      expect(pipe.network.memory().weights).toBeGreaterThan(0);
    }
    expect(seen.device.counters.liveBytes).toBe(0);
    expect(() => seen.network.memory()).toThrow(UseAfterDisposeError);
  });

  test("every use afterwards is refused by name", async () => {
    const pipe = await load(AVATARS);
    pipe.dispose();
    const { created } = pipe.device.counters;
    for (const [name, use] of Object.entries(uses)) {
      const error = await (async () => use(pipe))().catch((e: unknown) => e);
      expect(error, name).toBeInstanceOf(UseAfterDisposeError);
      expect((error as Error).message).toBe("the pipeline of pixel-avatars-16 was used after it was disposed");
    }
    expect(pipe.device.counters.created).toBe(created);
  });

  for (const [whose, open] of [
    ["a device of its own", () => own()],
    ["a shared device", () => load(AVATARS)],
  ] as const)
    test(`during work on ${whose}`, async () => {
      const pipe = await open();
      const { counters } = pipe.device;
      const idle = counters.liveBytes - pipe.network.memory().weights;
      const atWork = pipe.generate({ steps: 200, count: 8 });
      const waiting = pipe.generate({ steps: 2 });
      const single = pipe.network.forward(inputs);
      await sleep(60);
      pipe.dispose();
      for (const call of [atWork, waiting, single]) await expect(call).rejects.toThrow(UseAfterDisposeError);
      expect(counters.liveBytes).toBe(idle);
    });

  test("between two steps", async () => {
    const pipe = await load(AVATARS);
    const idle = pipe.device.counters.liveBytes - pipe.network.memory().weights;
    const steps = pipe.steps({ steps: 5 });
    await steps.next();
    pipe.dispose();
    await expect(steps.next()).rejects.toThrow(UseAfterDisposeError);
    expect(pipe.device.counters.liveBytes).toBe(idle);
    // The shared device is none the worse for it.
    using other = await load(AVATARS);
    expect((await other.generate({ steps: 1 })).images).toHaveLength(1);
  });
});

describe("a caller's device", () => {
  test("as GPUDevice: survives, whichever pipeline goes first", async () => {
    using opened = await openNodeDevice({ fast: false });
    const { gpu } = opened;
    const forgotten = vi.spyOn(gpu, "removeEventListener");
    const first = await loadPipeline(AVATARS, { device: gpu });
    const second = await loadPipeline(AVATARS, { device: gpu });
    const images = await Promise.all([first, second].map((pipe) => pipe.generate({ steps: 2, seed: 1 })));
    expect(images[0]!.images).toEqual(images[1]!.images);
    first.dispose();
    expect((await second.generate({ steps: 2, seed: 1 })).images).toEqual(images[0]!.images);
    second.dispose();
    expect([first, second].map((pipe) => pipe.device.counters.liveBytes)).toEqual([0, 0]);
    expect(forgotten).toHaveBeenCalledTimes(2);
    const lost = await Promise.race([gpu.lost, sleep(50, "alive")]);
    expect(lost).toBe("alive");
    gpu.createBuffer({ size: 16, usage: GPUBufferUsage.COPY_DST }).destroy();
  });

  test("as Device: two models share it and its kernels", async () => {
    const device = await testDevice();
    const before = device.counters.liveBytes;
    const first = await load(AVATARS);
    const compiled = device.pipelines.size;
    const second = await load(AVATARS);
    expect(device.pipelines.size).toBe(compiled);
    expect(second.network.memory().weights).toBe(first.network.memory().weights);
    const options = { steps: 4, count: 3, seed: 2, eta: 0.5 };
    const together = await Promise.all([first, second].map((pipe) => pipe.generate(options)));
    expect(together[1]!.images).toEqual(together[0]!.images);
    expect((await first.generate(options)).images).toEqual(together[0]!.images);
    first.dispose();
    second.dispose();
    expect(device.counters.liveBytes).toBe(before);
  });
});

test("a device that is lost during work is an error of its own kind", async () => {
  using opened = await openNodeDevice({ fast: false });
  using pipe = await loadPipeline(AVATARS, { device: opened.gpu });
  const atWork = pipe.generate({ steps: 500, count: 4 });
  await sleep(60);
  opened.gpu.destroy();
  const error = await atWork.catch((e: unknown) => e);
  expect(error).toBeInstanceOf(DeviceError);
  expect(error).toMatchObject({ reason: "lost" });
  await expect(pipe.generate({ steps: 1 })).rejects.toThrow(DeviceError);
});

describe("memory", () => {
  test("is planned before it is allocated", async () => {
    using pipe = await load(AVATARS);
    const { device } = pipe;
    const idle = device.counters.liveBytes;
    const [one, eight] = [pipe.network.plan(1), pipe.network.plan(8)];
    expect(device.counters.liveBytes).toBe(idle);
    expect(one.lowerBound).toBeLessThanOrEqual(one.bytes);
    expect(eight.bytes).toBeGreaterThan(one.bytes);
    let held = 0;
    for await (const _ of pipe.steps({ steps: 2, count: 8, batch: 8 })) held = device.counters.liveBytes - idle;
    // What the plan leaves out: tables of the schedule, time embeddings, x0 and pixels of the loop.
    expect(held).toBeGreaterThanOrEqual(eight.bytes);
    expect(held - eight.bytes).toBeLessThan(2 ** 19);
    expect(pipe.network.memory()).toMatchObject({ peak: device.counters.peakBytes });
  });

  test("weights take about what their numbers need", async () => {
    using f32 = await load(AVATARS);
    const f32Bytes = f32.network.memory().weights;
    using f16 = await load(AVATARS, { dtype: "f16" });
    // The file holds float16; small layers are padded to whole rows of a texture.
    const needed = f32.model.checkpoint.totalBytes * 2;
    expect(f32Bytes / needed).toBeGreaterThanOrEqual(1);
    expect(f32Bytes / needed).toBeLessThan(1.5);
    expect(f16.network.memory().weights / f32Bytes).toBeLessThan(0.6);
  });
});

describe("loading", () => {
  test("reports totals that are known from the first event on", async () => {
    const events: LoadEvent[] = [];
    const device = await openNodeDevice({ fast: false });
    using pipe = await load(goldenPath("models/ddpm_sharded"), { device, onProgress: (event) => events.push(event) });
    const downloads = events.filter((event) => event.type === "download");
    const { totalBytes } = pipe.model.checkpoint;
    expect(new Set(downloads.map((event) => event.total))).toEqual(new Set([totalBytes]));
    expect(new Set(downloads.map((event) => event.file)).size).toBe(3);
    expect(downloads.map((event) => event.loaded)).toEqual(downloads.map((e) => e.loaded).sort((a, b) => a - b));
    expect(downloads.at(-1)?.loaded).toBe(totalBytes);
    const compiles = events.filter((event) => event.type === "compile");
    expect(compiles.map((event) => event.done)).toEqual(compiles.map((_, i) => i + 1));
    expect(new Set(compiles.map((event) => event.of))).toEqual(new Set([compiles.length]));
    expect(compiles.length).toBeGreaterThan(5);
    expect(events.at(-1)).toMatchObject({ type: "ready" });
    device.dispose();
  });

  test("compiles all that sampling needs, but for the sampler's own four kernels", async () => {
    using pipe = await own();
    const compiled = pipe.device.pipelines.size;
    await pipe.generate({ steps: 1 });
    expect(pipe.device.pipelines.size - compiled).toBeLessThanOrEqual(4);
  });

  test("that is aborted leaves nothing", async () => {
    const device = await testDevice();
    const { liveBytes } = device.counters;
    const reason = new Error("enough");
    await expect(load(AVATARS, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const abort = new AbortController();
    const onProgress = (event: LoadEvent) => event.type === "download" && abort.abort(reason);
    await expect(load(AVATARS, { signal: abort.signal, onProgress })).rejects.toBe(reason);
    expect(device.counters.liveBytes).toBe(liveBytes);
  });

  test("that fails half-way leaves nothing", async () => {
    const device = await testDevice();
    const { liveBytes } = device.counters;
    const source = sourceOf(goldenPath("models/ddpm_sharded"));
    const failing: typeof source = {
      ...source,
      read(path, range, signal) {
        if (path.includes("00003-of") && range && range.end - range.start > 100_000) throw new Error("gone");
        return source.read(path, range, signal);
      },
    };
    await expect(load(failing)).rejects.toThrow("gone");
    expect(device.counters.liveBytes).toBe(liveBytes);
  });
});

test("20 rounds of load, generate, dispose leave no GPU memory and no JavaScript objects", async () => {
  v8.setFlagsFromString("--expose-gc");
  const collect: () => void = vm.runInNewContext("gc");
  const pipelines: WeakRef<DiffusionPipeline>[] = [];
  const heap: number[] = [];
  for (let round = 0; round < 20; round++) {
    const pipe = await own();
    await pipe.generate({ steps: 1, seed: 1 });
    pipe.dispose();
    expect(pipe.device.counters).toMatchObject({ liveBytes: 0, liveObjects: 0 });
    pipelines.push(new WeakRef(pipe));
    // Dawn tells of a destroyed device in a later turn of the event loop.
    await sleep(5);
    collect();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    heap.push(heapUsed + arrayBuffers);
  }
  await sleep(20);
  collect();
  expect(pipelines.filter((pipe) => pipe.deref()).length).toBeLessThanOrEqual(1);
  expect((heap.at(-1)! - heap[4]!) / 2 ** 20).toBeLessThan(2);
});
