/** Networks that are fed more than the state, against diffusers' pipelines: in-painting, super-resolution, x4 upscaling. */
import { describe, expect, test } from "vitest";
import { fromRgbaImages } from "../../src/image/samples.ts";
import { readImage } from "../../src/node/image.ts";
import type { GenerateOptions, Tensor } from "../../src/pipeline/types.ts";
import { nmse } from "../reference/tensor.ts";
import { goldenPath, load, readTensors } from "../support/models.ts";

const folder = (name: string) => goldenPath(`concat/${name}`);

/** Latents of float32 runs move by as much; decoded pictures by more. */
const LIMIT = { latents: 1e-9, images: 1e-8 };

async function golden(name: string, run = "run") {
  return (await readTensors(`${folder(name)}/${run}.safetensors`)) as Record<
    "x_T" | "concat" | "latents" | "images",
    Tensor
  >;
}

async function contexts(name: string): Promise<Pick<GenerateOptions, "context" | "negativeContext">> {
  const { encoder_hidden_states: context, negative: negativeContext } = await readTensors(
    `${folder(name)}/context.safetensors`,
  );
  return { context, negativeContext };
}

const picture = async (name: string, file: string) => fromRgbaImages([await readImage(`${folder(name)}/${file}`)], 3);

function expectRun(
  made: { latents: Tensor | null; samples: Tensor },
  { latents, images }: Record<"latents" | "images", Tensor>,
) {
  expect(made.latents!.shape).toEqual(latents.shape);
  expect(nmse(made.latents!.data, latents.data)).toBeLessThan(LIMIT.latents);
  expect(made.samples.shape).toEqual(images.shape);
  expect(nmse(made.samples.data, images.data)).toBeLessThan(LIMIT.images);
}

const guided = { steps: 4, guidance: 2.5 } as const;

describe("given as concat", () => {
  test("super-resolution", async () => {
    using pipe = await load(folder("super_resolution"));
    const { x_T: noise, concat, ...expected } = await golden("super_resolution");
    expectRun(await pipe.generate({ steps: 4, noise, concat }), expected);
  });

  test.each(["f32", "f16"] as const)("in-painting, two images of one picture, in %s", async (dtype) => {
    using pipe = await load(folder("inpaint"), { dtype });
    const { x_T: noise, concat, ...expected } = await golden("inpaint");
    const made = await pipe.generate({ ...guided, ...(await contexts("inpaint")), noise, concat });
    if (dtype === "f32") expectRun(made, expected);
    else expect(nmse(made.latents!.data, expected.latents.data)).toBeLessThan(1e-4);
  });

  test("x4 upscaler", async () => {
    using pipe = await load(folder("upscale"));
    const { x_T: noise, concat, ...expected } = await golden("upscale");
    const options = { ...guided, ...(await contexts("upscale")), noise, concat, classes: [30] };
    expectRun(await pipe.generate(options), expected);
  });
});

describe("made of pictures", () => {
  test("super-resolution", async () => {
    using pipe = await load(folder("super_resolution"));
    expectRun(
      await pipe.upscale(await picture("super_resolution", "low.png"), { steps: 4, seed: 7 }),
      await golden("super_resolution"),
    );
  });

  test("x4 upscaler", async () => {
    using pipe = await load(folder("upscale"));
    const options = { ...guided, ...(await contexts("upscale")), seed: 7, noiseLevel: 30 };
    expectRun(await pipe.upscale(await picture("upscale", "low.png"), options), await golden("upscale"));
  });

  test("in-painting", async () => {
    using pipe = await load(folder("inpaint"));
    const { latents, images } = await golden("inpaint");
    const mask = await picture("inpaint", "mask.png");
    const kept = { shape: [1, 1, 16, 16], data: mask.data.slice(0, 256).map((v) => (v < 0 ? 1 : 0)) };
    const options = { ...guided, ...(await contexts("inpaint")), seed: 7, mask: kept };
    const made = await pipe.edit(await picture("inpaint", "image.png"), options);
    const first = ({ shape: [, ...rest], data }: Tensor) => ({
      shape: [1, ...rest],
      data: data.slice(0, data.length / 2),
    });
    expectRun(made, { latents: first(latents), images: first(images) });
  });
});

test("a guidance scale that the network takes itself", async () => {
  using pipe = await load(folder("guidance_embedding"));
  const { context } = await contexts("guidance_embedding");
  for (const guidance of [1, 4.5]) {
    const { x_T: noise, ...expected } = await golden("guidance_embedding", `run-w${guidance.toFixed(1)}`);
    expectRun(await pipe.generate({ steps: 4, guidance, context, noise }), expected);
  }
});
