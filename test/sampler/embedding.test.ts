import { describe, expect, it } from "vitest";
import { UsageError } from "../../src/runtime/errors.ts";
import { timestepSinusoid } from "../../src/sampler/embedding.ts";

describe("timestepSinusoid", () => {
  const ddpm = { flip_sin_to_cos: false, freq_shift: 1 };

  it("runs from frequency 1 to 1/10000 with freq_shift 1, sines first", () => {
    const e = timestepSinusoid(500, 8, ddpm);
    const frequencies = [1, 10000 ** (-1 / 3), 10000 ** (-2 / 3), 1e-4];
    for (const [i, f] of frequencies.entries()) {
      expect(e[i]).toBeCloseTo(Math.sin(500 * f), 12);
      expect(e[4 + i]).toBeCloseTo(Math.cos(500 * f), 12);
    }
  });

  it("stops one short of 1/10000 with freq_shift 0, cosines first when flipped", () => {
    const e = timestepSinusoid(3.5, 4, { flip_sin_to_cos: true, freq_shift: 0 });
    [Math.cos(3.5), Math.cos(0.035), Math.sin(3.5), Math.sin(0.035)].forEach((v, i) => expect(e[i]).toBeCloseTo(v, 14));
  });

  it("ends with a zero when the dimension is odd", () => {
    const e = timestepSinusoid(9, 5, ddpm);
    expect([...e.subarray(0, 4)]).toEqual([...timestepSinusoid(9, 4, ddpm)]);
    expect(e[4]).toBe(0);
  });

  it("is [0…, 1…] at t = 0", () => {
    expect([...timestepSinusoid(0, 6, ddpm)]).toEqual([0, 0, 0, 1, 1, 1]);
  });

  it("refuses a width that leaves no frequency", () => {
    expect(() => timestepSinusoid(1, 2, ddpm)).toThrow(UsageError);
    expect(() => timestepSinusoid(1, 1, { flip_sin_to_cos: true, freq_shift: 0 })).toThrow(
      /no frequencies for 1 channels/,
    );
  });
});
