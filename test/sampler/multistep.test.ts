import { describe, expect, it } from "vitest";
import { multistepSteps, referenceMultistep } from "../../src/sampler/multistep.ts";
import { planSchedule } from "../../src/sampler/plan.ts";
import { referenceStep } from "../../src/sampler/referenceStep.ts";
import { makeSchedule, type ScheduleOptions } from "../../src/sampler/schedule.ts";
import { run } from "./gpuRuns.ts";
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

describe("PLMS under compat ldm as PLMSSampler.plms_sampling walks", () => {
  const latents = { beta_schedule: "scaled_linear", beta_start: 0.0015, beta_end: 0.0195 } as const;
  const [shape, size] = [[1, 2, 2, 2] as const, 8];
  const wave = (k: number) => Float64Array.from({ length: size }, (_, j) => Math.sin(1.7 * j + k));
  const mask = [1, 0, 0.5, 1];

  /** CompVis ldm/models/diffusion/plms.py, plms_sampling and p_sample_plms, eta 0. */
  function original(schedule: ReturnType<typeof makeSchedule>, known: Float64Array, masked: boolean) {
    const evaluations: number[] = [];
    const old: Float64Array[] = [];
    let img = wave(0);
    for (const [i, { t, alphaCumprod: a, alphaCumprodPrev: p }] of schedule.steps.entries()) {
      if (masked)
        img = img.map((v, j) => {
          const m = mask[j % 4]!;
          return (Math.sqrt(a) * known[j]! + Math.sqrt(1 - a) * wave(10 + i)[j]!) * m + (1 - m) * v;
        });
      const epsilon = (x: Float64Array, at: number) => {
        evaluations.push(at);
        return b(x, at);
      };
      const previous = (e: Float64Array) =>
        img.map((v, j) => Math.sqrt(p) * ((v - Math.sqrt(1 - a) * e[j]!) / Math.sqrt(a)) + Math.sqrt(1 - p) * e[j]!);
      const e = epsilon(img, t);
      const next = schedule.steps[Math.min(i + 1, schedule.steps.length - 1)]!.t;
      const [o1, o2, o3] = [old.at(-1), old.at(-2), old.at(-3)];
      const second = o1 ? e : epsilon(previous(e), next);
      const prime = e.map((v, j) => {
        if (!o1) return (v + second[j]!) / 2;
        if (!o2) return (3 * v - o1[j]!) / 2;
        if (!o3) return (23 * v - 16 * o1[j]! + 5 * o2[j]!) / 12;
        return (55 * v - 59 * o1[j]! + 37 * o2[j]! - 9 * o3[j]!) / 24;
      });
      img = previous(prime);
      old.push(e);
    }
    return { img, evaluations };
  }

  it.each([
    [1, true],
    [1, false],
    [2, true],
    [5, true],
    [8, false],
  ])("%i steps, masked %s", async (steps, masked) => {
    const schedule = makeSchedule({ compat: "ldm", sampler: "plms", steps, ...latents });
    const known = wave(3);
    const theirs = original(schedule, known, masked);
    const passed: number[] = [];
    const drawn: number[] = [];
    const states = await run(schedule, {
      denoise: (x, t) => {
        passed.push(t[0]!);
        return b(Float64Array.from(x), t[0]!);
      },
      shape,
      xT: wave(0),
      ...(masked ? { known, mask } : {}),
      noise: (i) => {
        drawn.push(i);
        return wave(10 + i);
      },
    });
    expect(deviation(states.at(-1)!.x, theirs.img)).toBeLessThan(5e-6);
    expect(passed).toEqual(theirs.evaluations);
    expect(passed).toHaveLength(schedule.steps.length + 1);
    expect(drawn).toEqual(masked ? schedule.steps.map((_, i) => i) : []);
    if (!masked)
      expect(deviation(referenceMultistep(schedule, "plms", b, wave(0)).at(-1)!, theirs.img)).toBeLessThan(1e-12);
  });

  it("a single step of our own is evaluated once", () => {
    expect(planSchedule(makeSchedule({ sampler: "plms", steps: 1 })).rows).toHaveLength(1);
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
