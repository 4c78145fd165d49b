/** The rules that do not come from diffusers, the original systems' lists, windows, and the papers' way to count. */
import { describe, expect, it } from "vitest";
import { UsageError } from "../../src/runtime/errors.ts";
import { makeSchedule, type ScheduleOptions } from "../../src/sampler/schedule.ts";
import type { TimestepSpacing } from "../../src/sampler/timesteps.ts";
import { golden } from "./traces.ts";

const ascending = (options: ScheduleOptions) =>
  makeSchedule(options)
    .steps.map((s) => s.t)
    .reverse();

type Recorded =
  | number[]
  | { error: string }
  | { steps: number[]; make_schedule?: object; create_gaussian_diffusion?: object };
const origin = golden<Record<string, Record<string, Recorded>>>("origin/timesteps.json");

/** The list that the original can run, or null. */
function runnable(recorded: Recorded): number[] | null {
  if (Array.isArray(recorded)) return recorded;
  if ("error" in recorded || recorded.make_schedule || recorded.create_gaussian_diffusion) return null;
  return recorded.steps;
}

describe("lists of the original systems", () => {
  const rules: Record<string, (S: string) => ScheduleOptions> = {
    ddim_uniform: (S) => ({ compat: "ermongroup", spacing: "uniform", steps: Number(S) }),
    ddim_quad: (S) => ({ compat: "ermongroup", spacing: "quad", steps: Number(S) }),
    ldm_uniform: (S) => ({ compat: "ldm", spacing: "uniform", steps: Number(S) }),
    ldm_quad: (S) => ({ compat: "ldm", spacing: "quad", steps: Number(S) }),
    openai_N: (S) => ({ compat: "openai", spacing: S as TimestepSpacing }),
    openai_ddimN: (S) => ({ compat: "openai", spacing: `ddim${Number(S)}` }),
    openai_sections: (key) => {
      const [T, sections] = key.split(":");
      return { compat: "openai", num_train_timesteps: Number(T), spacing: sections as TimestepSpacing };
    },
  };
  for (const [rule, optionsOf] of Object.entries(rules)) {
    // "ddim" without a number is our own name for the rule.
    it.each(Object.entries(origin[rule]!).filter(([key]) => key !== "1000:ddim"))(`${rule} %s`, (key, recorded) => {
      // More steps than timesteps are refused here; ermongroup's and latent-diffusion's quad would repeat most of them.
      const expected = key === "1001" ? null : runnable(recorded);
      if (expected) expect(ascending(optionsOf(key))).toEqual(expected);
      else expect(() => makeSchedule(optionsOf(key))).toThrow(UsageError);
    });
  }

  it("say when they are not what was asked for", () => {
    const about = (options: ScheduleOptions) => makeSchedule(options).warnings.join("\n");
    expect(about({ compat: "ermongroup", steps: 30 })).toMatch(/31 steps are taken for 30/);
    expect(about({ compat: "ldm", spacing: "quad", steps: 50 })).toMatch(/1 of 50 steps repeat a timestep/);
    expect(() => makeSchedule({ compat: "ermongroup", spacing: "trailing" })).toThrow(/which has uniform and quad/);
    expect(() => makeSchedule({ compat: "openai", spacing: "quad" })).toThrow(/which has ddimN and sections/);
  });
});

