/** What happens while images are sampled: submissions, read-backs, allocations, previews, profiles. */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { DiffusionPipeline } from "../../src/pipeline/pipeline.ts";
import type { Step } from "../../src/pipeline/types.ts";
import type { Device } from "../../src/runtime/device.ts";
import { UseAfterDisposeError } from "../../src/runtime/errors.ts";
import { testDevice } from "../support/gpu.ts";
import { load, shippedPath } from "../support/models.ts";

let device: Device;
let pipe: DiffusionPipeline;
let idle: { liveBytes: number; liveObjects: number };
beforeAll(async () => {
  device = await testDevice();
  pipe = await load(shippedPath("pixel-avatars-16"));
  const { liveBytes, liveObjects } = device.counters;
  idle = { liveBytes, liveObjects };
});
afterAll(() => pipe.dispose());

const expectIdle = () => expect(device.counters).toMatchObject(idle);

/** Counts calls of a GPU object's methods, those included that go around our own accounts. */
function countCalls<T extends object>(object: T, ...methods: (keyof T & string)[]): () => number {
  const spies = methods.map((method) => vi.spyOn(object, method as never));
  return () => spies.reduce((sum, spy) => sum + (spy as { mock: { calls: unknown[] } }).mock.calls.length, 0);
}

describe("between the first and the last step", () => {
  test("nothing is read back and nothing is allocated", async () => {
    const allocations = countCalls(
      device.gpu,
      "createBuffer",
      "createTexture",
      "createBindGroup",
      "createBindGroupLayout",
      "createShaderModule",
      "createComputePipelineAsync",
      "createQuerySet",
    );
    const seen: { allocations: number; created: number; mapAsync: number; submits: number }[] = [];
    const { counters } = device;
    for await (const _ of pipe.steps({ steps: 12, count: 4, guidance: 2, eta: 0.5, seed: 1 })) {
      const { created, mapAsync, submits } = counters;
      seen.push({ allocations: allocations(), created, mapAsync, submits });
    }
    vi.restoreAllMocks();
    expect(seen).toHaveLength(12);
    const { submits: before, ...first } = seen[0]!;
    const { submits: after, ...last } = seen[11]!;
    expect(first.allocations).toBeGreaterThan(0);
    expect(last).toEqual(first);
    expect(after - before).toBeGreaterThanOrEqual(11);
  });

  test("at most two submissions are in flight, and steps are yielded without waiting for them", async () => {
    let inFlight = 0;
    const most: number[] = [];
    const submit = device.submit.bind(device);
    vi.spyOn(device, "submit").mockImplementation((commands) => {
      submit(commands);
      most.push(++inFlight);
      device.gpu.queue.onSubmittedWorkDone().then(() => inFlight--);
    });
    const atYield: number[] = [];
    for await (const _ of pipe.steps({ steps: 10, count: 8, seed: 1 })) atYield.push(inFlight);
    vi.restoreAllMocks();
    expect(Math.max(...most)).toBe(2);
    expect(Math.max(...atYield)).toBeGreaterThan(0);
  });

  test("a step too long for one submission is cut", async () => {
    using heavy = await load(shippedPath("crawl-tiles-32"));
    const sizes: number[] = [];
    let last = 0;
    for await (const _ of heavy.steps({ steps: 3, count: 16, batch: 16, seed: 1 })) {
      sizes.push(device.counters.submits - last);
      last = device.counters.submits;
    }
    const [, second, third] = sizes as [number, number, number];
    expect(Math.min(second, third)).toBeGreaterThan(1);
  });
});

test("steps say where they are", async () => {
  const seen: Step[] = [];
  const { classes, steps, samples } = await pipe.generate({
    steps: 3,
    count: 5,
    batch: 2,
    seed: 1,
    onStep: (step) => seen.push(step),
  });
  const place = ({ index, of, t, image, images }: Step) => [index, of, t, image, images];
  const batch = (image: number, images: number) => [666, 333, 0].map((t, index) => [index, 3, t, image, images]);
  expect(seen.map(place)).toEqual([...batch(0, 2), ...batch(2, 2), ...batch(4, 1)]);
  const times = seen.map((step) => step.ms);
  expect(times).toEqual([...times].sort((a, b) => a - b));
  expect({ classes, steps, shape: samples.shape }).toEqual({
    classes: [0, 1, 2, 3, 0],
    steps: 3,
    shape: [5, 3, 16, 16],
  });
});

test("steps say how long the rest will take: as long for each as those before, nothing after the last", async () => {
  const left: number[] = [];
  for await (const { ms, msLeft } of pipe.steps({ steps: 5, count: 3, batch: 2, seed: 1 })) {
    left.push(msLeft);
    const ahead = 10 - left.length;
    // The caller takes 20 ms of every step; two steps of those yielded are still under way.
    if (left.length > 2) expect(msLeft).toBeGreaterThanOrEqual(19 * ahead);
    expect(msLeft).toBeLessThanOrEqual((ms / Math.max(1, left.length - 2)) * ahead);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  expect(left).toHaveLength(10);
  expect(left[8]).toBeGreaterThan(0);
  expect(left[9]).toBe(0);
});

describe("previews", () => {
  test("read back when asked, and the last one is the image", async () => {
    const { counters } = device;
    const steps = pipe.steps({ steps: 4, count: 2, seed: 3 });
    let previews: Awaited<ReturnType<Step["preview"]>> = [];
    let result = await steps.next();
    while (!result.done) {
      const before = counters.mapAsync;
      if (result.value.index % 3 === 0) {
        previews = await result.value.preview();
        expect(counters.mapAsync).toBe(before + 1);
      }
      result = await steps.next();
    }
    const { images } = result.value;
    expect(previews.map(({ width, height, data }) => [width, height, data.length])).toEqual([
      [16, 16, 1024],
      [16, 16, 1024],
    ]);
    // The last step goes to alphas_cumprod = 1: x is x0.
    expect(previews).toEqual(images);
  });

  test("do not change the images", async () => {
    const options = { steps: 4, count: 2, seed: 3, eta: 0.5 };
    const plain = await pipe.generate(options);
    const steps = pipe.steps(options);
    let result = await steps.next();
    while (!result.done) {
      await result.value.preview();
      result = await steps.next();
    }
    expect(result.value.images).toEqual(plain.images);
  });

  test("are refused when the run has ended", async () => {
    const kept: Step[] = [];
    await pipe.generate({ steps: 2, onStep: (step) => kept.push(step) });
    for (const step of kept) await expect(step.preview()).rejects.toThrow(UseAfterDisposeError);
    for await (const step of pipe.steps({ steps: 2 })) {
      kept.push(step);
      break;
    }
    await expect(kept.at(-1)!.preview()).rejects.toThrow(UseAfterDisposeError);
    // The device is none the worse for it.
    expect((await pipe.generate({ steps: 1 })).images).toHaveLength(1);
  });
});

test("a profile times every kernel of one step and changes no image", async () => {
  const options = { steps: 3, seed: 8, count: 2, eta: 1 };
  const plain = await pipe.generate(options);
  const { images, timings } = await pipe.generate({ ...options, profile: true });
  expect(plain.timings).toBeUndefined();
  expect(images).toEqual(plain.images);
  const labels = timings!.map(({ label }) => label);
  expect(labels).toEqual(expect.arrayContaining(["conv_in", "conv_out", "mid_block.attentions.0", "step"]));
  expect(timings!.every(({ ms }) => ms >= 0)).toBe(true);
  expect(timings!.reduce((sum, { ms }) => sum + ms, 0)).toBeGreaterThan(0);
  expectIdle();
});
