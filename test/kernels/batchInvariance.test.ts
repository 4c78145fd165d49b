/** Image i is bit-identical in any batch: every kernel that sums, in batches of 1, 2, 7 and 16. */
import { describe, expect, it } from "vitest";
import type { Node } from "../../src/kernels/operations/table.ts";
import { updateRecord } from "../../src/kernels/sampling/records.ts";
import { ddimStep } from "../../src/kernels/sampling/step.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { tensorsOf } from "../reference/inputs.ts";
import { dim, type RefTensor, tensor } from "../reference/tensor.ts";
import { Inputs, runCalls, runOps, targets } from "../support/gpu.ts";
import { rowOf, runWords, stepFlags } from "../support/samplerTables.ts";

const MOST = 16;
const make = tensorsOf("batch invariance");
const all = await targets();

/** Images `from` to `from + n` of a tensor. */
const images = (t: RefTensor, from: number, n: number): RefTensor => {
  const size = t.data.length / dim(t, 0);
  return tensor([n, ...t.shape.slice(1)], t.data.subarray(from * size, (from + n) * size));
};

type Run = (target: Target, of: (t: RefTensor) => RefTensor, n: number, from: number) => Promise<RefTensor[]>;

const x = make([MOST, 7, 5, 24]);
/** Several chunks of GroupNorm's statistics. */
const wide = make([MOST, 13, 18, 24]);
const residual = make([MOST, 7, 5, 10]);
const affine = make([MOST, 2, 24]);
const qkv = make([MOST, 7, 5, 24]);
const params = { w: make([10, 24, 3, 3]), b: make([10]), gamma: make([24]), beta: make([24]) };

function normalised(target: Target, t: RefTensor, batch: number, groups: number): Promise<RefTensor[]> {
  const inputs = new Inputs(target);
  const sources = [inputs.add("x", t)] as const;
  const [affine, y] = [inputs.output("affine", [2, 24]), inputs.output("y", [13, 18, 24])];
  const [gamma, beta] = [
    { name: "gamma", shape: [24] },
    { name: "beta", shape: [24] },
  ];
  const ops: Node[] = [
    { op: "norm", label: "norm", sources, gamma, beta, groups, eps: 1e-5, y: affine },
    { op: "apply", label: "apply", view: { sources, affine, act: "silu", upsample: false }, pool: false, y },
  ];
  return runOps(ops, { target, batch, inputs: inputs.map, params, outputs: [y] });
}

const kernels: Record<string, Run> = {
  conv2d: (target, of, batch) => {
    const inputs = new Inputs(target);
    const y = inputs.output("y", [7, 5, 10]);
    const op: Node = {
      op: "conv2d",
      label: "conv",
      view: {
        sources: [inputs.add("x", of(x))],
        affine: inputs.add("affine", of(affine)),
        act: "silu",
        upsample: false,
      },
      weights: [{ weight: { name: "w", shape: [10, 24, 3, 3] }, bias: { name: "b", shape: [10] }, segments: [10] }],
      kernel: [3, 3],
      stride: 1,
      pad: [1, 1, 1, 1],
      residual: inputs.add("residual", of(residual)),
      scale: 1,
      y,
    };
    return runOps([op], { target, batch, inputs: inputs.map, params, outputs: [y] });
  },

  // Groups of 6 channels, and of whole vec4s, which software adapters measure in another kernel.
  groupNorm: (target, of, batch) => normalised(target, of(wide), batch, 4),
  "groupNorm of whole vec4s": (target, of, batch) => normalised(target, of(wide), batch, 3),

  attention: (target, of, batch) => {
    const inputs = new Inputs(target);
    const q = inputs.add("qkv", of(qkv), { segments: [4, 4, 4, 4, 4, 4] });
    const y = inputs.output("y", [7, 5, 8], { segments: [4, 4] });
    const op: Node = { op: "attention", label: "a", q, kv: q, heads: 2, headDim: 4, kGroup: 2, vGroup: 4, y };
    return runOps([op], { target, batch, inputs: inputs.map, outputs: [y] });
  },

  ddimStep: (target, of, n, from) => {
    const inputs = new Inputs({ ...target, storage: "buffer" });
    const row = [...updateRecord.pack([rowOf([1.5, -1.25, 0.5, 0.25, 0.125], 1, 0.3)])];
    const u32 = { batched: false, dtype: "u32" } as const;
    const numbers = Array.from({ length: n }, (_, i) => from + i);
    const tensors = {
      x: inputs.add("x", of(x)),
      m: inputs.add("m", of(qkv)),
      updates: inputs.add("updates", tensor([row.length], row), u32),
      run: inputs.add("run", tensor([4 + 4 * n], runWords(5n + (6n << 32n), numbers)), u32),
      status: inputs.add("status", tensor([n], 0xffffffff), u32),
      x0: inputs.output("x0", [7, 5, 24]),
    };
    const call = ddimStep.lower(inputs.target, "step", tensors, stepFlags({ noise: true }));
    return runCalls([call], { target, batch: n, inputs: inputs.map, outputs: [tensors.x, tensors.x0] });
  },
};

describe.each(Object.entries(kernels))("%s", (_, run) => {
  it.each(all)("is bit-identical in batches of 1, 2, 7 and 16 ($name)", async ({ target }) => {
    const whole = await run(target, (t) => t, MOST, 0);
    // Every batch begins at another image, so that an image changes its place and its neighbours.
    for (const [n, from] of [
      [1, 0],
      [1, 5],
      [2, 4],
      [7, 1],
      [7, 9],
    ] as const) {
      const part = await run(target, (t) => images(t, from, n), n, from);
      part.forEach((actual, k) => {
        const expected = images(whole[k] as RefTensor, from, n).data;
        expect(actual.data).toHaveLength(expected.length);
        expect(actual.data.findIndex((v, i) => !Object.is(v, expected[i]))).toBe(-1);
        expect(actual.data.every(Number.isFinite)).toBe(true);
      });
    }
  });
});
