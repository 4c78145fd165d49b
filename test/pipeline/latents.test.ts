/** Latent models from noise to pictures, against latent-diffusion's and diffusers' pipelines. */
import { describe, expect, test } from "vitest";
import { toRgbaImages } from "../../src/image/samples.ts";
import { parseYaml } from "../../src/node/model.ts";
import { openModel } from "../../src/pipeline/model.ts";
import { modelId } from "../../src/pipeline/modelId.ts";
import type { DiffusionPipeline } from "../../src/pipeline/pipeline.ts";
import type { GenerateOptions, Tensor } from "../../src/pipeline/types.ts";
import { sample } from "../../src/sampler/sample.ts";
import { makeSchedule } from "../../src/sampler/schedule.ts";
import { nmse } from "../reference/tensor.ts";
import { cin256, latentModel } from "../support/latents.ts";
import { goldenPath, load, readTensors } from "../support/models.ts";
import type { MemorySource } from "../weights/memory-source.ts";

/** Two float32 runs of the originals differ by less than a tenth of these. */
const LATENTS = 1e-9;
const IMAGES = 1e-9;

type Golden = Record<string, Tensor>;
const readGolden = (name: string) => readTensors(goldenPath(`latents/${name}.safetensors`)) as Promise<Golden>;
const slice = ({ shape, data }: Tensor, from: number, to: number): Tensor => {
  const size = data.length / (shape[0] as number);
  return { shape: [to - from, ...shape.slice(1)], data: data.slice(from * size, to * size) };
};

describe("latent-diffusion's class-conditional model in one file", () => {
  const own = { steps: 20, compat: "ldm", guidance: 3 } as const;

  test("the notebook's run: 20 steps, guidance 3, decoded", async () => {
    const golden = await readGolden("cin256/eta0");
    using pipe = await load(cin256(), { parseYaml });
    const classes = [...(golden.class_labels as Tensor).data];
    const made = await pipe.generate({ ...own, noise: golden.x_T, classes });
    // What was loaded is identified without being read again.
    const { reads } = pipe.model.source as MemorySource;
    reads.length = 0;
    expect(await modelId(pipe.model)).toBe(await modelId(await openModel(cin256(), { parseYaml })));
    expect(reads).toEqual([]);
    expect(made.classes).toEqual([0, 25, 187, 992]);
    expect(made.latents?.shape).toEqual([4, 3, 16, 16]);
    expect(made.samples.shape).toEqual([4, 3, 64, 64]);
    expect(nmse((made.latents as Tensor).data, golden.x_final_f64!.data)).toBeLessThanOrEqual(LATENTS);
    expect(nmse(made.samples.data, golden.decoded!.data)).toBeLessThanOrEqual(IMAGES);
    expect(made.images).toEqual(toRgbaImages(made.samples.data, 4, 3, { height: 64, width: 64 }));
    // Another guidance is seen.
    const noise = slice(golden.x_T as Tensor, 0, 1);
    const other = await pipe.generate({ ...own, guidance: 3.1, noise, classes: [0] });
    const first = slice(golden.x_final_f64 as Tensor, 0, 1);
    expect(nmse((other.latents as Tensor).data, first.data)).toBeGreaterThan(1e-6);
  });

  test("with eta 1 and the run's own noise, around single evaluations", async () => {
    const golden = await readGolden("cin256/eta1");
    using pipe = await load(cin256(), { parseYaml });
    const { shape, data: xT } = golden.x_T as Tensor;
    const classes = [...(golden.class_labels as Tensor).data];
    const { x } = await sample({
      device: pipe.device,
      schedule: makeSchedule({ ...pipe.model.scheduler, steps: 20, compat: "ldm", eta: 1 }),
      shape: shape as [number, number, number, number],
      xT,
      noise: (step) => slice(golden.noise as Tensor, step, step + 1).data,
      denoise: async (data, timestep) => {
        const [free, told] = await Promise.all(
          [classes.map(() => 1000), classes].map((classLabels) =>
            pipe.network.forward({ sample: { shape, data }, timestep, classLabels }),
          ),
        );
        return free!.data.map((v, i) => v + 3 * ((told!.data[i] as number) - v));
      },
    });
    expect(nmse(x, golden.x_final_f64!.data)).toBeLessThanOrEqual(LATENTS);
    const image = await pipe.decode({ shape, data: x });
    expect(nmse(image.data, golden.decoded!.data)).toBeLessThanOrEqual(IMAGES);
  });

  test("classes in turn without the null class, a negative class, and contexts instead of classes", async () => {
    using pipe = await load(cin256(), { parseYaml });
    const options = { steps: 2, seed: 4, guidance: 2 } as const;
    const made = await pipe.generate({ ...options, count: 3, classes: [7, 1000] });
    expect(made.classes).toEqual([7, 1000, 7]);
    // Guidance away from a class towards itself is no guidance.
    const same = await pipe.generate({ ...options, count: 1, classes: [7], negativeClass: 7 });
    const plain = await pipe.generate({ ...options, count: 1, classes: [7], guidance: 1 });
    expect(nmse(same.latents!.data, plain.latents!.data)).toBeLessThan(1e-10);
    const width = pipe.model.classEmbedder!.width;
    const table = await pipe.model.checkpoint.read("cond_stage_model.embedding.weight");
    const row = (id: number): Tensor => ({
      shape: [1, 1, width],
      data: table.slice(id * width, (id + 1) * width),
    });
    const { guidance, ...rest } = options;
    const told = await pipe.generate({ ...rest, guidance, context: row(7), negativeContext: row(1000) });
    expect(told.classes).toBeNull();
    expect(told.latents!.data).toEqual(slice(made.latents as Tensor, 0, 1).data);
  });
});

