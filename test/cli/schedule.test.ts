import { expect, test } from "vitest";
import { ddim } from "../support/cli.ts";

interface Printed {
  num_train_timesteps: number;
  beta_schedule: string;
  steps: { t: number; t_prev: number | null; alpha_cumprod: number; alpha_cumprod_prev: number; sigma: number }[];
  warnings: string[];
}

async function schedule(...args: string[]): Promise<Printed> {
  const { code, stdout, stderr, devices } = await ddim(["schedule", "--json", "-q", ...args]);
  expect({ code, stderr, devices }).toEqual({ code: 0, stderr: "", devices: 0 });
  return JSON.parse(stdout);
}

test("--json prints every step, noisiest first, with what it is computed from", async () => {
  const { steps, ...rest } = await schedule("-S", "4", "--eta", "0.5");
  expect(rest).toMatchObject({ num_train_timesteps: 1000, beta_schedule: "linear" });
  expect(rest.warnings).toEqual([expect.stringContaining("starts at t = 750 of 999")]);
  expect(steps.map(({ t, t_prev }) => [t, t_prev])).toEqual([
    [750, 500],
    [500, 250],
    [250, 0],
    [0, null],
  ]);
  const [first] = steps;
  // cumprod(1 - linspace(1e-4, 0.02, 1000)) at 750 and 500 by numpy in float64.
  expect(first?.alpha_cumprod).toBeCloseTo(0.003300158361569426, 15);
  expect(first?.alpha_cumprod_prev).toBeCloseTo(0.07779665836502389, 15);
  const { alpha_cumprod: a, alpha_cumprod_prev: p } = first as Printed["steps"][number];
  expect(first?.sigma).toBeCloseTo(0.5 * Math.sqrt(((1 - p) / (1 - a)) * (1 - a / p)), 12);
  expect(steps.at(-1)).toMatchObject({ alpha_cumprod_prev: 1, sigma: 0 });
});

test("the sampler's flags reach the schedule", async () => {
  const listed = await schedule("--timesteps", "999,500,3");
  expect(listed.steps.map((step) => step.t)).toEqual([999, 500, 3]);
  expect((await schedule("-S", "5", "--spacing", "trailing")).steps[0]?.t).toBe(999);
  expect(await schedule("-S", "2", "--no-clip")).toMatchObject({ clip_sample_range: null });
  expect(await schedule("-S", "2", "--clip")).toMatchObject({ clip_sample_range: 1 });
  expect(await schedule("-S", "2", "--compat", "diffusers")).toMatchObject({ compat: "diffusers" });
  expect(await schedule("-S", "2", "--sampler", "ddpm")).toMatchObject({ sampler: "ddpm", eta: 1 });
  expect(await schedule("-S", "2", "--sigma", "hat")).toMatchObject({ sigma_rule: "hat" });
  expect(await schedule("-m", "crawl-tiles-32")).toMatchObject({ beta_schedule: "squaredcos_cap_v2" });
});

test("without --json it is a table, and warnings go to stderr", async () => {
  const { code, stdout, stderr } = await ddim(["schedule", "-S", "2"]);
  expect(code).toBe(0);
  expect(
    stdout
      .split("\n")
      .slice(-4)
      .map((line) => line.split(/ +/).filter(Boolean).slice(0, 4)),
  ).toEqual([
    ["t", "t_prev", "alpha_cumprod", "alpha_cumprod_prev"],
    ["500", "0", "0.077796658", "0.99990000"],
    ["0", "end", "0.99990000", "1.0000000"],
    [],
  ]);
  expect(stderr).toMatch(/^warning: leading spacing with 2 steps/);
  expect((await ddim(["schedule", "-S", "2", "-q"])).stderr).toBe("");
});

test("a model without a scheduler has no schedule", async () => {
  const { code, stderr } = await ddim(["schedule", "-m", "test/golden/models/noattn"]);
  expect(code).toBe(1);
  expect(stderr).toBe("ddim: test/golden/models/noattn: has no scheduler_config.json, so it cannot be sampled\n");
});
