/** The case table itself: names are unique and every case's tensors fit its oracle. */
import { describe, expect, it } from "vitest";
import {
  attentionCases,
  type CaseAct,
  caseName,
  conv2dCases,
  ddimStepCases,
  groupNormCases,
  layerNormCases,
  linearCases,
  shapeCases,
} from "./cases.ts";
import { attention } from "./reference/attention.ts";
import { conv2d } from "./reference/conv2d.ts";
import { ddimStep } from "./reference/ddimStep.ts";
import { groupNorm } from "./reference/groupNorm.ts";
import {
  attentionInputs,
  conv2dInputs,
  ddimStepInputs,
  groupNormInputs,
  layerNormInputs,
  linearInputs,
} from "./reference/inputs.ts";
import { layerNorm } from "./reference/layerNorm.ts";
import { linear } from "./reference/linear.ts";
import type { RefTensor } from "./reference/tensor.ts";

const tables: Record<string, readonly (readonly [object, () => RefTensor])[]> = {
  conv2d: conv2dCases.map((c) => [c, () => conv2d(conv2dInputs(c))]),
  groupNorm: groupNormCases.map((c) => [c, () => groupNorm(groupNormInputs(c))]),
  attention: attentionCases.map((c) => [c, () => attention(attentionInputs(c))]),
  linear: linearCases.map((c) => [c, () => linear(linearInputs(c))]),
  layerNorm: layerNormCases.map((c) => [c, () => layerNorm(layerNormInputs(c))]),
  ddimStep: ddimStepCases.map((c) => [c, () => ddimStep(ddimStepInputs(c)).prev]),
};

describe.each(Object.entries(tables))("%s", (kernel, table) => {
  it("has unique names", () => {
    const names = table.map(([values]) => caseName(kernel, values));
    expect(new Set(names).size).toBe(names.length);
  });

  it.each(table.map(([values, run]) => ({ name: caseName(kernel, values), run })))("$name", ({ run }) => {
    const y = run();
    // A tensor too short for its case reads undefined, which ends up as NaN.
    expect(y.data.length).toBeGreaterThan(0);
    expect(y.data.every(Number.isFinite)).toBe(true);
    expect(y.data.some((v) => v !== 0)).toBe(true);
  });
});

it("covers what the kernels promise", () => {
  const acts: (CaseAct | undefined)[] = conv2dCases.map((c) => c.act);
  expect(acts).toEqual(expect.arrayContaining(["silu", "relu", "gelu", "mish"]));
  expect(new Set(conv2dCases.map((c) => c.k))).toEqual(new Set([1, 3, 5, 7]));
  expect(new Set(conv2dCases.map((c) => c.n))).toEqual(new Set([1, 2, 7]));
  expect(attentionCases.map((c) => c.d)).toEqual(expect.arrayContaining([4, 8, 16, 40, 64, 80, 160, 512]));
  expect(shapeCases.some((c) => c.c % 4 !== 0)).toBe(true);
});
