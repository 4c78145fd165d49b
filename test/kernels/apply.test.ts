/** `apply`: every part of a load map on its own and together, against f64. */
import { describe, expect, it } from "vitest";
import { type ApplyFlags, apply } from "../../src/kernels/apply.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { activationCases, caseName, type ShapeCase, shapeCases } from "../cases.ts";
import { type Act, activate } from "../reference/activations.ts";
import { avgPool2 } from "../reference/avgPool2.ts";
import { concat } from "../reference/concat.ts";
import { tensorsOf } from "../reference/inputs.ts";
import { dim, nmse, type RefTensor, tensor } from "../reference/tensor.ts";
import { upsample } from "../reference/upsample.ts";
import { constTarget, Inputs, rounded, runCalls, targets } from "../support/gpu.ts";

const TOLERANCE = { f32: 1e-10, f16: 2e-5 };

interface Case extends Partial<Pick<ApplyFlags, "upsample" | "pool">> {
  act?: Act;
  /** Concatenate the second source. */
  joined?: boolean;
  affine?: boolean;
}

function makeInputs(shape: ShapeCase, it: Case, dtype: "f32" | "f16") {
  const make = tensorsOf(caseName("apply", { ...shape, ...it }));
  const { n, h, w, c, c2 } = shape;
  const channels = c + (it.joined ? c2 : 0);
  return {
    a: rounded(make([n, h, w, c]), dtype),
    b: it.joined ? rounded(make([n, h, w, c2]), dtype) : undefined,
    affine: it.affine ? make([n, 2, channels], { scale: 0.5, mean: 0.75 }) : undefined,
  };
}

function reference({ a, b, affine }: ReturnType<typeof makeInputs>, it: Case): RefTensor {
  const x = b ? concat(a, b) : a;
  const [c, perImage] = [dim(x, 3), x.data.length / dim(x, 0)];
  const mapped = tensor(x.shape, (i) => {
    const row = Math.floor(i / perImage) * 2 * c + (i % c);
    const v = x.data[i] as number;
    return activate(it.act ?? "none", affine ? v * affine.data[row]! + affine.data[row + c]! : v);
  });
  const grown = it.upsample ? upsample(mapped) : mapped;
  return it.pool ? avgPool2(grown) : grown;
}

async function run(shape: ShapeCase, it: Case, target: Target, dtype: "f32" | "f16") {
  const made = makeInputs(shape, it, dtype);
  const expected = reference(made, it);
  const inputs = new Inputs(target, dtype);
  const segments = it.joined ? [shape.c, shape.c2] : [shape.c];
  const a = inputs.add("a", made.a);
  const b = made.b && inputs.add("b", made.b);
  const affine = made.affine && inputs.add("affine", made.affine, { segments, dtype: "f32" });
  const y = inputs.output("y", expected.shape.slice(1), { segments });
  const flags = { act: it.act ?? "none", upsample: it.upsample ?? false, pool: it.pool ?? false };
  const call = apply.lower(target, "test", { a, b, affine, y }, flags);
  const [actual] = await runCalls([call], { target, batch: shape.n, inputs: inputs.map, outputs: [y] });
  return { actual: actual as RefTensor, expected };
}

async function check(shape: ShapeCase, it: Case, target: Target, dtype: "f32" | "f16") {
  const { actual, expected } = await run(shape, it, target, dtype);
  expect(nmse(actual.data, expected.data)).toBeLessThanOrEqual(TOLERANCE[dtype]);
}

const parts: readonly Case[] = [
  { joined: true },
  { upsample: true },
  { joined: true, affine: true, act: "silu" },
  { joined: true, affine: true, act: "silu", upsample: true },
];

for (const { name, target } of await targets())
  describe(`apply (${name})`, () => {
    for (const shape of shapeCases) {
      for (const it_ of parts) it(caseName("apply", { ...shape, ...it_ }), () => check(shape, it_, target, "f32"));
      const pooled: Case = { pool: true, joined: true, affine: true, act: "silu" };
      if (shape.h > 1) it(caseName("apply", { ...shape, ...pooled }), () => check(shape, pooled, target, "f32"));
    }

    const shape = { n: 2, h: 7, w: 5, c: 6, c2: 3 };
    for (const act of activationCases)
      it(`activation ${act}`, () => check(shape, { act, affine: true }, target, "f32"));

    it("reads and writes f16", () => check(shape, { joined: true, affine: true, act: "silu" }, target, "f16"));

    it("keeps activations finite and exact at large magnitudes", async () => {
      for (const act of activationCases) {
        const x = tensor([1, 1, 8, 1], [-1e4, -200, -88.5, -20, 20, 88.5, 200, 1e4]);
        const inputs = new Inputs(target);
        const [a, y] = [inputs.add("a", x), inputs.output("y", [1, 8, 1])];
        const flags = { act, upsample: false, pool: false };
        const call = apply.lower(target, "test", { a, y }, flags);
        const [actual] = await runCalls([call], { target, batch: 1, inputs: inputs.map, outputs: [y] });
        x.data.forEach((v, i) => {
          const value = (actual as RefTensor).data[i] as number;
          expect(Math.abs(value - activate(act, v)), `${act}(${v}) = ${value}`).toBeLessThanOrEqual(
            1e-6 * Math.max(1e-1, Math.abs(activate(act, v))),
          );
        });
      }
    });
  });

describe("apply (shapes in the source)", () => {
  for (const it_ of parts)
    it(caseName("apply", it_), () => check({ n: 2, h: 7, w: 5, c: 6, c2: 3 }, it_, constTarget, "f32"));
});

it("refuses an output whose channels are stored differently", async () => {
  const inputs = new Inputs(constTarget);
  const a = inputs.add("a", tensor([1, 2, 2, 6], 0));
  const b = inputs.add("b", tensor([1, 2, 2, 3], 0));
  const y = inputs.output("y", [2, 2, 12]);
  const lower = () =>
    apply.lower(constTarget, "t", { a, b, y: { ...y, segments: [16] } }, { act: "none", upsample: false, pool: false });
  expect(lower).toThrow("apply: y has shape [4], expected 3 channel groups");
});