describe("our lists of the same names", () => {
  it("sections are OpenAI's but for halves, which its accumulated floats decide", () => {
    const halves: Record<string, number[]> = { "1000:25,25": [249, 749], "300:10,15,20": [149] };
    for (const [key, recorded] of Object.entries(origin.openai_sections!)) {
      const [T, spacing] = key.split(":") as [string, TimestepSpacing];
      const list = runnable(recorded);
      if (!list) continue;
      const ours = ascending({ num_train_timesteps: Number(T), spacing });
      const differing = list.filter((t, i) => t !== ours[i]);
      expect(ours).toHaveLength(list.length);
      expect(list.every((t, i) => Math.abs(t - ours[i]!) <= 1)).toBe(true);
      expect(differing).toEqual(halves[key] ?? []);
    }
  });

  it("ddimN names the nearest number that works", () => {
    expect(ascending({ spacing: "ddim25" })).toEqual(Array.from({ length: 25 }, (_, i) => 40 * i));
    expect(ascending({ spacing: "ddim", steps: 25 })).toEqual(ascending({ spacing: "ddim25" }));
    expect(() => makeSchedule({ spacing: "ddim", steps: 41 })).toThrow(
      /ddim spacing has no list of 41 .* works is 40$/,
    );
    expect(() => makeSchedule({ spacing: "ddim", steps: 999 })).toThrow(/works is 1000$/);
    expect(() => makeSchedule({ spacing: "ddim60" })).toThrow(/no list of 60 steps over 1000 timesteps$/);
    expect(ascending({ spacing: "ddim", steps: 1 })).toEqual([0]);
  });

  it("a name that says its number must agree with steps", () => {
    expect(makeSchedule({ spacing: "10,10,5", steps: 25 }).steps).toHaveLength(25);
    expect(() => makeSchedule({ spacing: "10,10,5", steps: 24 })).toThrow(/steps is 24, but the spacing lists 25/);
    expect(() => makeSchedule({ spacing: "0" })).toThrow(/steps must be a whole number/);
  });

  it.each(["power:0", "power:-1", "power:", "ddimx", "10,,5", "even", "toString"])("%s is not a rule", (spacing) => {
    expect(() => makeSchedule({ spacing: spacing as TimestepSpacing })).toThrow(
      /spacing must be one of leading, trailing/,
    );
  });
});

describe("power:p", () => {
  it("is denser near t = 0 above 1, near t = T below 1, and linspace at 1", () => {
    expect(ascending({ spacing: "power:2", steps: 5 })).toEqual([0, 62, 250, 562, 999]);
    expect(ascending({ spacing: "power:0.5", steps: 5 })).toEqual([0, 500, 706, 865, 999]);
    expect(ascending({ spacing: "power:1", steps: 334 })).toEqual(ascending({ spacing: "linspace", steps: 334 }));
    expect(ascending({ spacing: "power:2", steps: 1 })).toEqual([999]);
  });
});

describe("by noise level", () => {
  const levels = (options: ScheduleOptions) =>
    makeSchedule(options).steps.map(({ alphaCumprod: a }) => 0.5 * Math.log((1 - a) / a));

  it("logsnr is uniform in log σ up to the nearest timestep", () => {
    const log = levels({ spacing: "logsnr", steps: 8 });
    const gap = (log[0]! - log[7]!) / 7;
    for (let i = 0; i < 8; i++) expect(Math.abs(log[i]! - (log[0]! - i * gap))).toBeLessThan(0.15);
    expect(ascending({ spacing: "logsnr", steps: 8 })[0]).toBe(0);
    expect(ascending({ spacing: "logsnr", steps: 8 })[7]).toBe(999);
  });

  it("karras is uniform in σ^(1/7)", () => {
    const warped = levels({ spacing: "karras", steps: 8 }).map((l) => Math.exp(l / 7));
    const gap = (warped[0]! - warped[7]!) / 7;
    for (let i = 0; i < 8; i++) expect(Math.abs(warped[i]! - (warped[0]! - i * gap))).toBeLessThan(0.02);
  });

  it("ays lists are as published, for ten steps of a thousand", () => {
    expect(ascending({ spacing: "ays-sd", steps: 10 })).toEqual([24, 124, 233, 343, 455, 545, 645, 736, 850, 999]);
    expect(ascending({ spacing: "ays-sdxl", steps: 10 })).toEqual([13, 53, 116, 193, 310, 443, 587, 730, 845, 999]);
    expect(() => makeSchedule({ spacing: "ays-sd", steps: 20 })).toThrow(/works is 10$/);
    expect(() => makeSchedule({ spacing: "ays-sd", steps: 10, num_train_timesteps: 500 })).toThrow(/500 timesteps$/);
  });
});

