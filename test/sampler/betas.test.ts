import { describe, expect, it } from "vitest";
import { ConfigError } from "../../src/runtime/errors.ts";
import {
  alphasCumprod,
  type BetaConfig,
  betaSchedules,
  betas,
  rescaleZeroTerminalSnr,
} from "../../src/sampler/betas.ts";
import { diffusersAlphasCumprod, ermongroupAlphasCumprod, ldmAlphasCumprod } from "../../src/sampler/floatTables.ts";
import { golden } from "./traces.ts";

const base: BetaConfig = {
  num_train_timesteps: 1000,
  beta_start: 0.0001,
  beta_end: 0.02,
  beta_schedule: "linear",
  trained_betas: null,
  rescale_betas_zero_snr: false,
};

type Tables = Record<
  string,
  { config: Partial<BetaConfig>; alphas_cumprod_f32: number[]; alphas_cumprod_f64: number[] }
>;

function worstRelative(u: ArrayLike<number>, v: ArrayLike<number>): number {
  return Math.max(...Array.from(u, (x, i) => (x === v[i] ? 0 : Math.abs(x / v[i]! - 1))));
}

describe("alphas_cumprod against diffusers", () => {
  for (const [name, table] of Object.entries(golden<Tables>("tables.json"))) {
    const config = { ...base, ...table.config };
    it(`${name}: float64`, () => {
      const ours = alphasCumprod(config);
      expect(ours).toHaveLength(1000);
      expect(worstRelative(ours, table.alphas_cumprod_f64)).toBeLessThan(1e-11);
    });
    it(`${name}: float32 as torch computes it`, () => {
      const ours = diffusersAlphasCumprod(config);
      const theirs = Float32Array.from(table.alphas_cumprod_f32);
      // The rescaling goes through torch's vectorised square root, which is not correctly rounded.
      if (config.rescale_betas_zero_snr) expect(worstRelative(ours, theirs)).toBeLessThan(1e-5);
      else expect([...ours]).toEqual([...theirs]);
    });
  }
});

describe("betas of the original systems", () => {
  interface Row {
    T: number;
    index: number[];
    betas: number[];
    alphas_cumprod: number[];
    alphas_cumprod_float32?: number[];
  }
  const names: Record<string, Record<string, BetaConfig["beta_schedule"]>> = {
    "ermongroup/ddim": { linear: "linear", quad: "scaled_linear", const: "const", jsd: "jsd", sigmoid: "sigmoid" },
    "openai/guided-diffusion": { linear: "openai_linear", cosine: "squaredcos_cap_v2" },
    "openai/improved-diffusion": { linear: "openai_linear", cosine: "squaredcos_cap_v2" },
    "CompVis/latent-diffusion": {
      linear: "scaled_linear",
      cosine: "squaredcos_cap_v2",
      sqrt_linear: "linear",
      sqrt: "sqrt",
    },
  };
  const rows = Object.entries(golden<Record<string, Record<string, Row>>>("origin/betas.json")).flatMap(
    ([system, table]) => Object.entries(table).map(([key, row]) => ({ system, key, row })),
  );

  it.each(rows)("$system $key", ({ system, key, row }) => {
    const [name, , range = "1..1"] = key.split(" ") as [string, string, string?];
    const [beta_start, beta_end] = range.split("..").map(Number) as [number, number];
    const beta_schedule = names[system]![name]!;
    const config = { ...base, num_train_timesteps: row.T, beta_schedule, beta_start, beta_end };
    const at = (values: ArrayLike<number>) => row.index.map((i) => values[i]!);
    // The smallest betas of the cosine schedule are differences of numbers near 1.
    expect(worstRelative(at(betas(config, "test")), row.betas)).toBeLessThan(1e-10);
    expect(worstRelative(at(alphasCumprod(config)), row.alphas_cumprod)).toBeLessThan(1e-11);
    if (!row.alphas_cumprod_float32) return;
    const table = system === "ermongroup/ddim" ? ermongroupAlphasCumprod(config) : ldmAlphasCumprod(config);
    expect(at(table)).toEqual(row.alphas_cumprod_float32.map(Math.fround));
  });
});

describe("beta schedules", () => {
  it("are named once and start where their definitions say", () => {
    const first = Object.fromEntries(
      betaSchedules.map((beta_schedule) => [beta_schedule, betas({ ...base, beta_schedule }, "test")[0]!]),
    );
    expect(first.linear).toBe(1e-4);
    expect(first.scaled_linear).toBeCloseTo(1e-4, 18);
    expect(first.sqrt).toBeCloseTo(0.01, 15);
    expect(first.const).toBe(0.02);
    expect(first.jsd).toBe(1e-3);
    expect(first.openai_linear).toBeCloseTo(1e-4, 18);
    expect(first.exp).toBeCloseTo(1 - Math.exp(-0.012), 15);
    expect(first.sigmoid).toBeCloseTo(0.0199 / (1 + Math.exp(6)) + 1e-4, 15);
    expect(first.squaredcos_cap_v2).toBeCloseTo(4.128422482196264e-5, 15);
    expect(first.laplace).toBeGreaterThan(0);
  });

  it("jsd ends without signal", () => {
    expect(alphasCumprod({ ...base, beta_schedule: "jsd" })[999]).toBe(0);
  });

  it("openai_linear keeps the total noise when T changes", () => {
    const at = (T: number) =>
      alphasCumprod({ ...base, beta_schedule: "openai_linear", num_train_timesteps: T })[T - 1]!;
    expect(Math.log(at(4000)) / Math.log(at(1000))).toBeCloseTo(1, 1);
  });

  it("a beta outside (0, 1] is an error", () => {
    expect(() => alphasCumprod({ ...base, num_train_timesteps: 2, trained_betas: [0.1, 1.5] })).toThrow(ConfigError);
    expect(() => alphasCumprod({ ...base, num_train_timesteps: 2, trained_betas: [0, 0.5] })).toThrow(/beta 0 is 0/);
    expect(() => alphasCumprod({ ...base, beta_schedule: "openai_linear", num_train_timesteps: 10 })).toThrow(
      /at most 1/,
    );
  });

  it("zero-SNR rescaling keeps the first entry and ends at exactly 0", () => {
    const table = alphasCumprod(base);
    const rescaled = rescaleZeroTerminalSnr(table);
    expect(rescaled[0]).toBeCloseTo(table[0]!, 15);
    expect(rescaled[999]).toBe(0);
  });
});
