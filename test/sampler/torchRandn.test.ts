import { describe, expect, it } from "vitest";
import { TorchGenerator, torchRandn } from "../../src/sampler/torchRandn.ts";
import { golden } from "./traces.ts";

interface Recorded {
  single: Record<string, { seed: number; shape: number[]; first: number[]; last: number[]; sum: number }>;
  consecutive_draws: Record<string, { seed: number; draws: number[][] }>;
  generator_list_per_image: Record<string, { seeds: number[]; values: number[] }>;
}

const recorded = golden<Recorded>("rng.json");

function expectClose(ours: ArrayLike<number>, theirs: ArrayLike<number>): void {
  expect(ours.length).toBe(theirs.length);
  for (let i = 0; i < theirs.length; i++) expect(Math.abs(ours[i]! - theirs[i]!)).toBeLessThan(5e-6);
}

describe("torch.randn on a CPU", () => {
  it.each(Object.entries(recorded.single))("%s", (_name, { seed, shape, first, last, sum }) => {
    const count = shape.reduce((a, b) => a * b, 1);
    const ours = torchRandn(BigInt(seed), count);
    expectClose(ours.subarray(0, first.length), first);
    expectClose(ours.subarray(count - last.length), last);
    const ourSum = ours.reduce((a, b) => a + b, 0);
    expect(Math.abs(ourSum - sum)).toBeLessThan(1e-6 * count);
  });

  it.each(Object.entries(recorded.consecutive_draws))("one generator: %s", (_name, { seed, draws }) => {
    const generator = new TorchGenerator(BigInt(seed));
    for (const draw of draws) expectClose(generator.randn(draw.length), draw);
  });

  it.each(Object.entries(recorded.generator_list_per_image))("one generator per image: %s", (_n, { seeds, values }) => {
    const count = values.length / seeds.length;
    const ours = seeds.flatMap((seed) => [...torchRandn(BigInt(seed), count)]);
    expectClose(ours, values);
  });

  it("uses the low 32 bits of the seed", () => {
    expect([...torchRandn((5n << 32n) | 42n, 20)]).toEqual([...torchRandn(42n, 20)]);
  });
});
