/** `pipe.network.forward` of networks that attend to a context: rows, lengths, batches, and what is refused. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { DiffusionPipeline } from "../../src/pipeline/pipeline.ts";
import type { ForwardInputs, Tensor } from "../../src/pipeline/types.ts";
import { ShapeError, UsageError } from "../../src/runtime/errors.ts";
import { randomTensor } from "../reference/tensor.ts";
import { testDevice } from "../support/gpu.ts";
import { goldenPath, load } from "../support/models.ts";

const random = (shape: readonly number[], seed: number): Tensor => ({
  shape,
  data: Float32Array.from(randomTensor(shape, seed).data),
});
const image = ({ shape, data }: Tensor, i: number): Tensor => {
  const size = data.length / (shape[0] as number);
  return { shape: [1, ...shape.slice(1)], data: data.slice(i * size, (i + 1) * size) };
};
const repeated = ({ shape, data }: Tensor, n: number): Tensor => ({
  shape: [n, ...shape.slice(1)],
  data: Float32Array.from({ length: n * data.length }, (_, i) => data[i % data.length] as number),
});

async function expectRefusals(
  pipe: DiffusionPipeline,
  good: ForwardInputs,
  refusals: readonly [Partial<ForwardInputs>, new (...args: never[]) => Error, RegExp][],
): Promise<void> {
  const device = await testDevice();
  await pipe.network.forward(good);
  const { created } = device.counters;
  for (const [change, kind, says] of refusals) {
    const error = await pipe.network.forward({ ...good, ...change }).catch((e: unknown) => e);
    expect((error as Error).message).toMatch(says);
    expect(error).toBeInstanceOf(kind);
  }
  expect(device.counters.created).toBe(created);
}

describe("a context", () => {
  let pipe: DiffusionPipeline;
  beforeAll(async () => {
    pipe = await load(goldenPath("models/sd1"));
  });
  afterAll(() => pipe.dispose());

  const sample = random([7, 4, 9, 10], 1);
  const timestep = [0, 999, 7, 7, 300, 1, 480];
  const context = random([7, 3, 32], 2);

  test("of an image matters to it alone, bit by bit", async () => {
    const all = await pipe.network.forward({ sample, timestep, context });
    for (const i of [0, 4, 6]) {
      const one = { sample: image(sample, i), timestep: [timestep[i] as number], context: image(context, i) };
      expect(await pipe.network.forward(one)).toEqual(image(all, i));
    }
    const other = await pipe.network.forward({ sample, timestep, context: random([7, 3, 32], 3) });
    expect(other.data).not.toEqual(all.data);
  });

  test("given once serves the whole batch", async () => {
    const one = image(context, 0);
    const inputs = { sample, timestep: [5] };
    expect(await pipe.network.forward({ ...inputs, context: one })).toEqual(
      await pipe.network.forward({ ...inputs, context: repeated(one, 7) }),
    );
  });

  test("is read anew by every evaluation", async () => {
    const inputs = { sample: image(sample, 0), timestep: [5] };
    const [a, b] = [image(context, 0), image(context, 1)];
    const first = await pipe.network.forward({ ...inputs, context: a });
    expect((await pipe.network.forward({ ...inputs, context: b })).data).not.toEqual(first.data);
    expect(await pipe.network.forward({ ...inputs, context: a })).toEqual(first);
  });

  test("is missed by sampling too", async () => {
    await expect(pipe.generate({ steps: 2 })).rejects.toThrow(/sd1 needs a context of shape \[N, L, 32\]/);
  });

  test("of another form is refused before anything is allocated", async () => {
    await expectRefusals(pipe, { sample, timestep, context }, [
      [{ context: undefined }, UsageError, /sd1 needs a context of shape \[N, L, 32\]/],
      [{ context: random([7, 3, 31], 4) }, ShapeError, /context has shape \[7, 3, 31\], expected \[N, L, 32\]/],
      [{ context: random([7, 32], 4) }, ShapeError, /context has shape \[7, 32\]/],
      [{ context: random([7, 0, 32], 4) }, ShapeError, /context has shape \[7, 0, 32\]/],
      [
        { context: random([2, 3, 32], 4) },
        ShapeError,
        /context has shape \[2, 3, 32\], expected \[7, 3, 32\] or \[1, /,
      ],
      [{ context: { shape: [1, 3, 32], data: new Float32Array(95) } }, ShapeError, /context .* expected 96 values/],
      [{ textEmbeds: random([7, 5], 4) }, UsageError, /sd1 takes no text_embeds and no time_ids/],
    ]);
  });
});

test("added conditions have to fill the width of their embedding", async () => {
  using pipe = await load(goldenPath("models/sdxl"));
  const [textEmbeds, timeIds] = [random([2, 20], 5), random([2, 6], 6)];
  const good = { sample: random([2, 4, 8, 8], 7), timestep: [3], context: random([1, 1, 24], 8), textEmbeds, timeIds };
  await expectRefusals(pipe, good, [
    [{ timeIds: undefined }, UsageError, /sdxl needs text_embeds and time_ids/],
    [{ textEmbeds: undefined }, UsageError, /sdxl needs text_embeds and time_ids/],
    // 68 channels: 20 of the text and 8 for each of six numbers.
    [{ timeIds: random([2, 5], 6) }, ShapeError, /text_embeds has shape \[2, 20\], expected \[2, 28\] or \[1, 28\]/],
    [{ textEmbeds: random([2, 21], 5) }, ShapeError, /text_embeds has shape \[2, 21\], expected \[2, 20\]/],
    [{ timeIds: random([3, 6], 6) }, ShapeError, /time_ids has shape \[3, 6\], expected \[2, K\] or \[1, K\]/],
    [{ timeIds: random([6], 6) }, ShapeError, /time_ids has shape \[6\]/],
  ]);
  const once = { ...good, textEmbeds: image(textEmbeds, 1), timeIds: image(timeIds, 1) };
  const twice = { ...good, textEmbeds: repeated(once.textEmbeds, 2), timeIds: repeated(once.timeIds, 2) };
  expect(await pipe.network.forward(once)).toEqual(await pipe.network.forward(twice));
});

test("a network without one takes none", async () => {
  using pipe = await load(goldenPath("models/noattn"));
  const inputs = { sample: random([1, 2, 8, 8], 9), timestep: [1] };
  await expect(pipe.network.forward({ ...inputs, context: random([1, 1, 8], 9) })).rejects.toThrow(
    /noattn attends to no context and takes none/,
  );
});
