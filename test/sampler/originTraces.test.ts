/** Whole runs of ermongroup/ddim, latent-diffusion and OpenAI's code, reproduced by their compat modes. */
import { describe, expect, it } from "vitest";
import { referenceStep } from "../../src/sampler/referenceStep.ts";
import { makeSchedule, type ScheduleStep } from "../../src/sampler/schedule.ts";
import { type OriginTrace, originSystems } from "./originOptions.ts";
import { deviation, golden, goldenNames, networks, tensors } from "./traces.ts";

function apply(trace: OriginTrace, step: ScheduleStep, x: Float64Array, noise?: Float64Array) {
  const m = x.map((v) => networks[trace.net]!(v, step.tNetwork));
  const variance = x.map((v) => Math.sin(v + 0.002 * step.tNetwork));
  return referenceStep(step, x, m, noise, { variance });
}

for (const [system, optionsOf] of Object.entries(originSystems)) {
  // Guidance and in-painting are not the schedule's: sampleTraces.test.ts.
  const names = goldenNames(`origin/${system}/`, "dd").filter((name) => !/cfg|inpaint/.test(name));
  describe(`compat of traces-${system}`, () => {
    it("there are traces to compare with", () => expect(names.length).toBeGreaterThan(6));

    it.each(names)("%s", (name) => {
      const trace = golden<OriginTrace>(name);
      const recorded = tensors(name.replace(/json$/, "safetensors"));
      const { steps } = makeSchedule(optionsOf(trace));
      expect(steps.map((s) => s.tNetwork)).toEqual(trace.timesteps_as_passed);
      const size = recorded.x!.length / (steps.length + 1);
      const row = (key: string, i: number) => recorded[key]?.subarray(i * size, (i + 1) * size);
      // 1 - ᾱ_prev - σ² cancels in OpenAI's float32 at ᾱ_t = 2e-9.
      const cancels = name.endsWith("ddim-b-cosine-10-eta1-clip.json");
      let x: Float64Array = row("x", 0)!;
      for (const [i, step] of steps.entries()) {
        const alone = apply(trace, step, row("x", i)!, row("noise", i));
        expect(deviation(alone.x0, row("x0", i)!)).toBeLessThan(3e-5);
        expect(deviation(alone.x, row("x", i + 1)!)).toBeLessThan(cancels && i === 0 ? 4e-4 : 3e-5);
        x = apply(trace, step, x, row("noise", i)).x;
      }
      expect(deviation(x, recorded.x_final_f64 ?? row("x", steps.length)!)).toBeLessThan(1e-5);
    });
  });
}

describe("ermongroup's float64 runs, without the float32 of its compat mode", () => {
  const right = goldenNames("origin/ddim/", "ddim-").filter((name) => {
    const { dtype, timesteps_as_passed: t } = golden<OriginTrace>(name);
    return dtype === "float64" && new Set(t).size === t.length;
  });
  it.each(right)("%s to 1e-11", (name) => {
    const trace = golden<OriginTrace>(name);
    const recorded = tensors(name.replace(/json$/, "safetensors"));
    const { steps } = makeSchedule({ timesteps: trace.timesteps_as_passed, eta: trace.eta, clip: false });
    const size = recorded.x!.length / (steps.length + 1);
    let x: Float64Array = recorded.x!.subarray(0, size);
    for (const [i, step] of steps.entries()) {
      x = apply(trace, step, x, recorded.noise?.subarray(i * size, (i + 1) * size)).x;
      expect(deviation(x, recorded.x!.subarray((i + 1) * size, (i + 2) * size))).toBeLessThan(1e-11);
    }
  });
});

describe("the tables of latent-diffusion's sampler", () => {
  type Table = Record<"timesteps" | "alphas" | "alphas_prev" | "sigmas" | "sqrt_one_minus_alphas", number[]>;
  const tables = Object.entries(golden<Record<string, Table>>("origin/ldm-schedule-tables.json"));
  it("there are some", () => expect(tables).toHaveLength(24));

  it.each(tables)("%s", (name, recorded) => {
    const [, start, end, discretize, steps, eta] = /^(.+)\.\.(.+)\/([a-z]+)(\d+)\/eta(.+)$/.exec(name)!;
    const trace = { schedule: { linear_start: Number(start), linear_end: Number(end) }, discretize, eta: Number(eta) };
    const options = originSystems.ldm!({ ...trace, steps: Number(steps), temperature: 1 } as OriginTrace);
    const ours = makeSchedule(options).steps.reverse();
    expect(ours.map((s) => s.tNetwork)).toEqual(recorded.timesteps);
    expect(ours.map((s) => s.alphaCumprod)).toEqual(recorded.alphas);
    expect(ours.map((s) => s.alphaCumprodPrev)).toEqual(recorded.alphas_prev);
    expect(
      deviation(
        ours.map((s) => s.sigma),
        recorded.sigmas,
      ),
    ).toBeLessThan(1e-6);
    expect(
      deviation(
        ours.map((s) => Math.sqrt(1 - s.alphaCumprod)),
        recorded.sqrt_one_minus_alphas,
      ),
    ).toBeLessThan(1e-6);
  });
});
