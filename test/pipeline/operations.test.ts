/** Inversion, interpolation, fusion, editing, the forward process and the bound, with the smallest shipped model. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { DiffusionPipeline } from "../../src/pipeline/pipeline.ts";
import type { Tensor } from "../../src/pipeline/types.ts";
import { initialNoise } from "../../src/sampler/philox.ts";
import { slerp } from "../../src/sampler/slerp.ts";
import { nmse } from "../reference/tensor.ts";
import { load, shippedPath } from "../support/models.ts";

let pipe: DiffusionPipeline;
/** Two avatars. */
let images: Tensor;
const size = 768;
const one = (i: number): Tensor => ({ shape: [1, 3, 16, 16], data: images.data.slice(i * size, (i + 1) * size) });

beforeAll(async () => {
  pipe = await load(shippedPath("pixel-avatars-16"));
  ({ samples: images } = await pipe.generate({ seed: 20, count: 2, steps: 20, classes: [1], spacing: "trailing" }));
});
afterAll(() => pipe.dispose());

describe("invert and reconstruct", () => {
  const run = (convention: "next" | "current" | "fixed-point" | "exact", steps = 10) =>
    pipe.reconstruct(images, { convention, steps, spacing: "trailing", classes: [1], iterations: 4 });

  it("fixed-point is better than either convention, exact is exact, and more steps are better", async () => {
    const [next, current, fixed, exact] = [
      await run("next"),
      await run("current"),
      await run("fixed-point"),
      await run("exact"),
    ];
    for (const i of [0, 1]) {
      expect(fixed.mse[i]).toBeLessThan(next.mse[i]! / 2);
      expect(fixed.mse[i]).toBeLessThan(current.mse[i]! / 2);
      expect(exact.mse[i]).toBeLessThan(1e-7);
      expect(exact.psnr[i]).toBeCloseTo(10 * Math.log10(4 / exact.mse[i]!), 6);
    }
    expect((await run("next", 40)).mse[0]).toBeLessThan(next.mse[0]!);
    expect(fixed.residuals).toHaveLength(2);
    expect(fixed.residuals![0]).toHaveLength(10);
    expect(fixed.residuals!.flat().every((r) => r >= 0 && r < 1)).toBe(true);
    expect(fixed.residuals!.flat().some((r) => r > 0)).toBe(true);
    expect(next.residuals).toBeNull();
    expect(exact.companion?.shape).toEqual([2, 3, 16, 16]);
  });

  it("nothing is clipped on the way back unless asked for, also where options are named and undefined", async () => {
    const options = { convention: "next", steps: 4, spacing: "trailing", classes: [1] } as const;
    const back = async (more: object) => (await pipe.reconstruct(images, { ...options, ...more })).generation.samples;
    const { data } = await back({});
    expect(Math.max(...data)).toBeGreaterThan(1);
    expect((await back({ clip: undefined, threshold: undefined })).data).toEqual(data);
    const clipped = await back({ clip: true });
    expect(Math.max(...clipped.data)).toBeLessThanOrEqual(1);
  });

  it("a system's own inversion clips as the model's configuration says", async () => {
    const run = async (more: object) =>
      (await pipe.invert(images, { convention: "next", steps: 4, spacing: "trailing", classes: [1], ...more })).latents;
    // The shipped model's scheduler has clip_sample.
    const theirs = await run({ compat: "diffusers" });
    expect((await run({ compat: "diffusers", clip: true })).data).toEqual(theirs.data);
    expect(nmse((await run({ compat: "diffusers", clip: false })).data, theirs.data)).toBeGreaterThan(1e-6);
    expect((await run({ clip: true })).data).toEqual((await run({})).data);
  });

  it("latents have the size of noise, and a single step goes there and back", async () => {
    const { latents } = await pipe.invert(images, { steps: 30, classes: [1] });
    const variance = latents.data.reduce((s, v) => s + v * v, 0) / latents.data.length;
    expect(variance).toBeGreaterThan(0.5);
    expect(variance).toBeLessThan(1.6);
    const { mse } = await pipe.reconstruct(images, {
      steps: 1,
      spacing: "trailing",
      convention: "exact",
      classes: [1],
    });
    expect(Math.max(...mse)).toBe(0);
  });

  it("refuses what has no inverse", async () => {
    await expect(pipe.invert(images, { convention: "back" as never })).rejects.toThrow(/convention must be one of/);
    await expect(pipe.invert(images, { iterations: 0 })).rejects.toThrow(/iterations/);
    await expect(pipe.invert({ shape: [1, 1, 16, 16], data: new Float32Array(256) })).rejects.toThrow(
      /images has shape/,
    );
  });
});

