/** What a step can do besides plain DDIM: eta lists, temperature, thresholding, rescaled timesteps, few steps. */
import { describe, expect, it } from "vitest";
import { ShapeError, UsageError } from "../../src/runtime/errors.ts";
import { addNoise, velocity } from "../../src/sampler/forward.ts";
import { referenceStep } from "../../src/sampler/referenceStep.ts";
import { makeSchedule, type ScheduleOptions } from "../../src/sampler/schedule.ts";
import { deviation, golden } from "./traces.ts";

describe("eta", () => {
  it("may be a list with one value per step", () => {
    const { steps } = makeSchedule({ steps: 3, eta: [0, 0.5, 1] });
    const one = makeSchedule({ steps: 3, eta: 1 }).steps;
    const half = makeSchedule({ steps: 3, eta: 0.5 }).steps;
    expect(steps).toEqual([makeSchedule({ steps: 3 }).steps[0], half[1], one[2]]);
    expect(() => makeSchedule({ steps: 3, eta: [0, 1] })).toThrow(/eta lists 2 values for 3 steps/);
    expect(() => makeSchedule({ steps: 2, eta: [0, -1] })).toThrow(/eta must be a number from 0 to 1, got -1/);
  });

  it("may exceed 1 as far as the variance allows, and says how far", () => {
    const timesteps = [400, 40];
    expect(() => makeSchedule({ timesteps, eta: 1.5 })).toThrow(UsageError);
    const message = (() => {
      try {
        makeSchedule({ timesteps, eta: 1.5 });
      } catch (error) {
        return (error as Error).message;
      }
    })();
    const most = Number(/at most ([\d.]+) at t = 400/.exec(message!)![1]);
    expect(most).toBeGreaterThan(1);
    const [step] = makeSchedule({ timesteps, eta: most }).steps;
    // All of the noise is new: what is left of ε is nothing.
    expect(step!.sigma ** 2).toBeCloseTo(1 - step!.alphaCumprodPrev, 4);
    expect(() => makeSchedule({ timesteps, eta: Number.POSITIVE_INFINITY })).toThrow(UsageError);
  });
});

describe("temperature", () => {
  it("scales the noise and nothing else", () => {
    const [hot, plain] = [0.8, 1].map((temperature) => makeSchedule({ steps: 5, eta: 1, temperature }).steps);
    for (const [i, step] of hot!.entries()) {
      expect(step.sigma).toBeCloseTo(0.8 * plain![i]!.sigma, 15);
      expect(step.coefficients).toEqual(plain![i]!.coefficients);
    }
    const [learned] = [0.8].map((temperature) =>
      makeSchedule({ steps: 5, variance_type: "learned_range", sampler: "ddpm", temperature }),
    );
    expect(Math.exp(learned!.steps[0]!.logVariance!.min / 2)).toBeCloseTo(hot![0]!.sigma, 14);
    expect(() => makeSchedule({ temperature: -1 })).toThrow(/temperature must be/);
  });
});

describe("σ̂", () => {
  it("is eta 1 with more noise, and warns where the image would keep it", () => {
    const [hat, one] = [makeSchedule({ steps: 10, sigma: "hat" }), makeSchedule({ steps: 10, eta: 1 })];
    expect(hat.steps.map((s) => s.coefficients)).toEqual(one.steps.map((s) => s.coefficients));
    expect(hat.steps[3]!.sigma).toBeCloseTo(
      Math.sqrt(1 - hat.steps[3]!.alphaCumprod / hat.steps[3]!.alphaCumprodPrev),
      14,
    );
    expect(makeSchedule({ steps: 20, sigma: "hat" }).warnings).toEqual([]);
    expect(makeSchedule({ steps: 7, sigma: "hat", spacing: "trailing" }).warnings).toEqual([
      "the last step adds noise of standard deviation 0.44 to the image",
    ]);
  });
});

