/** Attention in every variant against f64: self- and cross-attention, any head size, lengths, large logits. */
import { describe, expect, it } from "vitest";
import type { FusedOp } from "../../src/runtime/fold.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { channelGroups } from "../../src/runtime/values.ts";
import { type AttentionCase, attentionCases, caseName } from "../cases.ts";
import { type AttentionArgs, attention } from "../reference/attention.ts";
import { attentionInputs } from "../reference/inputs.ts";
import { nmse, type RefTensor, tensor } from "../reference/tensor.ts";
import { constTarget, Inputs, rounded, runOps, targets } from "../support/gpu.ts";

const TOLERANCE = { f32: 1e-10, f16: 2e-5 };

/** Lengths are laid out as an image where they have a factor, because the network's are. */
const image = (length: number): [number, number] => (length % 5 === 0 ? [length / 5, 5] : [1, length]);

/** Tensors [N, L, C] side by side on the channel axis, as one product writes q, k and v. */
function beside(parts: readonly RefTensor[]): RefTensor {
  const [n, l, c] = (parts[0] as RefTensor).shape as [number, number, number];
  const width = c * parts.length;
  return tensor([n, ...image(l), width], (i) => {
    const column = i % width;
    return (parts[Math.floor(column / c)] as RefTensor).data[Math.floor(i / width) * c + (column % c)] as number;
  });
}

async function run(it: AttentionCase, args: AttentionArgs, target: Target, dtype: "f32" | "f16"): Promise<RefTensor> {
  const { n, l, lk, heads, d } = it;
  const inputs = new Inputs(target, dtype);
  const segments = Array.from({ length: heads }, () => d);
  const repeat = (count: number) => Array.from({ length: count }, () => segments).flat();
  const groups = channelGroups(segments);
  const joint = lk === undefined;
  const q = joint
    ? inputs.add("qkv", beside([args.q, args.k, args.v]), { segments: repeat(3) })
    : inputs.add("q", beside([args.q]), { segments });
  const kv = joint ? q : inputs.add("kv", beside([args.k, args.v]), { segments: repeat(2) });
  const y = inputs.output("y", [...image(l), heads * d], { segments });
  const first = joint ? groups : 0;
  const op: FusedOp = {
    op: "attention",
    label: "a",
    q,
    kv,
    y,
    heads,
    headDim: d,
    kGroup: first,
    vGroup: first + groups,
  };
  const [actual] = await runOps([op], { target, batch: n, inputs: inputs.map, outputs: [y], dtype });
  return actual as RefTensor;
}

async function error(it: AttentionCase, target: Target, dtype: "f32" | "f16"): Promise<number> {
  const { q, k, v, heads } = attentionInputs(it);
  const args = { q: rounded(q, dtype), k: rounded(k, dtype), v: rounded(v, dtype), heads };
  return nmse((await run(it, args, target, dtype)).data, attention(args).data);
}

for (const { name, target } of await targets())
  describe(`attention (${name})`, () => {
    for (const shape of attentionCases)
      it(`${caseName("attention", shape)} f32`, async () => {
        expect(await error(shape, target, "f32")).toBeLessThanOrEqual(TOLERANCE.f32);
      });

    for (const shape of attentionCases.filter((it) => it.d <= 8 || it.lk))
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
      expect(nmse((await run(shape, args, target, "f32")).data, attention(args).data)).toBeLessThanOrEqual(1e-10);
    });
  });

describe("attention (shapes in the source)", () => {
  for (const shape of attentionCases.filter((it) => it.d <= 8 || it.lk))
    it(caseName("attention", shape), async () => {
      expect(await error(shape, constTarget, "f32")).toBeLessThanOrEqual(TOLERANCE.f32);
    });
});
