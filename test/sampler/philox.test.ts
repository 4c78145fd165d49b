import { describe, expect, it } from "vitest";
import { initialNoise, normal4, philox4x32, startStep, stepNoise, uniform } from "../../src/sampler/philox.ts";

type Words4 = [number, number, number, number];

describe("philox4x32", () => {
  // The known answers published with Random123 (kat_vectors, philox4x32 with 10 rounds).
  it.each<[Words4, [number, number], Words4]>([
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ])("%j", (counter, key, expected) => expect(philox4x32(counter, key)).toEqual(expected));
});

describe("uniform", () => {
  it("is never 0 or 1, exact in float32 and symmetric", () => {
    for (const word of [0, 1, 255, 256, 511, 0x12345678, 0x7fffffff, 0x80000000, 0xffffffff]) {
      const u = uniform(word);
      expect(u).toBeGreaterThan(0);
      expect(u).toBeLessThan(1);
      expect(Math.fround(u)).toBe(u);
      expect(Math.fround(1 - u)).toBe(1 - u);
      expect(uniform(~word >>> 0)).toBe(1 - u);
    }
    expect(uniform(0)).toBe(2 ** -24);
  });
});

describe("normal4", () => {
  it("is Box–Muller over the words that the specification names", () => {
    const seed = 0x299f31d0_a4093822n;
    const words = philox4x32([17, 3, 5, 9], [0xa4093822, 0x299f31d0]);
    const normals = normal4(seed, 9, 5, 17, 3);
    for (const half of [0, 2]) {
      const radius = Math.sqrt(-2 * Math.log(uniform(words[half]!)));
      const angle = 2 * Math.PI * uniform(words[half + 1]!);
      expect(normals[half]).toBeCloseTo(radius * Math.cos(angle), 14);
      expect(normals[half + 1]).toBeCloseTo(radius * Math.sin(angle), 14);
    }
  });

  it("changes with every coordinate, and with both halves of the seed", () => {
    const draws = [
      normal4(1n, 2, 3, 4, 5),
      normal4(2n, 2, 3, 4, 5),
      normal4(1n | (1n << 32n), 2, 3, 4, 5),
      normal4(1n, 3, 3, 4, 5),
      normal4(1n, 2, startStep, 4, 5),
      normal4(1n, 2, 3, 5, 5),
      normal4(1n, 2, 3, 4, 6),
    ];
    expect(new Set(draws.flat()).size).toBe(28);
  });
});

describe("noise of a whole image", () => {
  it("puts channel c of pixel (h, w) where the specification says", () => {
    const noise = stepNoise(7n, 2, 11, [6, 3, 5]);
    expect(noise).toHaveLength(90);
    const at = (c: number, h: number, w: number) => noise[(c * 3 + h) * 5 + w];
    expect(at(0, 0, 0)).toBe(Math.fround(normal4(7n, 2, 11, 0, 0)[0]));
    expect(at(3, 2, 1)).toBe(Math.fround(normal4(7n, 2, 11, 11, 0)[3]));
    expect(at(5, 1, 4)).toBe(Math.fround(normal4(7n, 2, 11, 9, 1)[1]));
  });

  it("gives a channel the same values however many channels there are", () => {
    const [three, eight] = [initialNoise(7n, 0, 3, 4, 4), initialNoise(7n, 0, 8, 4, 4)];
    expect([...eight.subarray(0, 48)]).toEqual([...three]);
  });

  it("is standard normal", () => {
    const n = 3 * 128 * 128;
    const noise = initialNoise(1234n, 0, 3, 128, 128);
    const moment = (k: number) => noise.reduce((sum, v) => sum + v ** k, 0) / n;
    // Five standard errors of each moment of n normal numbers.
    const margin = (variance: number) => 5 * Math.sqrt(variance / n);
    expect(Math.abs(moment(1))).toBeLessThan(margin(1));
    expect(Math.abs(moment(2) - 1)).toBeLessThan(margin(2));
    expect(Math.abs(moment(3))).toBeLessThan(margin(15));
    expect(Math.abs(moment(4) - 3)).toBeLessThan(margin(96));
    const products = noise.reduce((sum, v, i) => sum + v * (noise[i + 1] ?? 0), 0) / n;
    expect(Math.abs(products)).toBeLessThan(margin(1));
    const channels = noise.subarray(0, n / 3).reduce((sum, v, i) => sum + v * noise[n / 3 + i]!, 0) / (n / 3);
    expect(Math.abs(channels)).toBeLessThan(2 * margin(1));
    const beyond2 = noise.filter((v) => Math.abs(v) > 2).length / n;
    expect(Math.abs(beyond2 - 0.0455)).toBeLessThan(margin(0.0434));
  });
});
