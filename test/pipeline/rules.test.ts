/** Every rule of the sampler through the pipeline: bits that depend on nothing but the image, and what options do. */
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { DiffusionPipeline } from "../../src/pipeline/pipeline.ts";
import type { GenerateOptions, SavedRun, Tensor } from "../../src/pipeline/types.ts";
import { UsageError } from "../../src/runtime/errors.ts";
import { Program } from "../../src/runtime/program.ts";
import { nmse } from "../reference/tensor.ts";
import { goldenPath, load, readFolder, shippedPath, sourceOf, splitSafetensors, WEIGHTS } from "../support/models.ts";
import { rawSafetensors } from "../weights/memory-source.ts";

let pipe: DiffusionPipeline;
let plain: DiffusionPipeline;
beforeAll(async () => {
  pipe = await load(shippedPath("pixel-avatars-16"));
  plain = await load(goldenPath("pipelines/eps_clip"));
});
afterAll(() => {
  pipe.dispose();
  plain.dispose();
});

const image = ({ shape, data }: Tensor, i: number) => {
  const size = data.length / shape[0]!;
  return data.subarray(i * size, (i + 1) * size);
};

const rules: [string, GenerateOptions][] = [
  ["eta 0.5", { eta: 0.5 }],
  ["ddpm with thresholding", { sampler: "ddpm", threshold: { ratio: 0.9, max: 3 } }],
  [
    "guidance per image, interval, rescale, negative class",
    {
      eta: 0.3,
      guidance: [2, 1, 3],
      guidanceInterval: [100, 900],
      guidanceRescale: 0.6,
      negativeClass: 0,
      classes: [1, 2],
    },
  ],
  ["dpmpp2m", { sampler: "dpmpp2m" }],
  ["plms, antithetic", { sampler: "plms", antithetic: true, clip: false }],
  ["cuda, eta 0.7", { rng: "cuda", eta: 0.7 }],
  ["torch, antithetic, σ̂", { rng: "torch", antithetic: true, sigma: "hat", temperature: 0.5 }],
];

describe.each(rules)("%s", (_, rule) => {
  const base: GenerateOptions = { steps: 4, spacing: "trailing", seed: 11, ...rule };

  it("image i is the same in any batch, in a shard, and resumed", async () => {
    const whole = await pipe.generate({ ...base, count: 7, batch: 7 });
    for (const batch of [1, 2]) {
      const { samples, images } = await pipe.generate({ ...base, count: 7, batch });
      expect(samples.data).toEqual(whole.samples.data);
      expect(images).toEqual(whole.images);
    }
    const shard = await pipe.generate({ ...base, count: 3, firstImage: 4 });
    for (const i of [0, 1, 2]) expect(image(shard.samples, i)).toEqual(image(whole.samples, 4 + i));

    let saved: SavedRun | undefined;
    for await (const step of pipe.steps({ ...base, count: 7, batch: 3 })) {
      if (step.image < 3 || step.index !== 1) continue;
      saved = await step.save();
      break;
    }
    expect(saved).toMatchObject({ first: 3, row: 2, batch: 3, seed: 11n });
    const { seed, ...unseeded } = base;
    for (const again of [base, unseeded]) {
      const resumed = await pipe.generate({ ...again, count: 7, resume: saved });
      expect(resumed.samples.data).toEqual(whole.samples.data);
      expect(resumed.images).toEqual(whole.images);
    }
    const other = pipe.generate({ ...base, count: 7, steps: 5, resume: saved });
    await expect(other).rejects.toThrow(/saved state is of a run with other options/);
  });
});

