/** DDPM and DDIM with eta 1 over all thousand timesteps, from one seed, on the GPU's kernels. */
import { describe, expect, it } from "vitest";
import { sample } from "../../src/sampler/sample.ts";
import { makeSchedule, type ScheduleOptions } from "../../src/sampler/schedule.ts";
import { nmse } from "../reference/tensor.ts";
import { testDevice } from "../support/gpu.ts";
import { denoiser } from "./gpuRuns.ts";

const shape = [1, 3, 4, 4] as const;
const xT = Float32Array.from({ length: 48 }, (_, i) => 1.2 * Math.sin(i ** 1.5));

describe("a thousand steps of ddpm and of eta 1 with one seed", () => {
  const { alphasCumprod } = makeSchedule({ steps: 1 });
  // The exact network of normal data of deviation 0.8: it leaves ±1 often enough for clipping to count.
  const normal = (x: number, t: number) => {
    const a = alphasCumprod[t]!;
    return (Math.sqrt(1 - a) * x) / (0.64 * a + 1 - a);
  };
  const run = async (options: ScheduleOptions) => {
    const schedule = makeSchedule({ steps: 1000, ...options });
    const device = await testDevice();
    const { x } = await sample({ denoise: denoiser(normal, shape), schedule, xT, shape, seed: 5, device });
    expect(x.every(Number.isFinite)).toBe(true);
    return x;
  };

  it("agree, with and without clipping; those of diffusers do not where x0 is clipped", async () => {
    const [free, clipped] = [await run({ sampler: "ddpm", clip: false }), await run({ sampler: "ddpm", clip: true })];
    expect(nmse(await run({ eta: 1, clip: false }), free)).toBeLessThan(1e-6);
    expect(nmse(await run({ eta: 1, clip: true }), clipped)).toBeLessThan(1e-6);
    expect(nmse(clipped, free)).toBeGreaterThan(1e-3);
    const compat = { compat: "diffusers", clip: true } as const;
    expect(nmse(await run({ ...compat, eta: 1 }), await run({ ...compat, sampler: "ddpm" }))).toBeGreaterThan(1e-3);
  });
});