describe("start and stop", () => {
  it.each<TimestepSpacing>(["leading", "trailing", "linspace", "uniform", "quad", "logsnr", "karras", "power:2"])(
    "%s starts exactly at start and leads exactly to stop",
    (spacing) => {
      for (const steps of [1, 2, 7, 50, 399]) {
        const s = makeSchedule({ spacing, steps, start: 600, stop: 200 });
        expect(s.steps).toHaveLength(steps);
        expect(s.steps[0]!.t).toBe(600);
        expect(s.steps.every((p, i) => p.t > 200 && (i === 0 || p.t < s.steps[i - 1]!.t))).toBe(true);
        expect(s.steps.at(-1)!.tPrev).toBe(200);
        expect(s.finalAlphaCumprod).toBe(s.alphasCumprod[200]);
        expect(s.steps.at(-1)!.alphaCumprodPrev).toBe(s.alphasCumprod[200]);
        expect(s.warnings).toEqual([]);
      }
    },
  );

  it("the whole range is the default", () => {
    const { steps } = makeSchedule({ spacing: "trailing", steps: 9, start: 999 });
    expect(steps).toEqual(makeSchedule({ spacing: "trailing", steps: 9 }).steps);
  });

  it("two runs joined at stop are one run", () => {
    const timesteps = [900, 700, 400, 200, 50];
    const whole = makeSchedule({ timesteps, eta: 0.3 }).steps;
    const first = makeSchedule({ timesteps: timesteps.slice(0, 2), stop: 400, eta: 0.3 }).steps;
    const second = makeSchedule({ timesteps: timesteps.slice(2), eta: 0.3 }).steps;
    expect([...first, ...second]).toEqual(whole);
  });

  it.each<[ScheduleOptions, RegExp]>([
    [{ start: 1000 }, /start must be a whole number from 0 to 999/],
    [{ start: 20.5 }, /start must be/],
    [{ start: 300, stop: 300 }, /stop must be a whole number from 0 to 299/],
    [{ start: 300, stop: 250, steps: 51 }, /steps must be a whole number from 1 to 50/],
    [{ timesteps: [5, 2], start: 4 }, /start cannot be chosen together with timesteps/],
    [{ timesteps: [5, 2], stop: 2 }, /stop must be a whole number below the last timestep 2/],
    [{ start: 5, compat: "diffusers" }, /start cannot be chosen under compat diffusers/],
    [{ stop: 5, compat: "ldm" }, /stop cannot be chosen under compat ldm/],
  ])("%j is refused", (options, message) => {
    expect(() => makeSchedule(options)).toThrow(UsageError);
    expect(() => makeSchedule(options)).toThrow(message);
  });
});

describe("lists out of papers", () => {
  const stride = (from: number, by: number, count: number) => Array.from({ length: count }, (_, i) => from + by * i);

  it("[981, 961, …, 1] counts from 0", () => {
    expect(makeSchedule({ timesteps: stride(981, -20, 50) }).steps.at(-1)!.t).toBe(1);
  });

  it("1000, 980, … counts from 1, and without saying so is an error that says so", () => {
    const timesteps = stride(1000, -20, 50);
    expect(() => makeSchedule({ timesteps })).toThrow(/got 1000; .* needs timestep base 1$/);
    const { steps } = makeSchedule({ timesteps, timestepBase: 1 });
    expect([steps[0]!.t, steps.at(-1)!.t]).toEqual([999, 19]);
  });

  it("1, 100, …, 1000 may ascend", () => {
    const timesteps = [1, ...stride(100, 100, 10)];
    expect(ascending({ timesteps, timestepBase: 1 })).toEqual(timesteps.map((t) => t - 1));
    expect(() => makeSchedule({ timesteps: [0, 5], timestepBase: 1 })).toThrow(/from 1 to 1000, got 0/);
    expect(() => makeSchedule({ steps: 5, timestepBase: 1 })).toThrow(/none are listed/);
    expect(() => makeSchedule({ timesteps: [1, 5], timestepBase: 2 as never })).toThrow(/timestep base must be 0 or 1/);
  });
});
