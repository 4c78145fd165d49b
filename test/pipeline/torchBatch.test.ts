/** Whole batches of diffusers' DDIMPipeline and DDPMPipeline from one generator (test/sampler/recordings.py). */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { DiffusionPipeline } from "../../src/pipeline/pipeline.ts";
import { resolveRun } from "../../src/pipeline/run.ts";
import type { GenerateOptions, SavedRun, Tensor } from "../../src/pipeline/types.ts";
import { deviation } from "../sampler/traces.ts";
import { goldenPath, load, readTensors } from "../support/models.ts";

let pipe: DiffusionPipeline;
let recorded: Record<string, Tensor>;
beforeAll(async () => {
  pipe = await load(goldenPath("pipelines/eps_clip"));
  recorded = await readTensors(goldenPath("pipelines/torch_batch.safetensors"));
});
afterAll(() => pipe.dispose());

const batch = { rng: "torch-batch", compat: "diffusers", count: 4, seed: 0, steps: 5 } as const;
const runs: [string, GenerateOptions][] = [
  ["ddim_eta0", { ...batch, eta: 0 }],
  ["ddim_eta1", { ...batch, eta: 1 }],
  ["ddpm", { ...batch, sampler: "ddpm", seed: 3, steps: 6 }],
  ["ddim_eta1_alone", { ...batch, eta: 1, count: 1, seed: 2 }],
  ["ddim_eta1_alone", { ...batch, eta: 1, count: 1, seed: 2, rng: "torch" }],
];

describe.each(runs)("%s", (name, options) => {
  it(`as rng ${options.rng} has it`, async () => {
    const { samples } = await pipe.generate(options);
    expect(samples.shape).toEqual(recorded[name]!.shape);
    // Torch's logarithm and sine, and diffusers' float32 coefficients, differ from ours.
    expect(deviation(samples.data, recorded[name]!.data)).toBeLessThan(5e-5);
  });
});

describe("torch-batch", () => {
  const options: GenerateOptions = { ...batch, eta: 1, steps: 4 };

  it("does not depend on the batch, nor on where a run was resumed", async () => {
    const { data } = (await pipe.generate({ ...options, batch: 4 })).samples;
    for (const size of [1, 3]) expect((await pipe.generate({ ...options, batch: size })).samples.data).toEqual(data);
    let saved: SavedRun | undefined;
    for await (const step of pipe.steps({ ...options, batch: 3 })) {
      if (step.image < 3 || step.index !== 1) continue;
      saved = await step.save();
      break;
    }
    expect((await pipe.generate({ ...options, resume: saved })).samples.data).toEqual(data);
    const alone = (await pipe.generate({ ...options, count: 3 })).samples.data;
    // The steps' noise of three images is not that of the first three of four.
    expect(alone).not.toEqual(data.slice(0, alone.length));
  });

  it("of a given x_T, draws for the steps alone", async () => {
    const noise = { shape: [4, 3, 16, 16], data: new Float32Array(3072) };
    const run = (seed: number, eta: number) => pipe.generate({ rng: "torch-batch", noise, seed, eta, steps: 3 });
    expect((await run(1, 0)).samples.data).toEqual((await run(2, 0)).samples.data);
    expect((await run(1, 1)).samples.data).not.toEqual((await run(2, 1)).samples.data);
  });
});

it("cuda warns of states that are larger than what it holds for", () => {
  const warned = (rng: GenerateOptions["rng"], side: number) =>
    resolveRun(pipe.model, { rng, size: { height: side, width: side } }).warnings.join();
  expect(warned("cuda", 144)).not.toMatch(/rng cuda/);
  expect(warned("cuda", 152)).toMatch(
    /rng cuda: a state has 69312 numbers, .* after the first 65536 depends on its GPU/,
  );
  expect(warned("torch", 152)).not.toMatch(/rng/);
});
