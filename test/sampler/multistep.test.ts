import { describe, expect, it } from "vitest";
import { multistepSteps, referenceMultistep } from "../../src/sampler/multistep.ts";
import { referenceStep } from "../../src/sampler/referenceStep.ts";
import { makeSchedule, type ScheduleOptions } from "../../src/sampler/schedule.ts";
import { deviation, networks, tensors } from "./traces.ts";

const b = (x: Float64Array, t: number) => x.map((v) => networks.b!(v, t));

describe("PLMS against latent-diffusion's PLMSSampler", () => {
  it("plms-b-20", () => {
    const recorded = tensors("origin/ldm/plms-b-20.safetensors");
    const schedule = makeSchedule({
      compat: "ldm",
      beta_schedule: "scaled_linear",
      beta_start: 0.0015,
      beta_end: 0.0195,
      steps: 20,
    });
    const size = recorded.x!.length / 21;
    const states = referenceMultistep(schedule, "plms", b, recorded.x!.subarray(0, size));
    for (const [i, x] of states.entries())
      expect(deviation(x, recorded.x!.subarray((i + 1) * size, (i + 2) * size))).toBeLessThan(3e-5);
    expect(deviation(states.at(-1)!, recorded.x_final_f64!)).toBeLessThan(1e-6);
  });
});

describe("multistep solvers", () => {
  const smooth: ScheduleOptions = { clip: false, spacing: "logsnr", beta_schedule: "scaled_linear" };
  const start = [1.3, -0.7, 0.2];
  // The exact network of data that are N(0, 0.25): its probability-flow paths are known and smooth.
  const gaussian = (table: Float64Array) => (x: Float64Array, t: number) => {
    const a = table[t]!;
    return x.map((v) => (Math.sqrt(1 - a) * v) / (0.25 * a + 1 - a));
  };

  it.each(["dpmpp2m", "plms"] as const)("%s is closer to the solution than DDIM with as many steps", (solver) => {
    const schedule = makeSchedule({ ...smooth, steps: 20 });
    const network = gaussian(schedule.alphasCumprod);
    const first = schedule.steps[0]!.alphaCumprod;
    // Along the path x/√(variance of x_t) is constant.
    const exact = start.map((v) => (v * 0.5) / Math.sqrt(0.25 * first + 1 - first));
    let ddim: Float64Array = Float64Array.from(start);
    for (const step of schedule.steps) ddim = referenceStep(step, ddim, network(ddim, step.t)).x;
    const ours = referenceMultistep(schedule, solver, network, start).at(-1)!;
    expect(deviation(ours, exact)).toBeLessThan(deviation(ddim, exact) / 3);
  });

  it("says the same whatever the network predicts", () => {
    const epsilon = makeSchedule({ ...smooth, steps: 7 });
    const v = makeSchedule({ ...smooth, steps: 7, prediction: "v_prediction" });
    const network = gaussian(epsilon.alphasCumprod);
    const velocity = (x: Float64Array, t: number) => {
      const [s, n] = [Math.sqrt(epsilon.alphasCumprod[t]!), Math.sqrt(1 - epsilon.alphasCumprod[t]!)];
      return network(x, t).map((e, j) => s * e - (n * (x[j]! - n * e)) / s);
    };
    for (const solver of ["dpmpp2m", "plms"] as const) {
      const [one, other] = [
        referenceMultistep(epsilon, solver, network, start).at(-1)!,
        referenceMultistep(v, solver, velocity, start).at(-1)!,
      ];
      expect(deviation(one, other)).toBeLessThan(1e-12);
    }
  });

  it("bounds x0, and PLMS then derives ε from it", () => {
    const schedule = makeSchedule({ steps: 5, spacing: "trailing" });
    const zero = (x: Float64Array) => x.map(() => 0);
    for (const solver of ["dpmpp2m", "plms"] as const) {
      const [last] = referenceMultistep(schedule, solver, zero, [40]).slice(-1);
      expect(Math.abs(last![0]!)).toBeLessThan(1.5);
    }
  });

  it("has finite weights from zero terminal SNR", () => {
    const schedule = makeSchedule({
      rescale_betas_zero_snr: true,
      prediction: "v_prediction",
      spacing: "trailing",
      steps: 4,
    });
    const steps = multistepSteps(schedule, "dpmpp2m");
    expect(steps.map((s) => s.weights.length)).toEqual([1, 2, 2, 1]);
    expect(steps.flatMap((s) => [s.state, s.gain, ...s.weights]).every(Number.isFinite)).toBe(true);
    expect(() => multistepSteps(schedule, "plms")).toThrow(/zero/);
  });

  it("is deterministic", () => {
    expect(() => multistepSteps(makeSchedule({ eta: 0.5 }), "plms")).toThrow(/eta must be 0/);
  });
});