describe("dynamic thresholding", () => {
  const step = (options: ScheduleOptions) =>
    makeSchedule({ timesteps: [500, 100], prediction: "sample", ...options }).steps[0]!;
  const x0Of = (options: ScheduleOptions, m: number[], images = 1) => [
    ...referenceStep(
      step(options),
      m.map(() => 0),
      m,
      undefined,
      { images },
    ).x0,
  ];

  it("divides by the quantile, between 1 and the maximum, image by image", () => {
    const threshold = { ratio: 0.5, max: 4 };
    expect(x0Of({ threshold }, [1, -2, 3])).toEqual([0.5, -1, 1]);
    expect(x0Of({ threshold }, [1, -2, 3, 4])).toEqual([0.4, -0.8, 1, 1]);
    expect(x0Of({ threshold }, [0.1, 0.2, 0.9])).toEqual([0.1, 0.2, 0.9]);
    expect(x0Of({ threshold }, [1, -2, 3, 10, 20, -30], 2)).toEqual([0.5, -1, 1, 1, 1, -1]);
    expect(x0Of({ threshold: { ratio: 1, max: 0.5 } }, [0.25, 3])).toEqual([0.5, 1]);
  });

  it("comes from the configuration, goes before clipping, and can be turned off", () => {
    const config: ScheduleOptions = { thresholding: true, dynamic_thresholding_ratio: 0.9, sample_max_value: 2 };
    expect(makeSchedule(config)).toMatchObject({ threshold: { ratio: 0.9, max: 2 }, clip: null });
    expect(makeSchedule({ ...config, threshold: null })).toMatchObject({ threshold: null, clip: 1 });
    expect(() => makeSchedule({ threshold: { ratio: 2, max: 1 } })).toThrow(/ratio in 0..1/);
  });
});

describe("rescale_timesteps", () => {
  it("gives the network t · 1000/T", () => {
    const { steps } = makeSchedule({
      num_train_timesteps: 4000,
      rescale_timesteps: true,
      spacing: "trailing",
      steps: 4,
    });
    expect(steps.map((s) => s.t)).toEqual([3999, 2999, 1999, 999]);
    expect(steps.map((s) => s.tNetwork)).toEqual([999.75, 749.75, 499.75, 249.75]);
  });
});

describe("few steps", () => {
  // A perfect network for data that are one point: v and ε are known in closed form.
  const target = 0.3;
  it.each([1, 2, 4, 8])("trailing v_prediction with %d steps ends on the only image there is", (steps) => {
    for (const rescale_betas_zero_snr of [false, true]) {
      const schedule = makeSchedule({ steps, spacing: "trailing", prediction: "v_prediction", rescale_betas_zero_snr });
      let x = Float64Array.from([1.7, -0.4]);
      for (const step of schedule.steps) {
        const [signal, noise] = [Math.sqrt(step.alphaCumprod), Math.sqrt(1 - step.alphaCumprod)];
        const v = x.map((value) => (signal * (value - signal * target)) / noise - noise * target);
        x = Float64Array.from(referenceStep(step, x, v).x);
      }
      expect(deviation(x, [target, target])).toBeLessThan(1e-12);
    }
  });
});

describe("the forward process", () => {
  interface Recorded {
    config: ScheduleOptions;
    original: number[];
    noise: number[];
    steps: { t: number[]; add_noise: number[]; velocity: number[] }[];
  }
  const recorded = golden<Recorded>("add_noise.json");
  const schedule = makeSchedule(recorded.config);
  const half = recorded.original.length / 2;

  it.each(recorded.steps)("add_noise and get_velocity of diffusers at t = $t", ({ t, add_noise, velocity: v }) => {
    for (const image of [0, 1]) {
      const cut = (values: number[]) => values.slice(image * half, (image + 1) * half);
      const args = [cut(recorded.original), cut(recorded.noise), t[image]!, schedule] as const;
      expect(deviation(addNoise(...args), cut(add_noise))).toBeLessThan(2e-6);
      expect(deviation(velocity(...args), cut(v))).toBeLessThan(2e-6);
    }
  });

  it("refuses other timesteps and lengths", () => {
    expect(() => addNoise([1], [1], 1000, schedule)).toThrow(/t must be a whole number from 0 to 999, got 1000/);
    expect(() => addNoise([1], [1], 0.5, schedule)).toThrow(UsageError);
    expect(() => addNoise([1, 2], [1], 5, schedule)).toThrow(ShapeError);
  });
});
