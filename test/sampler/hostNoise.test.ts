/** Noise of torch's generators, beside the numbers that other programs record. */
import { describe, expect, it } from "vitest";
import { cudaRandn } from "../../src/sampler/cudaRandn.ts";
import { hostDraws } from "../../src/sampler/hostNoise.ts";
import { TorchGenerator } from "../../src/sampler/torchRandn.ts";

const noise = { seed: 5n, count: 7, firstImage: 0, antithetic: false };
const size = 50;
const image = (data: Float32Array, i: number) => data.slice(i * size, (i + 1) * size);

describe("cuda", () => {
  // The docstring of stable-diffusion-webui's modules/rng_philox.py: seed 0, twelve numbers.
  const recorded = [
    ...[-0.92466259, -0.42534415, -2.6438457, 0.14518388, -0.12086647, -0.57972564],
    ...[-0.62285122, -0.32838709, -1.07454231, -0.36314407, -1.67105067, 2.26550497],
  ];

  it("has the numbers that others recorded", () => {
    const ours = cudaRandn(0n, 0, 12);
    for (const [i, value] of recorded.entries()) expect(Math.abs(ours[i]! - value)).toBeLessThan(5e-7);
  });

  it("element i is counter i: a longer draw begins like a shorter one, and the next draw is another", () => {
    expect(cudaRandn(0n, 0, 40).slice(0, 12)).toEqual(cudaRandn(0n, 0, 12));
    expect(cudaRandn(0n, 1, 12)).not.toEqual(cudaRandn(0n, 0, 12));
    expect(cudaRandn(1n << 32n, 0, 12)).not.toEqual(cudaRandn(0n, 0, 12));
  });

  it("image i has seed + i, and every draw the next offset", () => {
    const draw = hostDraws({ ...noise, rng: "cuda", firstImage: 3 }, 1, 2, size);
    for (const k of [0, 1, 2]) {
      const drawn = draw();
      for (const i of [0, 1]) expect(image(drawn, i)).toEqual(cudaRandn(5n + 4n + BigInt(i), k, size));
    }
  });
});

describe("torch", () => {
  it("image i has a generator of its own with seed + i", () => {
    const draw = hostDraws({ ...noise, rng: "torch" }, 2, 3, size);
    const own = [7n, 8n, 9n].map((seed) => new TorchGenerator(seed));
    for (let k = 0; k < 3; k++) expect(draw()).toEqual(Float32Array.from(own.flatMap((g) => [...g.randn(size)])));
  });

  it("antithetic pairs have one generator and opposite signs in every draw", () => {
    const draw = hostDraws({ ...noise, rng: "torch", antithetic: true }, 2, 2, size);
    const own = new TorchGenerator(6n);
    for (let k = 0; k < 3; k++) {
      const [drawn, expected] = [draw(), own.randn(size)];
      expect(image(drawn, 0)).toEqual(expected);
      expect(image(drawn, 1)).toEqual(expected.map((v) => -v));
    }
  });
});

describe("torch-batch", () => {
  it("one generator draws for the whole run, whichever batch asks", () => {
    const whole = hostDraws({ ...noise, rng: "torch-batch" }, 0, 7, size);
    const parts = [
      [0, 3],
      [3, 3],
      [6, 1],
    ].map(([first, images]) => hostDraws({ ...noise, rng: "torch-batch" }, first!, images!, size));
    const own = new TorchGenerator(5n);
    for (let k = 0; k < 3; k++) {
      const drawn = whole();
      expect(drawn).toEqual(own.randn(7 * size));
      expect(Float32Array.from(parts.flatMap((draw) => [...draw()]))).toEqual(drawn);
    }
  });
});
