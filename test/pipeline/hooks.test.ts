/** What user code does inside a run: update rules of its own, guidance and states changed between steps. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eulerAncestral, heun } from "../../examples/own-sampler/rules.js";
import type { DiffusionPipeline } from "../../src/pipeline/pipeline.ts";
import type { GenerateOptions, SavedRun, Step, Tensor } from "../../src/pipeline/types.ts";
import { NonFiniteError, ShapeError, UsageError } from "../../src/runtime/errors.ts";
import { nmse } from "../reference/tensor.ts";
import { load, shippedPath } from "../support/models.ts";

let pipe: DiffusionPipeline;
beforeAll(async () => {
  pipe = await load(shippedPath("pixel-avatars-16"));
});
afterAll(() => pipe.dispose());

const base: GenerateOptions = { steps: 4, spacing: "trailing", seed: 11, count: 3 };
const samples = async (options: GenerateOptions) => (await pipe.generate({ ...base, ...options })).samples;

describe("a rule of one's own", () => {
  it("makes what the sampler makes that it is equal to", async () => {
    expect(nmse((await samples({ sampler: eulerAncestral({ eta: 0 }) })).data, (await samples({})).data)).toBeLessThan(
      1e-9,
    );
    const ancestral = await samples({ sampler: eulerAncestral() });
    expect(nmse(ancestral.data, (await samples({ eta: 1 })).data)).toBeLessThan(1e-9);
  });

  it.each([
    ["heun", heun],
    ["Euler ancestral, torch's noise", eulerAncestral()],
  ] as const)("%s: the same in any batch, resumed, with guidance in an interval", async (name, sampler) => {
    const rng = name === "heun" ? "philox" : "torch";
    const options = { sampler, rng, guidance: [2, 1], guidanceInterval: [100, 900], classes: [1, 2] } as const;
    const whole = await samples(options);
    expect((await samples({ ...options, batch: 2 })).data).toEqual(whole.data);
    let saved: SavedRun | undefined;
    for await (const step of pipe.steps({ ...base, ...options, batch: 2 })) {
      if (step.image === 0 || step.index < 1) continue;
      saved = await step.save();
      break;
    }
    expect((await samples({ ...options, batch: 2, resume: saved })).data).toEqual(whole.data);
    const other = pipe.generate({ ...base, ...options, sampler: "ddim", resume: saved });
    await expect(other).rejects.toThrow(/another run|other options/);
  });

  it("is asked once, and told of the schedule and the options", async () => {
    const calls: unknown[] = [];
    await samples({
      guidance: 2,
      guidanceInterval: [0, 500],
      sampler: (schedule, options) => {
        calls.push([schedule.steps.length, options.interval]);
        return heun(schedule);
      },
    });
    expect(calls).toEqual([[4, [0, 500]]]);
  });

  it("in-paints with known pixels, and edits", async () => {
    const known = await samples({ count: 1 });
    const mask: Tensor = { shape: [1, 1, 16, 16], data: Float32Array.from({ length: 256 }, (_, i) => i % 2) };
    const { samples: made } = await pipe.edit(known, { mask, steps: 4, seed: 3, sampler: heun });
    for (const i of [1, 3, 255]) expect(made.data[i]).toBe(known.data[i]);
    const repaint = { jump: 1, resamples: 2 };
    await expect(pipe.edit(known, { mask, repaint, steps: 4, sampler: heun })).rejects.toThrow(/repaint is ddim's/);
  });

  it("is refused before anything is allocated", async () => {
    const { created } = pipe.device.counters;
    await expect(samples({ sampler: () => [] })).rejects.toThrow(/must return a list of rows/);
    await expect(samples({ sampler: 3 as never })).rejects.toThrow(/sampler must be a text or a function, got 3/);
    expect(pipe.device.counters.created).toBe(created);
  });
});

describe("steps", () => {
  it("know what they have made when all are taken", async () => {
    const steps = pipe.steps(base);
    const indices: number[] = [];
    for await (const { index } of steps) {
      indices.push(index);
      expect(() => steps.result).toThrow(UsageError);
    }
    expect(indices).toEqual([0, 1, 2, 3]);
    expect(steps.result.samples.data).toEqual((await samples({})).data);
    expect(steps.result).not.toHaveProperty("numbers");
  });

  it("that are over are not changed", async () => {
    const all: Step[] = [];
    await samples({ guidance: 2, onStep: (step) => all.push(step) });
    const state = { shape: [3, 3, 16, 16], data: new Float32Array(2304) };
    for (const change of [{ guidance: 3 }, { state }])
      expect(() => all[1]?.change(change)).toThrow(/state of a run that has ended/);
    await expect(all[1]?.state()).rejects.toThrow(/has ended/);
  });

  it("that are left early free what they hold, and have no result", async () => {
    const before = pipe.device.counters.liveBytes;
    const steps = pipe.steps(base);
    for await (const { index } of steps) if (index === 1) break;
    expect(() => steps.result).toThrow(/when all steps are taken/);
    expect(pipe.device.counters.liveBytes).toBe(before);
  });
});

describe("between steps", () => {
  /** What a hook does after the second step. */
  const second = (work: (step: Step) => unknown) => (step: Step) => (step.index === 1 ? work(step) : undefined);

  it("a hook is waited for", async () => {
    const order: string[] = [];
    await samples({
      onStep: async ({ index }) => {
        order.push(`begin ${index}`);
        await new Promise((resolve) => setTimeout(resolve, 5));
        order.push(`end ${index}`);
      },
    });
    expect(order).toEqual([0, 1, 2, 3].flatMap((i) => [`begin ${i}`, `end ${i}`]));
    await expect(samples({ onStep: () => Promise.reject(new Error("mine")) })).rejects.toThrow("mine");
  });

  it("guidance changes from the next step on, to the bit", async () => {
    const options = { guidance: 3, classes: [1] };
    const { schedule } = await import("../../src/pipeline/run.ts").then(({ resolveRun }) =>
      resolveRun(pipe.model, base),
    );
    const low = schedule.steps[1]!.t;
    const switched = await samples({ ...options, onStep: second((step) => step.change({ guidance: 1 })) });
    expect(switched.data).toEqual((await samples({ ...options, guidanceInterval: [low, 1000] })).data);
    // Down and up again, image by image.
    const back = await samples({
      ...options,
      onStep: (step) => step.change({ guidance: step.index === 1 ? 1 : [3] }),
    });
    const outside = await samples({ ...options, onStep: second((step) => step.change({ guidance: [3, 1, 3] })) });
    const size = back.data.length / 3;
    expect(outside.data.slice(0, size)).toEqual((await samples(options)).data.slice(0, size));
    expect(outside.data.slice(size, 2 * size)).toEqual(switched.data.slice(size, 2 * size));
    expect(back.data).not.toEqual(switched.data);
  });

  it("a run with changed guidance is saved and resumed with it", async () => {
    const options = { guidance: 3, classes: [1] };
    const whole = await samples({ ...options, onStep: second((step) => step.change({ guidance: [1.5, 2] })) });
    let saved: SavedRun | undefined;
    for await (const step of pipe.steps({ ...base, ...options }))
      if (step.index === 1) {
        step.change({ guidance: [1.5, 2] });
        saved = await step.save();
        break;
      }
    expect(saved?.guidance).toEqual([1.5, 2, 1.5]);
    expect((await samples({ ...options, resume: saved })).data).toEqual(whole.data);
    const { guidance: _, ...without } = saved as SavedRun;
    await expect(samples({ ...options, resume: without })).rejects.toThrow(/damaged/);
    const longer = { ...saved, guidance: "3" as never } as SavedRun;
    await expect(samples({ ...options, resume: longer })).rejects.toThrow(/guidance is not what it should be/);
  });

  it("the state can be read and replaced", async () => {
    const plain = await samples({});
    const same = await samples({ onStep: async (step) => step.change({ state: await step.state() }) });
    expect(same.data).toEqual(plain.data);
    const kept: Tensor[] = [];
    await samples({ onStep: async (step) => kept.push(await step.state()) });
    expect(kept.map((state) => state.shape)).toEqual(new Array(4).fill([3, 3, 16, 16]));
    // Image 0's state after two steps goes on in all three places.
    const first = (state: Tensor) => ({ ...state, data: state.data.map((_, i) => state.data[i % 768]!) });
    const cloned = await samples({
      classes: [1],
      onStep: second(async (step) => step.change({ state: first(await step.state()) })),
    });
    const alone = await samples({ classes: [1], count: 1 });
    for (const i of [0, 1, 2]) expect(cloned.data.slice(i * 768, (i + 1) * 768)).toEqual(alone.data);
  });

  it.each<[string, GenerateOptions, object, new (...args: never[]) => Error, RegExp]>([
    ["guidance without any", {}, { guidance: 2 }, UsageError, /began without/],
    ["no number", { guidance: 2 }, { guidance: Number.NaN }, UsageError, /guidance must be a number/],
    ["another name", {}, { scale: 2 }, UsageError, /change: there is no option "scale"/],
    ["another shape", {}, { state: { shape: [1], data: new Float32Array(1) } }, ShapeError, /state/],
    [
      "NaN",
      {},
      { state: { shape: [3, 3, 16, 16], data: new Float32Array(2304).fill(Number.NaN) } },
      NonFiniteError,
      /state/,
    ],
  ])("refuses %s", async (_, options, change, kind, says) => {
    const error = await samples({ ...options, onStep: (step) => step.change(change) }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(kind);
    expect((error as Error).message).toMatch(says);
  });
});
