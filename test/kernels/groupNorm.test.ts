/** GroupNorm: statistics, affine map, and the pass that applies it with an activation, against f64. */
import { describe, expect, it } from "vitest";
import type { Node } from "../../src/kernels/operations/table.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { caseName, type GroupNormCase, groupNormCases } from "../cases.ts";
import { activation } from "../reference/activations.ts";
import { avgPool2 } from "../reference/avgPool2.ts";
import { type GroupNormArgs, groupNorm } from "../reference/groupNorm.ts";
import { groupNormInputs, tensorsOf } from "../reference/inputs.ts";
import { nmse, type RefTensor, tensor } from "../reference/tensor.ts";
import { upsample } from "../reference/upsample.ts";
import { constTarget, Inputs, rounded, runOps, targets } from "../support/gpu.ts";

const TOLERANCE = { f32: 1e-10, f16: 2e-5 };

async function run(
  it: GroupNormCase,
  args: GroupNormArgs,
  target: Target,
  dtype: "f32" | "f16",
  resample?: "up" | "pool",
): Promise<number> {
  const { n, h, w, c, c2, act = "none", groups, eps } = it;
  const channels = c + (c2 ?? 0);
  const segments = c2 ? [c, c2] : [c];
  const inputs = new Inputs(target, dtype);
  const x = { ...args, x: rounded(args.x, dtype), x2: args.x2 && rounded(args.x2, dtype) };
  const a = inputs.add("x", x.x);
  const sources = x.x2 ? ([a, inputs.add("x2", x.x2)] as const) : ([a] as const);
  const affine = inputs.output("affine", [2, channels], { dtype: "f32", segments });
  const scale = resample === "up" ? 2 : resample === "pool" ? 0.5 : 1;
  const y = inputs.output("y", [Math.floor(h * scale), Math.floor(w * scale), channels], { segments });
  const emb = args.emb && {
    table: inputs.add("emb", args.emb, { dtype: "f32", segments: [...segments, ...segments] }),
    group: 0,
  };
  const param = (name: string) => ({ name, shape: [channels] });
  const ops: Node[] = [
    { op: "norm", label: "norm", sources, gamma: param("gamma"), beta: param("beta"), groups, eps, emb, y: affine },
    {
      op: "apply",
      label: "apply",
      view: { sources, affine, act, upsample: resample === "up" },
      pool: resample === "pool",
      y,
    },
  ];
  const params = { gamma: args.gamma, beta: args.beta };
  const [actual] = await runOps(ops, { target, batch: n, inputs: inputs.map, params, outputs: [y], dtype });
  const normed = activation(groupNorm(x), act);
  const expected = resample === "up" ? upsample(normed) : resample === "pool" ? avgPool2(normed) : normed;
  return nmse((actual as RefTensor).data, expected.data);
}

for (const { name, target } of await targets())
  describe(`groupNorm (${name})`, () => {
    for (const dtype of ["f32", "f16"] as const)
      for (const shape of groupNormCases)
        it(`${caseName("groupNorm", shape)} ${dtype}`, async () => {
          expect(await run(shape, groupNormInputs(shape), target, dtype)).toBeLessThanOrEqual(TOLERANCE[dtype]);
        });

    for (const resample of ["up", "pool"] as const)
      for (const shape of groupNormCases.filter((it) => it.act === "silu" && !it.big))
        it(`${caseName("groupNorm", shape)}, then ${resample}`, async () => {
          expect(await run(shape, groupNormInputs(shape), target, "f32", resample)).toBeLessThanOrEqual(TOLERANCE.f32);
        });

    it("keeps its digits with a large mean, several channels a group and several chunks", async () => {
      const shape = { n: 2, h: 16, w: 18, c: 24, groups: 4, eps: 1e-6, mean: 100 };
      expect(await run(shape, groupNormInputs(shape), target, "f32")).toBeLessThanOrEqual(TOLERANCE.f32);
    });

    it("keeps its digits where the first pixels are far from the others", async () => {
      for (const [h, every] of [
        [16, 64],
        [64, 4096],
        [128, 16384],
      ] as const) {
        const shape = { n: 1, h, w: h, c: 8, groups: 2, eps: 1e-6 };
        const args = groupNormInputs(shape);
        const far = tensor(args.x.shape, (i) => (Math.floor(i / 8) % every === 0 ? 30 : (args.x.data[i] as number)));
        expect(await run(shape, { ...args, x: far }, target, "f32")).toBeLessThanOrEqual(TOLERANCE.f32);
      }
    });

    it("keeps its digits where one channel of a group is far from the others", async () => {
      const shape = { n: 1, h: 16, w: 16, c: 32, groups: 2, eps: 1e-6 };
      const args = groupNormInputs(shape);
      const far = tensor(args.x.shape, (i) => (args.x.data[i] as number) + (i % 16 === 0 ? 100 : 0));
      expect(await run(shape, { ...args, x: far }, target, "f32")).toBeLessThanOrEqual(TOLERANCE.f32);
    });
  });

describe("groupNorm (shapes in the source)", () => {
  for (const shape of groupNormCases.filter((it) => it.c2 || it.emb))
    it(caseName("groupNorm", shape), async () => {
      expect(await run(shape, groupNormInputs(shape), constTarget, "f32")).toBeLessThanOrEqual(TOLERANCE.f32);
    });
});

describe("groupNorm's contract", () => {
  it("refuses channels that the groups do not divide", async () => {
    const shape = { n: 1, h: 2, w: 2, c: 6, groups: 4, eps: 1e-5 };
    const make = tensorsOf("refused");
    const args = { x: make([1, 2, 2, 6]), gamma: make([6]), beta: make([6]), groups: 4, eps: 1e-5 };
    await expect(run(shape, args, constTarget, "f32")).rejects.toThrow(
      "groupNorm: x has shape [6], expected channels divisible by 4 groups",
    );
  });
});
