/** The variational bound where it is known: data and network that are one Gaussian. */
import { describe, expect, it } from "vitest";
import { boundTerm, priorTerm } from "../../src/sampler/bound.ts";
import { makeSchedule } from "../../src/sampler/schedule.ts";

const { steps } = makeSchedule({ steps: 10 });
const x0 = [0.3, -0.2, 0.9];

describe("boundTerm", () => {
  it("is 0 where the prediction is right and the variance the posterior's", () => {
    const step = steps[3]!;
    const xt = [0.1, 0.5, -1];
    const input = { step, last: false, logVariance: null, x0, xt, predicted: x0, floor: 0 };
    expect(boundTerm(input)).toBeCloseTo(0, 12);
  });

  it("grows with the square of the error, by the weight c0²/(2 β̃)", () => {
    const step = steps[3]!;
    const { alphaCumprod: a, alphaCumprodPrev: p } = step;
    const at = (d: number) =>
      boundTerm({ step, last: false, logVariance: null, x0, xt: x0, predicted: x0.map((v) => v + d), floor: 0 });
    const c0 = (Math.sqrt(p) * (1 - a / p)) / (1 - a);
    const variance = ((1 - p) / (1 - a)) * (1 - a / p);
    expect(at(0.1)).toBeCloseTo((c0 * 0.1) ** 2 / (2 * variance) / Math.LN2, 10);
    expect(at(0.2)).toBeCloseTo(4 * at(0.1), 10);
  });

  it("counts the variance too: KL of two normal distributions with one mean", () => {
    const step = steps[3]!;
    const { alphaCumprod: a, alphaCumprodPrev: p } = step;
    const own = Math.log(((1 - p) / (1 - a)) * (1 - a / p)) + 1;
    const logVariance = x0.map(() => own);
    const term = boundTerm({ step, last: false, logVariance, x0, xt: x0, predicted: x0, floor: 0 });
    expect(term).toBeCloseTo((0.5 * (1 - 1 + Math.exp(-1))) / Math.LN2, 10);
  });

  it("the last step is the likelihood of bytes: all of a narrow distribution around one is 0 bits", () => {
    const step = steps.at(-1)!;
    const bytes = [0, 100, 255].map((v) => v / 127.5 - 1);
    const term = (floor: number) =>
      boundTerm({ step, last: true, logVariance: null, x0: bytes, xt: bytes, predicted: bytes, floor });
    expect(term(Math.log(1e-8))).toBeCloseTo(0, 6);
    // As wide as the range, it says about as little as a byte holds.
    expect(term(0)).toBeGreaterThan(3);
    expect(term(0)).toBeLessThan(10);
  });
});

it("priorTerm is 0 at ᾱ = 0 and grows with ᾱ", () => {
  expect(priorTerm(0, x0)).toBe(0);
  expect(priorTerm(0.5, x0)).toBeGreaterThan(priorTerm(0.1, x0));
});