describe("diffusers' pipelines", () => {
  const run = async (pipe: DiffusionPipeline, golden: Golden, options: GenerateOptions) => {
    const made = await pipe.generate({ steps: 5, noise: golden.x_T, ...options });
    expect(nmse((made.latents as Tensor).data, golden.latents!.data)).toBeLessThanOrEqual(LATENTS);
    expect(nmse(made.samples.data, golden.images!.data)).toBeLessThanOrEqual(IMAGES);
    return made;
  };

  test("StableDiffusionPipeline: contexts, a negative one for all, guidance", async () => {
    const golden = await readGolden("sd1");
    using pipe = await load(latentModel("sd1", "kl"));
    const contexts = { context: golden.encoder_hidden_states, negativeContext: golden.negative, guidance: 2.5 };
    const { latents } = await run(pipe, golden, contexts);
    // An image depends on nothing but its own inputs.
    const second = (t: Tensor) => slice(t, 1, 2);
    const alone = await pipe.generate({
      ...contexts,
      steps: 5,
      noise: second(golden.x_T!),
      context: second(contexts.context!),
    });
    expect(alone.latents!.data).toEqual(second(latents!).data);
  });

  test("StableDiffusionXLPipeline: pooled texts and sizes besides", async () => {
    const golden = await readGolden("sdxl");
    using pipe = await load(latentModel("sdxl", "kl"));
    await run(pipe, golden, {
      context: golden.encoder_hidden_states,
      negativeContext: golden.negative,
      textEmbeds: golden["added/text_embeds"],
      negativeTextEmbeds: golden["negative/text_embeds"],
      timeIds: golden["added/time_ids"],
      guidance: 3,
    });
  });

  test("LDMPipeline: a codebook, and a scaling factor", async () => {
    const golden = await readGolden("ldm");
    const config = JSON.parse(new TextDecoder().decode(await latentModel("ddpm", "vq").read("vqvae/config.json")));
    const changes = (scaling_factor?: number) => ({
      "vqvae/config.json": JSON.stringify({ ...config, scaling_factor }),
    });
    using pipe = await load(latentModel("ddpm", "vq", changes(0.5)));
    await run(pipe, golden, {});
    using other = await load(latentModel("ddpm", "vq", changes()));
    const { samples, warnings } = await other.generate({ steps: 5, noise: golden.x_T });
    expect(warnings.join()).toContain("scaling_factor is missing: taken as 1");
    expect(nmse(samples.data, golden.images!.data)).toBeGreaterThan(1e-3);
  });
});
