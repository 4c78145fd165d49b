import { describe, expect, it } from "vitest";
import { ShapeError } from "../../src/runtime/errors.ts";
import { referenceStep } from "../../src/sampler/referenceStep.ts";
import { makeSchedule } from "../../src/sampler/schedule.ts";

describe("referenceStep", () => {
  const [step] = makeSchedule({ steps: 10, eta: 1 }).steps;

  it("clamps x0", () => {
    expect([...referenceStep(step!, [9, -9, 0], [0, 0, 0], [0, 0, 0]).x0]).toEqual([1, -1, 0]);
  });

  it("lets a NaN through", () => {
    expect(referenceStep(step!, [Number.NaN], [0], [0]).x0[0]).toBeNaN();
  });

  it("refuses tensors of other lengths, and missing noise", () => {
    expect(() => referenceStep(step!, [1, 2], [1], [1, 2])).toThrow(ShapeError);
    expect(() => referenceStep(step!, [1, 2], [1, 2], [1])).toThrow(/z has shape \[1\], expected \[2\]/);
    expect(() => referenceStep(step!, [1], [1])).toThrow(ShapeError);
  });
});
