/** Attention in every variant against f64: self- and cross-attention, any head size, lengths, large logits. */
import { describe, expect, it } from "vitest";
import type { Target } from "../../src/runtime/kernel.ts";
import { type AttentionCase, attentionCases, caseName } from "../cases.ts";
import type { AttentionArgs } from "../reference/attention.ts";
import { attentionInputs } from "../reference/inputs.ts";
import { nmse, tensor } from "../reference/tensor.ts";
import { constTarget, runProblem, targets } from "../support/gpu.ts";
import { attentionProblem, type StoredDType } from "../support/problems.ts";

const TOLERANCE = { f32: 1e-10, f16: 2e-5 };

async function error(it: AttentionCase, target: Target, dtype: StoredDType, given?: AttentionArgs): Promise<number> {
  const problem = attentionProblem(it, target, dtype, given);
  return nmse((await runProblem(problem, target, dtype)).data, problem.expected().data);
}

/** Whether a case is worth its seconds: software adapters compile each head size of `tiled` for several. */
const affordable = (target: string, dtype: string, { l, d, lk }: AttentionCase) =>
  target !== "gpu" || (l < 64 && d < 128) || (dtype === "f16" ? d === 40 : d !== 40 && (l < 100 || d === 8 || lk));

const found = await targets();
const own = (found[0] as (typeof found)[number]).target;
const forced = (["broadcast", "products"] as const).map((attention) => ({
  name: attention,
  target: { ...own, methods: { attention } },
}));

for (const { name, target } of [...(own.lanes > 0 ? forced : []), ...found.slice(own.lanes > 0 ? 1 : 0)])
  describe(`attention (${name})`, () => {
    for (const shape of attentionCases.filter((it) => affordable(name, "f32", it)))
      it(`${caseName("attention", shape)} f32`, async () => {
        expect(await error(shape, target, "f32")).toBeLessThanOrEqual(TOLERANCE.f32);
      });

    for (const shape of attentionCases.filter((it) => (it.d <= 8 || it.lk) && affordable(name, "f16", it)))
      it(`${caseName("attention", shape)} f16`, async () => {
        expect(await error(shape, target, "f16")).toBeLessThanOrEqual(TOLERANCE.f16);
      });

    it("survives logits whose exponential is zero or infinite in f32", async () => {
      const shape = { n: 1, l: 10, heads: 2, d: 4 };
      const { q, k, v, heads } = attentionInputs(shape);
      // All scores of a query are far below −88 or far above 88: a softmax without its maximum is 0/0 or ∞/∞. Products
      // and sums are exact in f32, so that nothing but the softmax can go wrong.
      const far = tensor(q.shape, (i) => (Math.floor(i / 8) % 2 ? 512 : -512));
      const ones = tensor(k.shape, (i) => 1 + Math.round(4 * (k.data[i] as number)) / 2048);
      const args = { q: far, k: ones, v, heads };
      expect(await error(shape, target, "f32", args)).toBeLessThanOrEqual(1e-10);
    });
  });

describe("attention (shapes in the source)", () => {
  for (const shape of attentionCases.filter((it) => it.d <= 8))
    it(caseName("attention", shape), async () => {
      expect(await error(shape, constTarget, "f32")).toBeLessThanOrEqual(TOLERANCE.f32);
    });
});
