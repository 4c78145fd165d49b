/**
 * The numbers that diffusers' own scheduler tests assert (tests/schedulers/test_scheduler_{ddim,ddpm,dpm_multi,ddim_inverse}.py):
 * sums and means of |x| after runs over a ramp with the network x t/(t + 1). The table in docs/sampler.md is what is computed
 * here in float64; on the GPU the same runs stay within diffusers' own tolerances.
 */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { addNoise } from "../../src/sampler/forward.ts";
import { planInversion } from "../../src/sampler/inversion.ts";
import { referenceMultistep } from "../../src/sampler/multistep.ts";
import { referenceStep } from "../../src/sampler/referenceStep.ts";
import { makeSchedule, type Schedule, type ScheduleOptions } from "../../src/sampler/schedule.ts";
import { TorchGenerator } from "../../src/sampler/torchRandn.ts";
import { denoiser, run } from "./gpuRuns.ts";
import { networks } from "./traces.ts";

const shape = [4, 3, 8, 8] as const;
const count = 768;
const image = count / 4;
/** dummy_sample_deter: arange(768)/768 with the images innermost. */
const ramp = Float64Array.from({ length: count }, (_, i) => (4 * (i % image) + Math.floor(i / image)) / count);
/** dummy_noise_deter: the same backwards. */
const reversed = ramp.map((v) => (count - 1) / count - v);
const network = (x: Float64Array, t: number) => x.map((v) => networks.a!(v, t));

interface Case {
  readonly test: string;
  readonly sum?: number;
  readonly mean: number;
  readonly schedule: Schedule;
  readonly inverse?: true;
  /** The ramp is noised to the level of the first step. */
  readonly noised?: true;
  readonly generator?: true;
  /** Where more than diffusers' own 1e-2 on a sum is its float32 arithmetic at t = 1 (docs/sampler.md). */
  readonly within?: number;
}

const diffusers = (options: ScheduleOptions) => makeSchedule({ compat: "diffusers", steps: 10, ...options });
const eighth = diffusers({});
/** A run of DDIM that begins in the middle: compat diffusers takes no list of its own. */
const tail = (schedule: Schedule, from: number): Schedule => ({ ...schedule, steps: schedule.steps.slice(from) });
const ancestral = (options: ScheduleOptions) => diffusers({ sampler: "ddpm", steps: 1000, ...options });
/** DPMSolverMultistepScheduler's linspace: one point more than steps, the last left out. */
const points = Array.from({ length: 10 }, (_, i) => Math.round(((10 - i) * 999) / 10));
const solver = (options: ScheduleOptions, from = 0) =>
  makeSchedule({
    ...{ sampler: "dpmpp2m", timesteps: points.slice(from), clip: false },
    ...{ solver_order: 2, lower_order_final: false, final_sigmas_type: "sigma_min" },
    ...options,
  } as ScheduleOptions);
const small: ScheduleOptions = { beta_start: 0.01 };

const cases: Case[] = [
  { test: "DDIM", sum: 172.0067, mean: 0.223967, schedule: diffusers({}) },
  { test: "DDIM, v_prediction", sum: 52.5302, mean: 0.0684, schedule: diffusers({ prediction: "v_prediction" }) },
  { test: "DDIM, set_alpha_to_one", sum: 149.8295, mean: 0.1951, schedule: diffusers(small) },
  {
    ...{ test: "DDIM, not set_alpha_to_one", sum: 149.0784, mean: 0.1941 },
    schedule: diffusers({ ...small, set_alpha_to_one: false }),
  },
  { test: "DDIM, noised, from step 8", sum: 354.5418, mean: 0.4616, schedule: tail(eighth, 8), noised: true },
  { test: "DDPM", sum: 258.9606, mean: 0.3372, schedule: ancestral({}), generator: true },
  {
    ...{ test: "DDPM, v_prediction", sum: 202.0296, mean: 0.2631, generator: true },
    schedule: ancestral({ prediction: "v_prediction" }),
  },
  {
    ...{
      test: "DDPM, noised, from step 998",
      sum: 387.9466,
      mean: 0.5051,
      noised: true,
      generator: true,
      within: 0.03,
    },
    schedule: tail(ancestral({}), 998),
  },
  { test: "DPM++ 2M", mean: 0.3301, schedule: solver({}) },
  {
    ...{ test: "DPM++ 2M, thresholding", mean: 1.1364 },
    schedule: solver({ thresholding: true, dynamic_thresholding_ratio: 0.87, sample_max_value: 0.5 }),
  },
  { test: "DPM++ 2M, v_prediction", mean: 0.2251, schedule: solver({ prediction: "v_prediction" }) },
  { test: "DPM++ 2M, noised, from step 5", sum: 318.4111, mean: 0.4146, schedule: solver({}, 5), noised: true },
  { test: "DDIM inverse", sum: 671.6816, mean: 0.8746, schedule: diffusers({}), inverse: true },
  {
    ...{ test: "DDIM inverse, v_prediction", sum: 1394.2185, mean: 1.8154, inverse: true },
    schedule: diffusers({ prediction: "v_prediction" }),
  },
  {
    ...{ test: "DDIM inverse, set_alpha_to_one", sum: 539.9622, mean: 0.7031, inverse: true },
    schedule: diffusers(small),
  },
  {
    ...{ test: "DDIM inverse, not set_alpha_to_one", sum: 542.6722, mean: 0.7066, inverse: true },
    schedule: diffusers({ ...small, set_alpha_to_one: false }),
  },
];

