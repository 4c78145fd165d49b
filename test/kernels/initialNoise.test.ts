/** The GPU's starting noise against the host's, number by number. */
import { describe, expect, it } from "vitest";
import { initialNoise } from "../../src/kernels/sampling/noise.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { initialNoise as hostNoise } from "../../src/sampler/philox.ts";
import { type RefTensor, tensor } from "../reference/tensor.ts";
import { constTarget, Inputs, runCalls, targets } from "../support/gpu.ts";
import { runWords } from "../support/samplerTables.ts";

type Chw = readonly [c: number, h: number, w: number];

async function noise(target: Target, seed: bigint, images: readonly number[], [c, h, w]: Chw, guided: boolean) {
  const inputs = new Inputs({ ...target, storage: "buffer" });
  const words = runWords(seed, images);
  const run = inputs.add("run", tensor([words.length], words), { batched: false, dtype: "u32" });
  const rows = images.length * (guided ? 2 : 1);
  const x = inputs.add("x", tensor([rows, h, w, c], 7));
  const call = initialNoise.lower(inputs.target, "x_T", { run, x }, { guided });
  const [actual] = await runCalls([call], { target, batch: images.length, inputs: inputs.map, outputs: [x] });
  return actual as RefTensor;
}

/** Largest |GPU − host| / max(1, |host|) over the images. */
function worst({ data }: RefTensor, seed: bigint, images: readonly number[], [c, h, w]: Chw): number {
  let error = 0;
  images.forEach((image, n) => {
    const expected = hostNoise(seed, image, c, h, w);
    for (let p = 0; p < h * w; p++)
      for (let k = 0; k < c; k++) {
        const z = expected[k * h * w + p] as number;
        const d = Math.abs((data[(n * h * w + p) * c + k] as number) - z) / Math.max(1, Math.abs(z));
        error = d <= error ? error : d;
      }
  });
  return error;
}

const seed = 0xfedc_ba98_7654_3210n;
for (const { name, target } of [...(await targets()), { name: "shapes in the source", target: constTarget }])
  describe(`initialNoise (${name})`, () => {
    for (const shape of [
      [3, 16, 16],
      [1, 7, 5],
      [6, 13, 18],
      [4, 1, 1],
    ] as const)
      it(`${shape.join("×")} channels, rows and columns`, async () => {
        const images = [0, 5, 0xfffffffe];
        expect(worst(await noise(target, seed, images, shape, false), seed, images, shape)).toBeLessThanOrEqual(2e-6);
      });

    it("writes both halves of a guided state", async () => {
      const shape = [3, 5, 4] as const;
      const { data } = await noise(target, 3n, [1, 2], shape, true);
      const half = data.length / 2;
      expect(data.subarray(half)).toEqual(data.subarray(0, half));
      expect(worst(tensor([2, 5, 4, 3], data.subarray(0, half)), 3n, [1, 2], shape)).toBeLessThanOrEqual(2e-6);
    });
  });

it("agrees over half a million numbers, tails included", async () => {
  const [own] = await targets();
  const images = Array.from({ length: 8 }, (_, i) => i);
  const shape = [4, 128, 128] as const;
  const x = await noise((own as { target: Target }).target, 2026n, images, shape, false);
  expect(x.data.reduce((a, v) => Math.max(a, Math.abs(v)), 0)).toBeGreaterThan(4.5);
  expect(worst(x, 2026n, images, shape)).toBeLessThanOrEqual(2e-6);
});
