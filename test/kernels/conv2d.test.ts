/** conv2d with every fused part, in every variant that the adapter allows, against f64. */
import { describe, expect, it } from "vitest";
import type { FusedConv } from "../../src/runtime/fold.ts";
import { makeValue, type Value } from "../../src/runtime/values.ts";
import { type Conv2dCase, caseName, conv2dCases } from "../cases.ts";
import { conv2d } from "../reference/conv2d.ts";
import { conv2dInputs } from "../reference/inputs.ts";
import { nmse, type RefTensor, tensor } from "../reference/tensor.ts";
import { constTarget, runOps, targets } from "../support/gpu.ts";

const TOLERANCE = { f32: 1e-10, f16: 2e-5 };

async function run(
  it: Conv2dCase,
  target: Awaited<ReturnType<typeof targets>>[number]["target"],
  dtype: "f32" | "f16",
) {
  const args = conv2dInputs(it);
  const expected = conv2d(args);
  const storage = target.storage;
  const inputs = new Map<Value, RefTensor>();
  const value = (name: string, t: RefTensor, batched = true, segments?: number[], type: "f32" | "f16" = dtype) => {
    const v = makeValue({ name, shape: t.shape.slice(1), batched, dtype: type, storage, segments });
    inputs.set(v, t);
    return v;
  };
  const x = value("x", args.x);
  const x2 = args.x2 && value("x2", args.x2);
  const segments = x2 ? [it.c, it.c2 as number] : [it.c];
  const { affine } = args;
  const scaleShift =
    affine &&
    tensor([it.n, 2, it.c + (it.c2 ?? 0)], (i) => {
      const c = it.c + (it.c2 ?? 0);
      const from = Math.floor(i / c) % 2 ? affine.shift : affine.scale;
      return from.data[Math.floor(i / (2 * c)) * c + (i % c)] as number;
    });
  const table = args.channelAdd && value("emb", args.channelAdd, true, undefined, "f32");
  const y = makeValue({ name: "y", shape: expected.shape.slice(1), batched: true, dtype, storage });
  const op: FusedConv = {
    op: "conv",
    label: "test",
    view: {
      sources: x2 ? [x, x2] : [x],
      affine: scaleShift && value("affine", scaleShift, true, segments, "f32"),
      act: it.act ?? "none",
      upsample: it.upsample ?? false,
    },
    weights: [
      {
        weight: { name: "w", shape: args.weight.shape },
        bias: args.bias && { name: "b", shape: [it.o] },
        segments: [it.o],
      },
    ],
    kernel: [it.k, it.k],
    stride: it.stride ?? 1,
    pad: it.pad,
    emb: table && { table, group: 0 },
    residual: args.residual && value("residual", args.residual),
    scale: it.outScale ?? 1,
    y,
  };
  const params = { w: args.weight, b: args.bias };
  const [actual] = await runOps([op], { target, batch: it.n, inputs, params, outputs: [y], dtype });
  return nmse((actual as RefTensor).data, expected.data);
}

/** Whether a case is worth its seconds: software adapters compile each form of `tiled` for up to half a minute. */
const affordable = (target: string, dtype: string, { c2, act, upsample }: Conv2dCase) =>
  target !== "gpu" || dtype === "f32" || !(c2 || upsample || (act && act !== "silu"));

for (const { name, target } of await targets())
  describe(`conv2d (${name})`, () => {
    for (const dtype of ["f32", "f16"] as const)
      for (const shape of conv2dCases.filter((it) => affordable(name, dtype, it)))
        it(`${caseName("conv2d", shape)} ${dtype}`, async () => {
          expect(await run(shape, target, dtype)).toBeLessThanOrEqual(TOLERANCE[dtype]);
        });
  });

describe("conv2d (shapes in the source)", () => {
  for (const shape of conv2dCases.filter((_, i) => i % 8 === 5))
    it(caseName("conv2d", shape), async () => {
      expect(await run(shape, constTarget, "f32")).toBeLessThanOrEqual(TOLERANCE.f32);
    });
});
