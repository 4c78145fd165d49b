/** Runs that end early, and calls on one pipeline that wait for each other. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { DiffusionPipeline } from "../../src/pipeline/pipeline.ts";
import type { Step } from "../../src/pipeline/types.ts";
import type { Device } from "../../src/runtime/device.ts";
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

describe("aborts", () => {
  const reason = new Error("enough");

  test("before anything begins", async () => {
    const { created, submits } = device.counters;
    const options = { signal: AbortSignal.abort(reason) };
    await expect(pipe.generate(options)).rejects.toBe(reason);
    await expect(pipe.steps(options).next()).rejects.toBe(reason);
    expect(device.counters).toMatchObject({ created, submits });
  });

  test("within one step", async () => {
    const abort = new AbortController();
    const seen: number[] = [];
    const run = pipe.generate({
      steps: 50,
      seed: 1,
      signal: abort.signal,
      onStep({ index }) {
        seen.push(index);
        if (index === 2) abort.abort(reason);
      },
    });
    await expect(run).rejects.toBe(reason);
    expect(seen).toEqual([0, 1, 2]);
    expectIdle();
  });

  test("from outside, while a run is at work", async () => {
    const abort = new AbortController();
    let last = 0;
    const run = pipe.generate({ steps: 1000, count: 8, signal: abort.signal, onStep: ({ index }) => (last = index) });
    setTimeout(() => abort.abort(reason), 100);
    await expect(run).rejects.toBe(reason);
    expect(last).toBeLessThan(900);
    expectIdle();
  });

  test("break ends a run and frees what it held", async () => {
    let held = 0;
    for await (const { index } of pipe.steps({ steps: 10, count: 3, batch: 2, seed: 1 })) {
      held = device.counters.liveBytes;
      if (index === 1) break;
    }
    expect(held).toBeGreaterThan(idle.liveBytes);
    expectIdle();
  });

  test("an exception in onStep ends the run, and the next one begins", async () => {
    const onStep = () => {
      throw reason;
    };
    await expect(pipe.generate({ steps: 5, onStep })).rejects.toBe(reason);
    expectIdle();
    expect((await pipe.generate({ steps: 1 })).images).toHaveLength(1);
  });

  test("a pipeline makes the same images after an abort as before", async () => {
    const options = { steps: 3, seed: 9, eta: 0.5 };
    const before = await pipe.generate(options);
    for await (const _ of pipe.steps({ steps: 20, count: 2 })) break;
    expect((await pipe.generate(options)).samples).toEqual(before.samples);
  });
});

describe("calls on one pipeline", () => {
  test("wait for each other", async () => {
    const order: string[] = [];
    const options = (name: string, count: number) => ({
      steps: 3,
      count,
      seed: count,
      onStep: ({ index }: Step) => order.push(`${name}${index}`),
    });
    const alone = [
      await pipe.generate({ steps: 3, count: 2, seed: 2 }),
      await pipe.generate({ steps: 3, count: 1, seed: 1 }),
    ];
    const both = await Promise.all([pipe.generate(options("a", 2)), pipe.generate(options("b", 1))]);
    expect(order).toEqual(["a0", "a1", "a2", "b0", "b1", "b2"]);
    expect(both.map(({ images }) => images)).toEqual(alone.map(({ images }) => images));
    expectIdle();
  });

  test("a failure or an abort of one does not stop the next", async () => {
    const runs = await Promise.allSettled([
      pipe.generate({
        steps: 2,
        onStep: () => {
          throw new Error("first");
        },
      }),
      pipe.generate({ steps: 2, classes: [77] }),
      pipe.generate({ steps: 2 }),
      pipe.network.forward({
        sample: { shape: [1, 3, 16, 16], data: new Float32Array(768) },
        timestep: [1],
        classLabels: [0],
      }),
    ]);
    expect(runs.map(({ status }) => status)).toEqual(["rejected", "rejected", "fulfilled", "fulfilled"]);
  });

  test("one that waits is aborted at once", async () => {
    const abort = new AbortController();
    const order: string[] = [];
    const first = pipe.generate({ steps: 30, count: 4 }).then(() => order.push("first"));
    const second = pipe.generate({ signal: abort.signal }).catch((error) => order.push(error.message));
    const third = pipe.generate({ steps: 1, onStep: () => order.push("third") });
    setTimeout(() => abort.abort(new Error("second aborted")), 20);
    await Promise.all([first, second, third]);
    expect(order).toEqual(["second aborted", "first", "third"]);
  });
});