describe("a saved run", () => {
  it("belongs to the weights, wherever they lie, and to the type they are computed in", async () => {
    const folder = shippedPath("pixel-avatars-16");
    const options: GenerateOptions = { steps: 3, seed: 2, classes: [0] };
    let saved: SavedRun | undefined;
    for await (const step of pipe.steps(options)) {
      saved = await step.save();
      break;
    }
    const resume = async (...model: Parameters<typeof load>) => {
      using other = await load(...model);
      return (await other.generate({ ...options, resume: saved })).samples.data;
    };
    const { data } = (await pipe.generate(options)).samples;
    expect(await resume(sourceOf(folder, {}, "moved and renamed"))).toEqual(data);
    const { header, data: bytes } = splitSafetensors(readFolder(folder)[WEIGHTS]!);
    for (const at of [0, bytes.length >> 1, bytes.length - 1]) {
      const retrained = Uint8Array.from(bytes, (byte, i) => (i === at ? byte ^ 1 : byte));
      const changed = sourceOf(folder, { [WEIGHTS]: rawSafetensors(header, retrained) }, "pixel-avatars-16");
      await expect(resume(changed)).rejects.toThrow(/saved state is of a run with other options or another model/);
    }
    await expect(resume(folder, { dtype: "f16" })).rejects.toThrow(/other options or another model/);
    saved = { ...(saved as SavedRun), fingerprint: "0123456789abcdef" };
    await expect(resume(folder)).rejects.toThrow(/saved state is of an earlier version/);
  });

  it("is refused where a field is not what it should be, or differs in a single bit", async () => {
    const options: GenerateOptions = { steps: 3, seed: 2, classes: [0], count: 3, batch: 2, sampler: "dpmpp2m" };
    let saved: SavedRun | undefined;
    for await (const step of pipe.steps(options))
      if (step.image === 2 && step.index === 1) {
        saved = await step.save();
        break;
      }
    const { state, history, done, ...rest } = saved!;
    const whole = { ...rest, state, history, done };
    const nudged = (data: Float32Array) => data.map((v, i) => (i === 5 ? -v : v));
    const changes: object[] = [
      { row: null },
      { row: 4 },
      { row: Number.NaN },
      { batch: 3 },
      { batch: 0.5 },
      { first: 0 },
      { first: 4 },
      { seed: 2 },
      { seed: 3n },
      { fingerprint: 2 },
      { checksum: "00" },
      { checksum: undefined },
      { state: { ...state, data: nudged(state.data) } },
      { state: { ...state, data: [...state.data] } },
      { state: { shape: [768], data: state.data } },
      { state: null },
      { history: nudged(history) },
      { history: undefined },
      { history: history.subarray(1) },
      { done: nudged(done) },
      { done: new Float32Array() },
    ];
    for (const change of changes) {
      const resumed = pipe.generate({ ...options, resume: { ...whole, ...change } as SavedRun, seed: 2 });
      await expect(resumed, JSON.stringify(Object.keys(change))).rejects.toThrow(/the saved state is damaged: /);
    }
    expect((await pipe.generate({ ...options, resume: structuredClone(whole) })).samples.data).toEqual(
      (await pipe.generate(options)).samples.data,
    );
  });
});

describe("noise", () => {
  const noise: Tensor = {
    shape: [2, 3, 16, 16],
    data: Float32Array.from({ length: 1536 }, (_, i) => Math.sin(i ** 1.5)),
  };

  it("given as x_T, leaves the steps' noise to the seed", async () => {
    const run = (seed: number, eta: number) => pipe.generate({ noise, seed, eta, steps: 3, classes: [0] });
    expect((await run(1, 0)).samples.data).toEqual((await run(2, 0)).samples.data);
    expect((await run(1, 0.5)).samples.data).not.toEqual((await run(2, 0.5)).samples.data);
  });

  it("antithetic pairs start from opposite states", async () => {
    // One step of a single timestep at ᾱ ≈ 0 shows little else; the start itself is what a run of no distance keeps.
    const { samples } = await plain.generate({
      count: 4,
      seed: 3,
      antithetic: true,
      timesteps: [1],
      stop: 0,
      clip: false,
    });
    const sum = (a: number, b: number) =>
      image(samples, a).reduce((s, v, j) => s + Math.abs(v + image(samples, b)[j]!), 0) / 768;
    expect(sum(0, 1)).toBeLessThan(0.05);
    expect(sum(1, 2)).toBeGreaterThan(0.3);
  });
});

