/** `sample({ denoise })` itself: what it asks the network, what it refuses, its own noise, its overrides. */
import { describe, expect, it } from "vitest";
import { NonFiniteError, ShapeError, UsageError } from "../../src/runtime/errors.ts";
import { addNoise } from "../../src/sampler/forward.ts";
import { stepNoise } from "../../src/sampler/philox.ts";
import { referenceStep } from "../../src/sampler/referenceStep.ts";
import { type SampleOptions, sample } from "../../src/sampler/sample.ts";
import { makeSchedule, type ScheduleOptions } from "../../src/sampler/schedule.ts";
import { testDevice } from "../support/gpu.ts";
import { deviation, networks } from "./traces.ts";

const shape = [2, 3, 5, 4] as const;
const size = 120;
const xT = Float32Array.from({ length: size }, (_, i) => Math.sin(i * 12.9898) * 1.7);
const denoise = (x: Float32Array, [t]: number[]) => x.map((v) => networks.b!(v, t!));

async function run(options: ScheduleOptions, more: Partial<SampleOptions> = {}) {
  return sample({ denoise, schedule: makeSchedule(options), xT, shape, device: await testDevice(), ...more });
}

describe("sample", () => {
  it("gives the network N timesteps and its place in the run, and reports every step", async () => {
    const asked: unknown[] = [];
    const seen: number[] = [];
    const { x, x0 } = await run(
      { timesteps: [900, 500, 3] },
      {
        denoise: (state, t, info) => {
          asked.push([t, info]);
          return denoise(state, t);
        },
        onStep: (step) => {
          seen.push(step.t);
          expect(step.x).toHaveLength(size);
        },
      },
    );
    expect(asked).toEqual([900, 500, 3].map((t, i) => [[t, t], { i, of: 3 }]));
    expect(seen).toEqual([900, 500, 3]);
    // The last step ends at ᾱ = 1, where x is x0.
    expect(deviation(x, x0)).toBeLessThan(1e-6);
  });

  it("draws Philox noise by seed, image and step", async () => {
    const schedule = makeSchedule({ steps: 4, eta: 1, clip: false });
    const { x } = await run({ steps: 4, eta: 1, clip: false }, { seed: 99n });
    let expected: Float64Array = Float64Array.from(xT);
    schedule.steps.forEach((step, i) => {
      const m = expected.map((v) => networks.b!(v, step.t));
      const z = [0, 1].flatMap((image) => [...stepNoise(99n, image, i, [3, 5, 4])]);
      expected = referenceStep(step, expected, m, z).x;
    });
    expect(deviation(x, expected)).toBeLessThan(1e-5);
    const other = await run({ steps: 4, eta: 1, clip: false }, { seed: 98 });
    expect(deviation(other.x, expected)).toBeGreaterThan(0.1);
  });

  it("leaves a caller's device open and frees what it made", async () => {
    const device = await testDevice();
    const before = device.counters.liveBytes;
    await run({ steps: 2 });
    await expect(run({ steps: 2 }, { denoise: () => [1] })).rejects.toThrow(ShapeError);
    expect(device.counters.liveBytes).toBe(before);
  });

  it("overrides prediction, clip and variance as the schedule would have had them", async () => {
    const base: ScheduleOptions = { steps: 5, eta: 1 };
    const pairs: [Partial<SampleOptions>, ScheduleOptions][] = [
      [{ prediction: "v_prediction" }, { prediction: "v_prediction" }],
      [{ clip: false }, { clip: false }],
      [{ clip: 2 }, { clip_sample_range: 2 }],
      [{ variance: "hat" }, { sigma: "hat" }],
    ];
    const plain = await run(base);
    for (const [override, own] of pairs) {
      const [a, b] = [await run(base, override), await run({ ...base, ...own })];
      expect([...a.x]).toEqual([...b.x]);
      expect(deviation(a.x, plain.x)).toBeGreaterThan(1e-3);
    }
  });

  it("keeps the known half and drops the variance channels that it does not need", async () => {
    const known = xT.map((v) => v / 2);
    const mask = Float32Array.from({ length: 20 }, (_, p) => (p < 10 ? 1 : 0));
    const schedule = makeSchedule({ steps: 3 });
    const z = xT.map((v) => -v);
    const fed: Float32Array[] = [];
    await run(
      { steps: 3 },
      {
        known,
        mask,
        noise: () => z,
        denoise: (x) => {
          fed.push(x);
          return new Float32Array(2 * size);
        },
      },
    );
    schedule.steps.forEach(({ t }, i) => {
      const noised = addNoise(known, z, t, schedule);
      for (const j of [0, 9, 25, 60, 109]) expect(fed[i]![j]).toBeCloseTo(noised[j]!, 5);
      expect(fed[i]![10]).not.toBeCloseTo(noised[10]!, 3);
    });
  });

  it("names the step where x0 stops being finite", async () => {
    const failing = run({ steps: 4 }, { denoise: (x, _t, { i }) => (i === 2 ? x.fill(Number.NaN) : x) });
    await expect(failing).rejects.toThrow(NonFiniteError);
    await expect(failing).rejects.toThrow(/image 0 is not finite at step 2 \(t = 250\)/);
  });

  it.each<[Partial<SampleOptions>, RegExp]>([
    [{ shape: [2, 3, 5, 0] }, /shape must be four sizes/],
    [{ xT: [1, 2] }, /xT has shape \[2\], expected \[2, 3, 5, 4\]/],
    [{ known: xT }, /mask and known come together/],
    [{ known: xT, mask: [1] }, /mask has shape \[1\]/],
    [{ denoise: () => [] }, /denoise's result has shape \[0\]/],
    [{ clip: -1 }, /clip must be above 0/],
    [{ prediction: "noise" as never }, /prediction must be one of/],
    [{ variance: "fixed" as never }, /variance must be one of/],
    [{ variance: "learned_range" }, /denoise's result has shape \[120\], expected \[2, 6, 5, 4\]/],
    [{ noise: () => [0] }, /noise has shape \[1\]/],
  ])("%o is refused", async (options, message) => {
    const failing = run({ steps: 2, eta: 1 }, options);
    await expect(failing).rejects.toThrow(message);
    await expect(failing).rejects.toSatisfy((e) => e instanceof UsageError || e instanceof ShapeError);
  });
});