describe("interpolate and fuse", () => {
  const options = { steps: 4, spacing: "trailing", classes: [2] } as const;
  it("ends at the seeds' own images, and samples the slerp between", async () => {
    const row = await pipe.interpolate([3, 9n], { ...options, at: [0, 0.3, 1] });
    const own = (seed: number) => pipe.generate({ ...options, seed });
    expect(nmse(row.samples.data.subarray(0, size), (await own(3)).samples.data)).toBeLessThan(1e-8);
    expect(nmse(row.samples.data.subarray(2 * size), (await own(9)).samples.data)).toBeLessThan(1e-8);
    const [a, b] = [initialNoise(3n, 0, 3, 16, 16), initialNoise(9n, 0, 3, 16, 16)];
    const noise: Tensor = { shape: [1, 3, 16, 16], data: Float32Array.from(slerp(a, b, 0.3)) };
    const middle = await pipe.generate({ ...options, noise });
    expect(row.samples.data.subarray(size, 2 * size)).toEqual(middle.samples.data);
  });

  it("fills a grid between four corners", async () => {
    const grid = await pipe.interpolate([1, 2, 3, 4], { ...options, n: 3 });
    expect(grid.samples.shape).toEqual([9, 3, 16, 16]);
    const corners = await Promise.all([1, 2, 3, 4].map((seed) => pipe.generate({ ...options, seed })));
    [0, 2, 6, 8].forEach((place, i) => {
      const found = grid.samples.data.subarray(place * size, (place + 1) * size);
      expect(nmse(found, corners[i]!.samples.data)).toBeLessThan(1e-8);
    });
    await expect(pipe.interpolate([1, 2, 3])).rejects.toThrow(/two latents or four/);
    await expect(pipe.interpolate([1, 2], { at: [5] })).rejects.toThrow(/at must hold/);
    await expect(pipe.interpolate([1, 2], { at: [0, 1], n: 2 })).rejects.toThrow(/n counts the places/);
  });

  it("fuses two images into something between them", async () => {
    const { samples } = await pipe.fuse(one(0), one(1), {
      steps: 10,
      spacing: "trailing",
      classes: [1],
      mix: [0, 0.5, 1],
    });
    const distance = (k: number, i: number) => nmse(samples.data.subarray(k * size, (k + 1) * size), one(i).data);
    expect(distance(0, 0)).toBeLessThan(distance(1, 0));
    expect(distance(2, 1)).toBeLessThan(distance(1, 1));
    expect(distance(0, 0)).toBeLessThan(0.1);
    await expect(pipe.fuse(one(0), one(1), { convention: "exact" })).rejects.toThrow(/pairs that cannot be mixed/);
  });
});

