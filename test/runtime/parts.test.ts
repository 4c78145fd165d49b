/** Dispatches in parts: the bits of every kernel that allows it, and that a slow device gets shorter ones. */
import { describe, expect, it } from "vitest";
import { lowerOps } from "../../src/kernels/lower.ts";
import type { KernelCall, Target } from "../../src/runtime/kernel.ts";
import { encodeParts, type Part, rangesOf } from "../../src/runtime/parts.ts";
import { constTarget, runOps, targets } from "../support/gpu.ts";
import { attentionProblem, convProblem, type Problem } from "../support/problems.ts";

const found = await targets();
const own = (found[0] as (typeof found)[number]).target;
const bySubgroups = own.lanes > 0;
// Sources that other tests compile too.
const gpu: Target = { ...constTarget, shapes: "uniform" };
const direct: Target = { ...gpu, software: true };
const same = [1, 1, 1, 1] as const;

const conv = { n: 2, h: 13, w: 18, c: 8, o: 24, k: 3, pad: same, residual: true };
const wide = { n: 1, h: 46, w: 45, c: 22, o: 254, k: 1, pad: [0, 0, 0, 0] as const, noBias: true };
const heads = { n: 2, l: 130, heads: 2, d: 8 };
const of = (problem: (target: Target, dtype: "f32") => Problem, target: Target) => ({
  problem: problem(target, "f32"),
  target,
});
const convOf = (shape: Parameters<typeof convProblem>[0], target: Target) =>
  of((t, dtype) => convProblem(shape, t, dtype), target);
const attentionOf = (target: Target) => of((t, dtype) => attentionProblem(heads, t, dtype), target);

const cases: Record<string, { problem: Problem; target: Target }> = {
  "conv2d/direct": convOf(conv, direct),
  "conv2d/tiled": convOf(conv, gpu),
  "conv2d/tiled128": convOf(wide, constTarget),
  "conv2dPartial/tiled": convOf({ ...conv, n: 5, h: 6, w: 6, c: 64 }, gpu),
  "attention/direct": attentionOf(direct),
  "attention/tiled64": attentionOf(gpu),
  ...(bySubgroups && {
    "conv2d/gather": convOf(conv, { ...own, methods: { conv2d: "gather" } }),
    "winogradProduct/subgroup": convOf(conv, { ...own, methods: { conv2d: "winograd" } }),
    "attention/broadcast": attentionOf({ ...own, methods: { attention: "broadcast" } }),
    "attentionScores/subgroup": attentionOf({ ...own, methods: { attention: "products" } }),
    "attentionValues/subgroup": attentionOf({ ...own, methods: { attention: "products" } }),
  }),
};

describe("a dispatch in parts", () => {
  it.each(Object.entries(cases))("%s gives the same bits", async (name, { problem, target }) => {
    const { ops, batch, inputs, params, output } = problem;
    const init = { target, batch, inputs, params, outputs: [output] };
    const { calls } = lowerOps(ops, target, "f32", new Set([output]));
    const call = calls.find(({ kernel, variant }) => `${kernel}/${variant}` === name) as KernelCall;
    expect(rangesOf(call, batch, 1).length).toBeGreaterThan(1);
    const [whole] = await runOps(ops, init);
    const [parts] = await runOps(ops, { ...init, inParts: true });
    expect(parts?.data).toEqual(whole?.data);
    expect(whole?.data.some((v) => v !== 0)).toBe(true);
  });
});

describe("rangesOf", () => {
  const call = (grid: readonly [number, number, number], flops: number, parts?: "x" | "y") =>
    ({ parts, grid: () => grid, cost: () => ({ flops, bytes: 0 }) }) as unknown as KernelCall;

  it("leaves little work whole, and what cannot be cut", () => {
    expect(rangesOf(call([4, 100, 2], 1.9e9, "y"), 1, 1e9)).toEqual([[0, 100]]);
    expect(rangesOf(call([4, 100, 2], 1e12), 1, 1e9)).toEqual([[0, 100]]);
  });

  it("covers the axis once, in parts of at least the least", () => {
    expect(rangesOf(call([4, 10, 1], 3.5e9, "y"), 1, 1e9)).toEqual([
      [0, 3],
      [3, 3],
      [6, 4],
    ]);
    expect(rangesOf(call([3, 10, 1], 1e12, "x"), 1, 1e9)).toEqual([
      [0, 1],
      [1, 1],
      [2, 1],
    ]);
    const many = rangesOf(call([1, 30000, 2], 1e13, "y"), 1, 1e9);
    expect(many).toHaveLength(256);
    expect(many.reduce((at, [first, count]) => (first === at ? at + count : Number.NaN), 0)).toBe(30000);
  });
});

describe("encodeParts", () => {
  const recorded = (parts: readonly Part[], from = 0, to = parts.length) => {
    const dispatched: unknown[] = [];
    const pass = {
      setPipeline: () => {},
      setBindGroup: (_: number, bindings: unknown) => dispatched.push(bindings),
      dispatchWorkgroups: (...grid: number[]) => dispatched.push(grid),
      end: () => {},
    };
    encodeParts({ beginComputePass: () => pass } as unknown as GPUCommandEncoder, parts, from, to);
    return dispatched;
  };
  const dispatch = (parts?: "x" | "y") => ({ call: { parts }, grid: [7, 8, 9] }) as unknown as Part["dispatch"];
  const part = (of: Part["dispatch"], first: number, count: number, bindings: number): Part =>
    ({ dispatch: of, first, count, bindings, flops: 1 }) as unknown as Part;

  it("makes neighbours that are recorded together one dispatch", () => {
    const [whole, x, y] = [dispatch(), dispatch("x"), dispatch("y")];
    const parts = [
      part(whole, 0, 8, 0),
      part(x, 0, 4, 256),
      part(x, 4, 3, 512),
      part(y, 0, 5, 768),
      part(y, 5, 3, 1024),
    ];
    expect(recorded(parts)).toEqual([0, [7, 8, 9], 256, [7, 8, 9], 768, [7, 8, 9]]);
    expect(recorded(parts, 1, 2)).toEqual([256, [4, 8, 9]]);
    expect(recorded(parts, 2, 4)).toEqual([512, [3, 8, 9], 768, [7, 5, 9]]);
    // A program twice in a row: its last part and its first are no neighbours.
    expect(recorded([part(x, 4, 3, 512), part(x, 0, 4, 256)])).toEqual([512, [3, 8, 9], 256, [4, 8, 9]]);
  });
});
