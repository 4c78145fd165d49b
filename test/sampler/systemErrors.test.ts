/** Ten mistakes of the systems that a schedule can reproduce, and that our default does not make them. */
import { describe, expect, it } from "vitest";
import { hatSigma } from "../../src/sampler/coefficients.ts";
import { planInversion } from "../../src/sampler/inversion.ts";
import { referenceStep } from "../../src/sampler/referenceStep.ts";
import { makeSchedule, type ScheduleOptions } from "../../src/sampler/schedule.ts";
import { deviation, networks } from "./traces.ts";

const every = Array.from({ length: 1000 }, (_, i) => i + 1);
const all = (options: ScheduleOptions) => makeSchedule(options);

/** Final state of a run with a smooth network and a fixed noise. */
function run(options: ScheduleOptions): number {
  const { steps } = makeSchedule(options);
  return steps.reduce((x, step, i) => {
    return referenceStep(step, [x], [networks.b!(x, step.t)], [Math.sin(3 * i + 1)]).x[0]!;
  }, 1.3);
}

describe("our default", () => {
  it("1. takes the previous timestep from the list, not t - T // S", () => {
    for (const spacing of ["trailing", "linspace", "leading"] as const)
      for (const steps of every.filter((s) => s % 37 === 1)) {
        const schedule = all({ spacing, steps });
        expect(schedule.steps.map((s) => s.tPrev)).toEqual([...schedule.steps.slice(1).map((s) => s.t), null]);
      }
    const strides = all({ spacing: "trailing", steps: 7, compat: "diffusers" }).steps;
    expect(strides[0]!.tPrev).not.toBe(strides[1]!.t);
  });

  it("2. has S trailing steps, none of them at t = -1, for the 62 S where diffusers has one more", () => {
    for (const steps of every) {
      const list = all({ spacing: "trailing", steps }).steps.map((s) => s.t);
      expect(list).toHaveLength(steps);
      expect(list.at(-1)).toBeGreaterThanOrEqual(0);
    }
    expect(() => all({ spacing: "trailing", steps: 61, compat: "diffusers" })).toThrow(/t = -1/);
  });

  it("3. ends a trailing run at ᾱ = 1", () => {
    for (const steps of [6, 7, 11, 13, 15, 36]) {
      expect(all({ spacing: "trailing", steps }).steps.at(-1)!.alphaCumprodPrev).toBe(1);
      expect(all({ spacing: "trailing", steps, compat: "diffusers" }).steps.at(-1)!.alphaCumprodPrev).toBeLessThan(1);
    }
  });

  it("4. with eta 1 is DDPM also with clipping", () => {
    for (const clip of [true, false])
      expect(run({ steps: 10, clip, eta: 1 })).toBeCloseTo(run({ steps: 10, clip, sampler: "ddpm" }), 12);
    const library = { steps: 10, clip: true, compat: "diffusers" } as const;
    expect(Math.abs(run({ ...library, eta: 1 }) - run({ ...library, sampler: "ddpm" }))).toBeGreaterThan(1e-3);
  });

  it("5. says what another scheduler's configuration brings along, and does not clip because of it", () => {
    const euler = all({ _class_name: "EulerDiscreteScheduler", steps_offset: 1, steps: 600 });
    expect(euler.clip).toBeNull();
    expect(euler.warnings.join()).toMatch(/names EulerDiscreteScheduler/);
    expect(euler.warnings.join()).toMatch(/steps_offset 1 with more than 500 steps/);
  });

  it("6. inverts without clipping, whichever convention is asked for", () => {
    for (const convention of ["next", "current", "fixed-point", "exact"] as const)
      for (const { update } of planInversion(all({ steps: 10 }), convention, 1).rows) expect(update[2]).toBe(0);
  });

  it("7. is not latent-diffusion's sampler: own list, own end, no noise in the last step", () => {
    const [ours, ldm] = [all({ steps: 50, eta: 1 }), all({ steps: 50, eta: 1, compat: "ldm" })];
    expect([ours.steps.at(-1)!.t, ldm.steps.at(-1)!.t]).toEqual([0, 1]);
    expect(ours.steps.at(-1)!.sigma).toBe(0);
    expect(ldm.steps.at(-1)!.sigma).toBeGreaterThan(0);
    expect(all({ steps: 50, compat: "ldm" }).finalAlphaCumprod).toBe(ldm.alphasCumprod[0]);
  });

  it("8. refuses epsilon at zero terminal SNR, and is finite there with v and eta 1, for every S", () => {
    const zero = { rescale_betas_zero_snr: true, beta_schedule: "scaled_linear", spacing: "trailing" } as const;
    expect(() => all({ ...zero, steps: 10 })).toThrow(/terminal SNR is zero/);
    for (const steps of [2, 6, 10, 13, 14, 19, 20, 23, 24, 25])
      for (const { coefficients, sigma } of all({ ...zero, steps, eta: 1, prediction: "v_prediction", clip: false })
        .steps)
        for (const k of ["k0", "k1", "k2", "k3", "k4"] as const) {
          expect(Number.isFinite(coefficients[k])).toBe(true);
          expect(Number.isFinite(sigma)).toBe(true);
        }
  });

  it("9. warns about noise in the last step, and knows fixed_large_log", () => {
    const large = all({ variance_type: "fixed_large_log", sampler: "ddpm", spacing: "trailing", steps: 10 });
    const { alphaCumprod: a, alphaCumprodPrev: p, sigma } = large.steps[0]!;
    expect(sigma).toBe(hatSigma(a, p));
    expect(large.warnings.join()).toMatch(/the last step adds noise of standard deviation 0\.3/);
    expect(() => all({ variance_type: "fixed_large_log", sampler: "ddpm", compat: "diffusers" })).toThrow(/NaN/);
  });

  it("10. keeps its state in one number format: a step is a function of the state alone, to the last bit", () => {
    // Batches, devices and resumption: test/pipeline/rules.test.ts. Here: the schedule itself has no hidden state.
    const [a, b] = [all({ steps: 20, eta: 0.5 }), all({ steps: 20, eta: 0.5 })];
    expect(a).toEqual(b);
    const later = all({ timesteps: a.steps.slice(7).map((s) => s.t), eta: 0.5 });
    expect(
      deviation(
        later.steps.map((s) => s.sigma),
        a.steps.slice(7).map((s) => s.sigma),
      ),
    ).toBe(0);
  });
});