describe("edit", () => {
  const options = { steps: 5, seed: 1, classes: [1] } as const;
  it("keeps more of the image the less noise it gets, at exactly that noise", async () => {
    const away = async (strength: number) =>
      nmse((await pipe.edit(one(0), { ...options, strength })).samples.data, one(0).data);
    const [little, much] = [await away(0.1), await away(0.95)];
    expect(little).toBeLessThan(0.05);
    expect(much).toBeGreaterThan(2 * little);
    const seen: number[] = [];
    await pipe.edit(one(0), { ...options, strength: 0.37, onStep: (s) => seen.push(s.t) });
    expect(seen).toHaveLength(5);
    expect(seen[0]).toBe(369);
  });

  it("takes the steps that fit below a small strength, and says so", async () => {
    const taken = async (more: object) => {
      const { steps, warnings } = await pipe.edit(one(0), { ...options, ...more });
      return [steps, warnings.filter((text) => text.includes("strength"))];
    };
    const said = (strength: number, t: number, fit: number) => [
      `strength ${strength} begins at t = ${t}, where ${fit} of 50 steps fit: those are taken`,
    ];
    expect(await taken({ strength: 0.02, steps: 50 })).toEqual([20, said(0.02, 19, 20)]);
    expect(await taken({ strength: 0.0001, steps: 50 })).toEqual([1, said(0.0001, 0, 1)]);
    expect(await taken({ strength: 0.02, steps: 50, stop: 9 })).toEqual([10, said(0.02, 19, 10)]);
    expect(await taken({ strength: 0.02, steps: undefined })).toEqual([20, []]);
    expect(await taken({ strength: 0.02, steps: 20 })).toEqual([20, []]);
    // What says its own number of steps is refused by what there is.
    const sections = pipe.edit(one(0), { strength: 0.02, spacing: "10,10,5" });
    await expect(sections).rejects.toThrow(/from 1 to 20 \(the timesteps from t = 19 down to 0\), got 25/);
    const start = pipe.generate({ start: 19, steps: 50, classes: [1] });
    await expect(start).rejects.toThrow(
      /steps must be .* from 1 to 20 \(the timesteps from t = 19 down to 0\), got 50/,
    );
  });

  it.each([undefined, { jump: 2, resamples: 3 }])(
    "paints under the mask and nothing else (repaint %j)",
    async (repaint) => {
      const mask: Tensor = {
        shape: [1, 1, 16, 16],
        data: Float32Array.from({ length: 256 }, (_, p) => (p < 128 ? 1 : 0)),
      };
      const steps: number[] = [];
      const { samples } = await pipe.edit(images, { ...options, mask, repaint, onStep: (s) => steps.push(s.t) });
      let painted = 0;
      samples.data.forEach((v, j) => {
        if (j % 256 < 128) expect(v).toBe(images.data[j]);
        else painted += Math.abs(v - images.data[j]!);
      });
      expect(painted / (3 * 2 * 128)).toBeGreaterThan(0.05);
      // 5 steps in blocks of two, three times each.
      expect(steps).toHaveLength(repaint ? 15 : 5);
    },
  );

  it("refuses contradictions", async () => {
    await expect(pipe.edit(one(0), { strength: 2 })).rejects.toThrow(/strength must be above 0/);
    await expect(pipe.edit(one(0), { strength: 0.5, start: 3 })).rejects.toThrow(/say the same/);
    await expect(pipe.edit(one(0), { repaint: { jump: 1, resamples: 2 } })).rejects.toThrow(/there is none/);
    const mask: Tensor = { shape: [1, 1, 8, 8], data: new Float32Array(64) };
    await expect(pipe.edit(one(0), { mask })).rejects.toThrow(/mask has shape/);
  });
});

describe("noise and evalTerms", () => {
  it("the forward process is √ᾱ x0 + √(1 - ᾱ) z", () => {
    const noisy = pipe.noise(images, [0, 999], { seed: 6 });
    expect(noisy.shape).toEqual([4, 3, 16, 16]);
    expect(nmse(noisy.data.subarray(0, 2 * size), images.data)).toBeLessThan(0.01);
    const z = initialNoise(6n, 1, 3, 16, 16);
    expect(nmse(noisy.data.subarray(3 * size), z)).toBeLessThan(0.01);
  });

  it("a trained model predicts its own images' noise, better than zero, and its bound is a few bits", async () => {
    const seen: number[] = [];
    const terms = await pipe.network.evalTerms(images, {
      steps: 10,
      classes: [1],
      onEvaluation: (done) => seen.push(done),
    });
    expect(seen).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(terms.map((t) => t.steps.length)).toEqual([10, 10]);
    for (const { steps, prior, total } of terms) {
      expect(steps.every((s) => s.mse > 0 && s.mse < 1.2 && s.bound > -1)).toBe(true);
      expect(steps[0]!.mse).toBeLessThan(steps.at(-1)!.mse);
      expect(steps[0]!.x0Mse).toBeGreaterThan(steps.at(-1)!.x0Mse);
      expect(prior).toBeGreaterThan(0);
      expect(prior).toBeLessThan(0.01);
      expect(total).toBeCloseTo(prior + steps.reduce((s, v) => s + v.bound, 0), 10);
    }
    // Fewer steps say less about the image: their bound is looser.
    const [finer] = await pipe.network.evalTerms(images, { steps: 100, classes: [1] });
    expect(finer!.total).toBeLessThan(terms[0]!.total / 2);
    expect(finer!.total).toBeGreaterThan(0.5);
  });
});