const startOf = ({ noised, schedule }: Case) =>
  Float64Array.from(noised ? addNoise(ramp, reversed, schedule.steps[0]!.t, schedule) : ramp);

function final(one: Case): ArrayLike<number> {
  const { schedule, inverse, generator } = one;
  let x = startOf(one);
  if (inverse) {
    for (const { update: u, tNetwork } of planInversion(schedule, "next", 1).rows) {
      const m = network(x, tNetwork);
      const bound = u.clip || Number.POSITIVE_INFINITY;
      x = x.map((v, i) => {
        const x0 = Math.min(bound, Math.max(-bound, u.k0! * v + u.k1! * m[i]!));
        return u.k2! * x0 + u.k3! * v + u.k4! * m[i]!;
      });
    }
    return x;
  }
  if (schedule.sampler === "dpmpp2m") return referenceMultistep(schedule, "dpmpp2m", network, x, 4).at(-1)!;
  const noise = generator && new TorchGenerator(0n);
  for (const step of schedule.steps) {
    const z = noise && step.sigma > 0 ? noise.randn(count) : undefined;
    x = Float64Array.from(referenceStep(step, x, network(x, step.t), z, { images: 4 }).x);
  }
  return x;
}

const sumOf = (x: ArrayLike<number>) => Array.from(x).reduce((sum, v) => sum + Math.abs(v), 0);
const results = cases.map((one) => ({ ...one, ours: sumOf(final(one)) }));

describe("diffusers' published numbers", () => {
  it.each(results)("$test", ({ sum, mean, ours, within = 1e-2 }) => {
    if (sum !== undefined) expect(Math.abs(ours - sum)).toBeLessThan(within);
    expect(Math.abs(ours / count - mean)).toBeLessThan(1e-3);
  });

  it("stand in the table of docs/sampler.md, with ours beside them", () => {
    const row = ({ test, sum, mean, ours }: (typeof results)[number]) =>
      `| ${[test, sum?.toFixed(4) ?? "", ours.toFixed(4), mean, (ours / count).toFixed(4)].join(" | ")} |`;
    const rows = results.map(row).join("\n");
    expect(readFileSync(new URL("../../docs/sampler.md", import.meta.url), "utf8")).toContain(rows);
  });

  // A thousand steps, and the way up, are other tests' on the GPU.
  it.each(cases.filter(({ inverse, schedule }) => !inverse && schedule.steps.length < 100))(
    "$test on the GPU",
    async (one) => {
      const { schedule, sum, mean, generator, within = 1e-2 } = one;
      const noise = new TorchGenerator(0n);
      const states = await run(schedule, {
        ...{ denoise: denoiser(networks.a!, shape), shape, xT: startOf(one) },
        noise: generator ? () => noise.randn(count) : undefined,
      });
      const ours = sumOf(states.at(-1)!.x);
      if (sum !== undefined) expect(Math.abs(ours - sum)).toBeLessThan(within);
      expect(Math.abs(ours / count - mean)).toBeLessThan(1e-3);
    },
  );
});
