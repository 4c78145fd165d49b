/** Runs of an independent float64 implementation of the paper: our default schedule must give the same numbers. */
import { describe, expect, it } from "vitest";
import { stepCoefficients } from "../../src/sampler/coefficients.ts";
import { referenceStep } from "../../src/sampler/referenceStep.ts";
import { makeSchedule, type ScheduleOptions } from "../../src/sampler/schedule.ts";
import type { TimestepSpacing } from "../../src/sampler/timesteps.ts";
import { deviation, formulaNoise, golden, goldenNames, networks } from "./traces.ts";

interface Trace {
  betas: ScheduleOptions;
  spacing: TimestepSpacing | "custom";
  num_inference_steps: number;
  steps_offset: number;
  final_alpha: "one" | "abar0";
  net: string;
  options: { eta?: number; pred?: ScheduleOptions["prediction"]; clip?: number; rederive?: boolean };
  pairs: [number, number][];
  x_start: number[];
  final: number[];
  steps: {
    i: number;
    alpha_prod_from: number;
    alpha_prod_to: number;
    sigma: number;
    pred_original_sample: number[];
    next_sample: number[];
  }[];
}

function scheduleOf(trace: Trace) {
  const { options, spacing } = trace;
  return makeSchedule({
    ...trace.betas,
    ...(spacing === "custom"
      ? { timesteps: trace.pairs.map(([t]) => t) }
      : { spacing, steps: trace.num_inference_steps }),
    steps_offset: trace.steps_offset,
    set_alpha_to_one: trace.final_alpha === "one",
    eta: options.eta,
    prediction: options.pred,
    clip: options.clip !== undefined,
    clip_sample_range: options.clip,
    rederive: options.rederive ?? false,
  });
}

describe("exact DDIM", () => {
  it.each(goldenNames("exact/", "ddim_"))("%s to 1e-11", (name) => {
    const trace = golden<Trace>(name);
    const { steps } = scheduleOf(trace);
    expect(steps.map((s) => [s.t, s.tPrev ?? -1])).toEqual(trace.pairs);
    let x: Float64Array = Float64Array.from(trace.x_start);
    for (const [i, step] of steps.entries()) {
      const m = x.map((v) => networks[trace.net]!(v, step.t));
      const next = referenceStep(step, x, m, formulaNoise(i, x.length));
      const recorded = trace.steps.find((s) => s.i === i);
      if (recorded) {
        expect(deviation([step.alphaCumprod], [recorded.alpha_prod_from])).toBeLessThan(1e-13);
        expect(deviation([step.alphaCumprodPrev], [recorded.alpha_prod_to])).toBeLessThan(1e-13);
        expect(deviation([step.sigma], [recorded.sigma])).toBeLessThan(1e-13);
        expect(deviation(next.x0, recorded.pred_original_sample)).toBeLessThan(1e-11);
        expect(deviation(next.x, recorded.next_sample)).toBeLessThan(1e-11);
      }
      x = next.x;
    }
    expect(deviation(x, trace.final)).toBeLessThan(1e-11);
  });
});

describe("the worked example: betas .1 .2 .3, one jump from step 3 to step 1", () => {
  interface Example {
    betas: number[];
    alphas_cumprod: number[];
    x: number;
    eps: number;
    noise: number;
    steps: { kind: string; eta?: number; x0: number; sigma: number; direction: number; next: number }[];
  }
  const example = golden<Example>("exact/worked_example.json");
  const ddim = example.steps.filter((s) => s.kind === "ddim");

  it("lists several etas", () => expect(ddim.length).toBeGreaterThan(2));

  it.each(ddim)("eta $eta", ({ eta, x0, sigma, direction, next }) => {
    const s = makeSchedule({ trained_betas: example.betas, timesteps: [2, 0], eta, clip: false });
    expect(deviation(s.alphasCumprod, example.alphas_cumprod)).toBeLessThan(1e-15);
    const step = s.steps[0]!;
    const result = referenceStep(step, [example.x], [example.eps], [example.noise]);
    expect(step.sigma).toBeCloseTo(sigma, 14);
    expect(result.x0[0]).toBeCloseTo(x0, 14);
    expect(result.x[0]).toBeCloseTo(next, 14);
    // Where ε is not re-derived, the direction stands alone in k4.
    expect(stepCoefficients({ ...s, ...step, eta: eta!, clip: 9, rederive: false }).k4).toBeCloseTo(direction, 14);
  });
});