describe("guidance", () => {
  const base: GenerateOptions = { steps: 3, seed: 5, classes: [1] };
  it("of 1 is the unguided image, also beside others", async () => {
    const [free, mixed] = [await pipe.generate(base), await pipe.generate({ ...base, count: 2, guidance: [1, 4] })];
    expect(image(mixed.samples, 0)).toEqual(free.samples.data);
    const outside = await pipe.generate({ ...base, guidance: 4, guidanceInterval: [2000, 3000] });
    expect(outside.samples.data).toEqual(free.samples.data);
  });

  it("evaluates the free half only where it counts", async () => {
    const rows = async (options: GenerateOptions) => {
      const encode = vi.spyOn(Program.prototype, "encode");
      try {
        await pipe.generate({ ...base, count: 6, batch: 3, steps: 5, spacing: "trailing", ...options });
        const programs = encode.mock.contexts as unknown as Program[];
        // A slow machine cuts an evaluation into several segments.
        const begins = (i: number) => encode.mock.calls[i]![1] === 0;
        return programs.flatMap(({ label, batch }, i) => (label.startsWith("unet") && begins(i) ? [batch] : []));
      } finally {
        encode.mockRestore();
      }
    };
    const all = (n: number) => new Array(10).fill(n);
    expect(await rows({})).toEqual(all(3));
    expect(await rows({ guidance: 2 })).toEqual(all(6));
    expect(await rows({ guidance: 1 })).toEqual(all(3));
    // Timesteps 999, 799, 599, 399, 199.
    const interval = { guidance: 2, guidanceInterval: [300, 700] } as const;
    expect(await rows(interval)).toEqual([3, 3, 6, 6, 3, 3, 3, 6, 6, 3]);
    expect(await rows({ ...interval, guidance: [1, 2, 1, 1, 1, 1] })).toEqual([3, 3, 6, 6, 3, 3, 3, 3, 3, 3]);
    expect(await rows({ guidance: 2, guidanceInterval: [2000, 3000] })).toEqual(all(3));
  });

  it("away from the class itself is no guidance", async () => {
    const [free, own] = [await pipe.generate(base), await pipe.generate({ ...base, guidance: 3, negativeClass: 1 })];
    expect(nmse(own.samples.data, free.samples.data)).toBeLessThan(1e-9);
    const other = await pipe.generate({ ...base, guidance: 3, negativeClass: 2 });
    expect(nmse(other.samples.data, free.samples.data)).toBeGreaterThan(1e-4);
  });
});

describe("statistics", () => {
  it("describe x0 of every image and step, and cost no image", async () => {
    const base: GenerateOptions = { count: 3, batch: 2, steps: 4, seed: 2 };
    const { samples, statistics } = await plain.generate({ ...base, statistics: true });
    expect(samples.data).toEqual((await plain.generate(base)).samples.data);
    expect(statistics!.map((s) => [s.image, s.step])).toEqual(
      [0, 1, 2].flatMap((i) => [0, 1, 2, 3].map((k) => [i, k])),
    );
    for (const s of statistics!) {
      expect(s.min).toBeLessThan(s.max);
      expect(s.nonFinite).toBe(0);
      expect(s.clipped > 0).toBe(s.max > 1 || s.min < -1);
    }
    // The last step's x0, once clipped, is the image.
    const last = statistics!.filter((s) => s.step === 3);
    last.forEach(({ max, min }, i) => {
      expect(Math.min(1, max)).toBeCloseTo(Math.max(...image(samples, i)), 5);
      expect(Math.max(-1, min)).toBeCloseTo(Math.min(...image(samples, i)), 5);
    });
  });
});

describe("the same start, more steps", () => {
  it("comes ever closer to the image of many", async () => {
    const run = (steps: number) => pipe.generate({ seed: 4, count: 2, steps, spacing: "trailing", classes: [0] });
    const many = await run(100);
    const errors = [];
    for (const steps of [5, 10, 20, 50]) errors.push(nmse((await run(steps)).samples.data, many.samples.data));
    expect(errors).toEqual([...errors].sort((a, b) => b - a));
  });
});

it.each<[GenerateOptions, RegExp]>([
  [{ guidance: [] }, /at least one number/],
  [{ guidance: [Number.NaN] }, /guidance must be a number/],
  [{ guidanceRescale: 0.5 }, /means nothing while guidance is 1/],
  [{ guidance: 2, guidanceRescale: 2 }, /rescale must be from 0 to 1/],
  [{ guidance: 2, guidanceInterval: [5, 1] }, /lower timestep comes first/],
  [{ guidance: 2, negativeClass: 99 }, /class 99 is out of range/],
  [{ firstImage: -1 }, /firstImage must be a whole number from 0/],
  [{ sampler: "plms", eta: 1 }, /deterministic/],
  [{ noise: { shape: [1, 3, 16, 16], data: new Float32Array(768) }, antithetic: true }, /noise is given/],
])("%j is refused", async (options, message) => {
  const failing = pipe.generate({ steps: 2, ...options });
  await expect(failing).rejects.toThrow(message);
  await expect(failing).rejects.toBeInstanceOf(UsageError);
});
