/** conv2d with every fused part, in every variant that the adapter allows, against f64. */
import { describe, expect, it } from "vitest";
import { lowerOps } from "../../src/kernels/lower.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { type Conv2dCase, caseName, conv2dCases } from "../cases.ts";
import { nmse } from "../reference/tensor.ts";
import { constTarget, runProblem, targets } from "../support/gpu.ts";
import { convProblem, type StoredDType } from "../support/problems.ts";

const TOLERANCE = { f32: 1e-10, f16: 2e-5 };

async function run(it: Conv2dCase, target: Target, dtype: StoredDType): Promise<number> {
  const problem = convProblem(it, target, dtype);
  return nmse((await runProblem(problem, target, dtype)).data, problem.expected().data);
}

/** Whether a case is worth its seconds: software adapters compile each form of `tiled` for up to half a minute. */
const affordable = (target: string, dtype: string, { c2, act, upsample }: Conv2dCase) =>
  target !== "gpu" || dtype === "f32" || !(c2 || upsample || (act && act !== "silu"));
/** Whether Winograd's method can do a case: the others fall back to what "own" tests. */
const distinct = (target: string, { k, stride = 1, c, c2 = 0 }: Conv2dCase) =>
  target !== "winograd" || (k === 3 && stride === 1 && (Math.ceil(c / 4) + Math.ceil(c2 / 4)) % 2 === 0);

const found = await targets();
const own = (found[0] as (typeof found)[number]).target;
const forced =
  own.lanes > 0 ? [{ name: "winograd", target: { ...own, methods: { conv2d: "winograd" as const } } }] : [];

for (const { name, target } of [...found, ...forced])
  describe(`conv2d (${name})`, () => {
    for (const dtype of ["f32", "f16"] as const)
      for (const shape of conv2dCases.filter((it) => affordable(name, dtype, it) && distinct(name, it)))
        it(`${caseName("conv2d", shape)} ${dtype}`, async () => {
          expect(await run(shape, target, dtype)).toBeLessThanOrEqual(TOLERANCE[dtype]);
        });
  });

describe("conv2d (tiles of 128 pixels)", () => {
  const shape: Conv2dCase = { n: 1, h: 46, w: 45, c: 22, o: 254, k: 1, pad: [0, 0, 0, 0], noBias: true };
  it(caseName("conv2d", shape), async () => {
    const [call] = lowerOps(convProblem(shape, constTarget, "f32").ops, constTarget, "f32").calls;
    expect(call?.variant).toBe("tiled128");
    expect(await run(shape, constTarget, "f32")).toBeLessThanOrEqual(TOLERANCE.f32);
  });
});

describe("conv2d (shapes in the source)", () => {
  for (const shape of conv2dCases.filter((_, i) => i % 8 === 5))
    it(caseName("conv2d", shape), async () => {
      expect(await run(shape, constTarget, "f32")).toBeLessThanOrEqual(TOLERANCE.f32);
    });
});
