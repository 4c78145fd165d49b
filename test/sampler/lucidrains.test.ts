/** compat lucidrains: denoising-diffusion-pytorch's ddim_sample and p_sample_loop, its list and its steps. */
import { describe, expect, it } from "vitest";
import { makeSchedule } from "../../src/sampler/schedule.ts";

const lucidrains = { compat: "lucidrains", beta_schedule: "openai_linear" } as const;
const list = (num_train_timesteps: number, steps: number) =>
  makeSchedule({ ...lucidrains, num_train_timesteps, steps }).steps.map(({ t }) => t);

describe("the list is torch's linspace(-1, T - 1, S + 1).int(), reversed and without -1", () => {
  it.each([
    [50, 10, [49, 44, 39, 34, 29, 24, 19, 14, 9, 4]],
    [1000, 7, [999, 856, 713, 570, 427, 284, 141]],
    [30, 11, [29, 26, 23, 20, 18, 15, 12, 9, 7, 4, 1]],
  ])("T = %i, S = %i", (T, S, expected) => {
    expect(list(T, S)).toEqual(expected);
  });

  it("of all timesteps, where S is T", () => {
    expect(list(777, 777)).toEqual(Array.from({ length: 777 }, (_, i) => 776 - i));
    const sum = list(1000, 250).reduce((a, b) => a + b, 0);
    expect(sum).toBe(125_251 - 1);
  });
});

describe("steps", () => {
  it("clip x0, derive ε again, and the last one returns x0 without noise", () => {
    const { steps, alphasCumprod } = makeSchedule({ ...lucidrains, num_train_timesteps: 50, steps: 10, eta: 0.5 });
    expect(steps.at(-1)).toMatchObject({ t: 4, tPrev: null, alphaCumprodPrev: 1, sigma: 0 });
    for (const { t, tPrev, sigma, coefficients } of steps.slice(0, -1)) {
      const [a, p] = [alphasCumprod[t] as number, alphasCumprod[tPrev as number] as number];
      const expected = 0.5 * Math.sqrt(((1 - a / p) * (1 - p)) / (1 - a));
      expect(sigma).toBeCloseTo(expected, 12);
      // x_prev = x0·√p + c·ε with ε = (x − √a·x0)/√(1 − a), whatever the network predicts.
      const c = Math.sqrt(1 - p - expected ** 2);
      expect(coefficients.k3).toBeCloseTo(c / Math.sqrt(1 - a), 10);
      expect(coefficients.k2).toBeCloseTo(Math.sqrt(p) - (c * Math.sqrt(a)) / Math.sqrt(1 - a), 10);
      expect(coefficients).toMatchObject({ k4: 0, clip: 1 });
    }
  });

  it("of the ddpm sampler are all of them, with the posterior's variance and none at t = 0", () => {
    const { steps } = makeSchedule({ ...lucidrains, num_train_timesteps: 50, steps: 50, sampler: "ddpm" });
    expect(steps).toHaveLength(50);
    expect(steps.at(-1)).toMatchObject({ t: 0, sigma: 0 });
    expect(() => makeSchedule({ ...lucidrains, sampler: "ddpm", steps: 50 })).toThrow(/takes all 1000 steps, not 50/);
  });

  it("take no list of one's own", () => {
    expect(() => makeSchedule({ ...lucidrains, timesteps: [5, 3] })).toThrow(/timesteps cannot be chosen/);
    expect(() => makeSchedule({ ...lucidrains, spacing: "leading" })).toThrow(/which has linspace/);
  });
});
