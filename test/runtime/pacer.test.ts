/** Pacing: never more than two submissions in flight, segments of about 100 ms. Time and the GPU's queue are ours here. */
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Device } from "../../src/runtime/device.ts";
import { DeviceError } from "../../src/runtime/errors.ts";
import { Pacer, TARGET_MS } from "../../src/runtime/pacer.ts";
import type { Program } from "../../src/runtime/program.ts";

/** A device whose submissions end when the test says so. */
class Queue {
  submitted = 0;
  failure: Error | undefined;
  readonly #waiting: (() => void)[] = [];

  device(software: boolean): Device {
    const fake = {
      capabilities: { software, subgroupSize: 0, timestamps: false },
      gpu: { queue: { onSubmittedWorkDone: () => new Promise<void>((resolve) => this.#waiting.push(resolve)) } },
      submit: () => {
        this.submitted++;
      },
      check: () => {
        if (this.failure) throw this.failure;
      },
    };
    return fake as unknown as Device;
  }

  /** Questions after the end of the work that nobody has answered. */
  get asked(): number {
    return this.#waiting.length;
  }

  finish(): void {
    this.#waiting.shift()?.();
  }
}

const program = (flops: readonly number[]) => ({ parts: flops.map((f) => ({ flops: f })) }) as unknown as Program;
const commands = {} as GPUCommandBuffer;

/** Whether a promise has settled by now. */
async function settled(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  promise.then(
    () => {
      done = true;
    },
    () => {
      done = true;
    },
  );
  await vi.advanceTimersByTimeAsync(0);
  return done;
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

describe("in flight", () => {
  it.each([true, false])("a third submission waits for the first (software: %s)", async (software) => {
    const queue = new Queue();
    const pacer = new Pacer(queue.device(software));
    for (let i = 0; i < 2; i++) {
      expect(await settled(pacer.room())).toBe(true);
      pacer.submit(commands, 1e9);
    }
    const room = pacer.room();
    expect(await settled(room)).toBe(false);
    queue.finish();
    await room;
    pacer.submit(commands, 1e9);
    expect(queue.submitted).toBe(3);
    expect(await settled(pacer.room())).toBe(false);
  });

  it("the pace is learned from when submissions are done", async () => {
    const queue = new Queue();
    const pacer = new Pacer(queue.device(false));
    const work = Array.from({ length: 10 }, () => 1e10);
    expect([...pacer.segments(program(work))]).toHaveLength(1);
    pacer.submit(commands, 1e10);
    await vi.advanceTimersByTimeAsync(100);
    queue.finish();
    await pacer.drain();
    expect([...pacer.segments(program(work))]).toHaveLength(10);
  });

  it.each([true, false])("drain waits for everything and reports a failed device (software: %s)", async (software) => {
    const queue = new Queue();
    const pacer = new Pacer(queue.device(software));
    pacer.submit(commands, 1);
    pacer.submit(commands, 1);
    const drained = pacer.drain();
    expect(await settled(drained)).toBe(false);
    queue.failure = new DeviceError("lost", "gone");
    while (queue.asked > 0) queue.finish();
    await expect(drained).rejects.toThrow("gone");
  });

  it("drain of nothing is done at once", async () => {
    expect(await settled(new Pacer(new Queue().device(true)).drain())).toBe(true);
  });
});

describe("a dispatch that lasts too long", () => {
  /** A convolution of 309 GFLOP, as Stable Diffusion's decoder has one at 512², in its parts. */
  const decoder = program(new Array(256).fill(309e9 / 256));

  it("is cut where the measured rate says so, also by the pacer of a later run", async () => {
    const queue = new Queue();
    const device = queue.device(false);
    // A quick GPU does it in one go: 10 TFLOP/s.
    const learn = async (flops: number) => {
      const pacer = new Pacer(device);
      pacer.submit(commands, flops);
      const drained = pacer.drain();
      await vi.advanceTimersByTimeAsync(100);
      queue.finish();
      await drained;
    };
    await learn(1e12);
    expect([...new Pacer(device).segments(decoder)]).toHaveLength(1);
    // 100 GFLOP/s: more than three seconds, when watchdogs bite after two.
    await learn(1e10);
    const segments = [...new Pacer(device).segments(decoder)];
    expect(segments.length).toBeGreaterThan(30);
    for (const { flops } of segments) expect(flops).toBeLessThanOrEqual(1e10);
  });
});

describe("segments", () => {
  const segments = (pacer: Pacer, flops: readonly number[]) => [...pacer.segments(program(flops))];

  it("cover every dispatch once, and exceed the budget only with a single dispatch", () => {
    const pacer = new Pacer(new Queue().device(true));
    const budget = 6e7 * TARGET_MS;
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 9e9 }), { minLength: 1, maxLength: 40 }), (flops) => {
        const cut = segments(pacer, flops);
        expect(cut[0]?.from).toBe(0);
        expect(cut.at(-1)?.to).toBe(flops.length);
        cut.forEach(({ from, to, flops: sum }, i) => {
          if (i > 0) expect(from).toBe(cut[i - 1]?.to);
          expect(sum).toBe(flops.slice(from, to).reduce((a, b) => a + b, 0));
          if (to - from > 1) expect(sum).toBeLessThanOrEqual(budget);
          // As few as possible: the next dispatch would not have fitted.
          if (i > 0) expect((cut[i - 1]?.flops as number) + (flops[from] as number)).toBeGreaterThan(budget);
        });
      }),
    );
  });

  it("are one segment for little work, also for none", () => {
    const pacer = new Pacer(new Queue().device(false));
    expect(segments(pacer, [1, 2, 3])).toEqual([{ from: 0, to: 3, flops: 6 }]);
    expect(segments(pacer, [])).toEqual([{ from: 0, to: 0, flops: 0 }]);
  });

  it("become shorter where the work turns out to last longer", async () => {
    const queue = new Queue();
    const pacer = new Pacer(queue.device(true));
    const work = Array.from({ length: 10 }, () => 1e9);
    expect(segments(pacer, work)).toHaveLength(2);
    pacer.submit(commands, 1e9);
    const drained = pacer.drain();
    await vi.advanceTimersByTimeAsync(100);
    queue.finish();
    await drained;
    // 1e9 operations in 100 ms: a sixth of what was assumed.
    expect(segments(pacer, work)).toHaveLength(10);
  });
});
