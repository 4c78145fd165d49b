/**
 * What is wrong in the systems that a schedule can reproduce, and that our default does not have it. The numbers are those
 * of the survey that the compat modes go back to:
 *
 *  1 the previous timestep is t - T // S               6 inversion clips, and is of two kinds, neither exact
 *  2 62 trailing lists have a step at t = -1           7 latent-diffusion's sampler: list, end, noise in the last step
 *  3 372 trailing lists do not end at the image        8 zero terminal SNR: division by 0, NaN with eta 1
 *  4 eta 1 is not DDPM where x0 is clipped             9 the last step's noise depends on t > 0; fixed_large_log is NaN
 *  5 options inherited silently from other schedulers 10 results depend on the batch; no float32 state; no resuming
 */
import { describe, expect, it } from "vitest";
import { hatSigma } from "../../src/sampler/coefficients.ts";
import { diffusersTimesteps } from "../../src/sampler/compatTimesteps.ts";
import { inversions, planExactReturn, planInversion } from "../../src/sampler/inversion.ts";
import { planSchedule } from "../../src/sampler/plan.ts";
import { referenceStep } from "../../src/sampler/referenceStep.ts";
import { makeSchedule, type ScheduleOptions } from "../../src/sampler/schedule.ts";
import { stateValues } from "../../src/sampler/stateKernels.ts";
import { spacedTimesteps } from "../../src/sampler/timesteps.ts";
import { networks } from "./traces.ts";

const table = makeSchedule({ steps: 1 }).alphasCumprod;
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
      for (const steps of every.filter((s) => s < 60 || s % 37 === 1)) {
        const schedule = all({ spacing, steps });
        expect(schedule.steps.map((s) => s.tPrev)).toEqual([...schedule.steps.slice(1).map((s) => s.t), null]);
        const after = [...schedule.steps.slice(1).map((s) => s.alphaCumprod), 1];
        expect(schedule.steps.map((s) => s.alphaCumprodPrev)).toEqual(after);
        // The way up takes the same pairs.
        const up = planInversion(schedule, "next", 1).rows;
        expect(up.map((row) => [row.tNetwork, row.alphaCumprod])).toEqual(
          schedule.steps.map((s) => [s.t, s.alphaCumprodPrev]).reverse(),
        );
      }
    const strides = all({ spacing: "trailing", steps: 7, compat: "diffusers" }).steps;
    expect(strides[0]!.tPrev).not.toBe(strides[1]!.t);
  });

  it("2. has S trailing steps, none of them at t = -1, for the 62 S where diffusers has one more", () => {
    for (const steps of every) {
      const list = spacedTimesteps("trailing", { steps, stepsOffset: 0, alphasCumprod: table });
      expect(list).toHaveLength(steps);
      expect(list.at(-1)).toBeGreaterThanOrEqual(0);
    }
    expect(() => all({ spacing: "trailing", steps: 61, compat: "diffusers" })).toThrow(/t = -1/);
  });

  it("3. ends every trailing run at ᾱ = 1, where diffusers leaves noise for 372 S", () => {
    const short = every.filter((steps) => {
      try {
        const list = diffusersTimesteps("trailing", { steps, stepsOffset: 0, alphasCumprod: table });
        return list.at(-1)! - Math.floor(1000 / steps) >= 0;
      } catch {
        // One of the 62 lists of the second mistake.
        return false;
      }
    });
    expect(short).toHaveLength(372);
    for (const steps of [...short.filter((s) => s < 40), short.at(-1)!]) {
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

  it("6. inverts without clipping, in as many steps, between the same levels; and exactly, if asked to", () => {
    const schedule = all({ steps: 10, clip: true });
    for (const convention of inversions) {
      const { rows } = planInversion(schedule, convention, 1);
      for (const { update, tNetwork } of rows) {
        expect(update.clip).toBe(0);
        expect(tNetwork).toBeGreaterThanOrEqual(0);
      }
      if (convention !== "fixed-point") expect(rows).toHaveLength(10);
    }
    // inversion.test.ts goes there and back; these are the rows of the way back.
    expect(planExactReturn(schedule).rows).toHaveLength(9);
    const theirs = planInversion(all({ steps: 10, clip: true, compat: "diffusers" }), "next", 1);
    expect(theirs.rows.every(({ update }) => update.clip === 1)).toBe(true);
  });

  it("7. is not latent-diffusion's sampler: own list, own end, no noise in the last step", () => {
    const [ours, ldm] = [all({ steps: 50, eta: 1 }), all({ steps: 50, eta: 1, compat: "ldm" })];
    expect([ours.steps.at(-1)!.t, ldm.steps.at(-1)!.t]).toEqual([0, 1]);
    expect(ours.steps.at(-1)!.sigma).toBe(0);
    expect(ldm.steps.at(-1)!.sigma).toBeGreaterThan(0);
    expect([ours.finalAlphaCumprod, ldm.finalAlphaCumprod]).toEqual([1, ldm.alphasCumprod[0]]);
    for (const steps of [3, 9, 27, 36, 37, 300, 333, 999, 1000]) {
      expect(all({ spacing: "uniform", steps }).steps).toHaveLength(steps);
      expect(() => all({ steps, compat: "ldm" })).toThrow(/ends at|t = 1000|reaches/);
    }
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

  it("9. adds no noise in the last step, wherever that starts; σ̂ does by its definition, with a warning, and is no NaN", () => {
    for (const spacing of ["trailing", "leading", "linspace"] as const)
      for (const steps of [2, 10, 50])
        for (const options of [{ eta: 1 }, { sampler: "ddpm" }] as const) {
          const { steps: list, warnings } = all({ spacing, steps, ...options });
          expect(list.at(-1)!.sigma).toBe(0);
          expect(list.slice(0, -1).every(({ sigma }) => sigma > 0)).toBe(true);
          expect(warnings.join()).not.toMatch(/the last step adds noise/);
        }
    const large = all({ variance_type: "fixed_large_log", sampler: "ddpm", spacing: "trailing", steps: 10 });
    const { alphaCumprod: a, alphaCumprodPrev: p, sigma } = large.steps[0]!;
    expect(sigma).toBe(hatSigma(a, p));
    expect(large.warnings.join()).toMatch(/the last step adds noise of standard deviation 0\.3/);
    expect(() => all({ variance_type: "fixed_large_log", sampler: "ddpm", compat: "diffusers" })).toThrow(/NaN/);
  });

  it("10. has one float32 state whatever the network computes in, and steps that depend on the state alone", () => {
    // Batches of 1, 2, 7, 16: test/pipeline/batches.test.ts. Shards and resumed runs, to the bit: test/pipeline/rules.test.ts.
    const plan = planSchedule(all({ steps: 20, eta: 0.5 }));
    const values = stateValues({ shape: [3, 8, 8], plan, images: [0] });
    expect([values.x.dtype, values.x0.dtype, values.history.dtype]).toEqual(["f32", "f32", "f32"]);
    const [a, b] = [all({ steps: 20, eta: 0.5 }), all({ steps: 20, eta: 0.5 })];
    expect(a).toEqual(b);
    const rest = all({ timesteps: a.steps.slice(7).map((s) => s.t), eta: 0.5 });
    expect(rest.steps).toEqual(a.steps.slice(7));
  });
});
