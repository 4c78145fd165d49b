/** The fused step against f64: guidance, clipping, Philox noise, learned variance, and numbers that are not finite. */
import { describe, expect, it } from "vitest";
import { updateRecord } from "../../src/kernels/sampling/records.ts";
import { ddimStep } from "../../src/kernels/sampling/step.ts";
import type { Target } from "../../src/runtime/kernel.ts";
import { stepNoise } from "../../src/sampler/philox.ts";
import { referenceStep } from "../../src/sampler/referenceStep.ts";
import { makeSchedule } from "../../src/sampler/schedule.ts";
import { caseName, type DdimStepCase, ddimStepCases } from "../cases.ts";
import { type DdimStepArgs, ddimStep as reference } from "../reference/ddimStep.ts";
import { ddimStepInputs, tensorsOf } from "../reference/inputs.ts";
import { dim, nmse, type RefTensor, tensor } from "../reference/tensor.ts";
import { constTarget, Inputs, runCalls, targets } from "../support/gpu.ts";
import { rowOf, runWords, stepFlags } from "../support/samplerTables.ts";

const SEED = 0x1234_5678_9abc_def0n;
const NEVER = 0xffffffff;
/** The step that runs; the table's other rows hold numbers that would be noticed. */
const STEP = 3;

interface Run {
  target: Target;
  x: RefTensor;
  model: RefTensor;
  guidance?: number;
  k: readonly number[];
  clip?: number;
  sigma?: number;
  images?: readonly number[];
  status?: readonly number[];
}

async function run({ target, x, model, guidance, k, clip, sigma, images, status }: Run) {
  const n = dim(x, 0);
  const guided = guidance !== undefined;
  const inputs = new Inputs(target);
  const buffer = { storage: "buffer", batched: false } as const;
  const state = inputs.add("x", guided ? tensor([2 * n, ...x.shape.slice(1)], [...x.data, ...x.data]) : x, {
    storage: "buffer",
  });
  const other = rowOf([1e6, 1e6, 1e6, 1e6, 1e6], 1e6, 1e6);
  const rows = updateRecord.pack(numbers(6).map((i) => (i === STEP ? rowOf(k, clip, sigma) : other)));
  const words = runWords(SEED, images ?? numbers(n), guidance);
  const u32 = { ...buffer, dtype: "u32" } as const;
  const tensors = {
    x: state,
    m: inputs.add("m", model),
    updates: inputs.add("updates", tensor([rows.length], [...rows]), u32),
    run: inputs.add("run", tensor([words.length], words), u32),
    status: inputs.add("status", tensor([n], status ?? (() => NEVER)), u32),
    x0: inputs.output("x0", x.shape.slice(1), { storage: "buffer" }),
  };
  const call = ddimStep.lower(
    { ...target, storage: "buffer" },
    "step",
    tensors,
    stepFlags({ guided, noise: sigma !== undefined, wider: model.shape.at(-1) !== x.shape.at(-1) }),
  );
  const outputs = [tensors.x, tensors.x0, tensors.status];
  const frame = [STEP];
  const [next, x0, found] = await runCalls([call], { target, batch: n, inputs: inputs.map, outputs, frame });
  return { next: next as RefTensor, x0: x0 as RefTensor, status: [...(found as RefTensor).data] };
}

const numbers = (n: number) => Array.from({ length: n }, (_, i) => i);

/** Philox noise of some images at {@link STEP}, NHWC. */
function noiseOf(images: readonly number[], [h, w, c]: readonly [number, number, number]): RefTensor {
  const planes = images.map((image) => stepNoise(SEED, image, STEP, [c, h, w]));
  return tensor([images.length, h, w, c], (i) => {
    const [k, pixel, n] = [i % c, Math.floor(i / c) % (h * w), Math.floor(i / (c * h * w))];
    return planes[n]?.[k * h * w + pixel] as number;
  });
}

async function check(it: DdimStepCase, target: Target) {
  const { n, h, w, c, sigma } = it;
  const images = numbers(n).map((i) => 1000 - 3 * i);
  const args: DdimStepArgs = {
    ...ddimStepInputs(it),
    noise: sigma === undefined ? undefined : noiseOf(images, [h, w, c]),
  };
  const { next, x0, status } = await run({ target, ...args, images });
  const expected = reference(args);
  const copies = it.guidance === undefined ? 1 : 2;
  expect(next.data).toHaveLength(copies * expected.prev.data.length);
  for (let copy = 0; copy < copies; copy++) {
    const half = next.data.subarray(copy * expected.prev.data.length, (copy + 1) * expected.prev.data.length);
    expect(nmse(half, expected.prev.data)).toBeLessThanOrEqual(1e-10);
  }
  expect(nmse(x0.data, expected.x0.data)).toBeLessThanOrEqual(1e-10);
  expect(status).toEqual(numbers(n).map(() => NEVER));
}

/** Three images of 2×2×3, whose model output has one value replaced. */
function spoiled(value: number, at: number, copies = 1) {
  const make = tensorsOf("spoiled");
  const x = make([3, 2, 2, 3]);
  const model = make([3 * copies, 2, 2, 3]);
  model.data[at] = value;
  return { x, model, k: [1.5, -1.25, 0.5, 0.25, 0.125] };
}

for (const { name, target } of [...(await targets()), { name: "shapes in the source", target: constTarget }])
  describe(`ddimStep (${name})`, () => {
    for (const shape of ddimStepCases) it(caseName("ddimStep", shape), () => check(shape, target));

    it("leaves the state without noise in a step whose σ is 0", async () => {
      const args = ddimStepInputs({ n: 2, h: 3, w: 2, c: 3 });
      const { next } = await run({ target, ...args, sigma: 0 });
      expect(nmse(next.data, reference(args).prev.data)).toBeLessThanOrEqual(1e-10);
    });

    it("takes the first half of the channels where the network predicts its variance", async () => {
      const args = ddimStepInputs({ n: 2, h: 5, w: 3, c: 3, clip: 1 });
      const { data } = args.model;
      // Channels 3 to 5 are the variance; channel 3 shares a vec4 with the prediction and must not count.
      const model = tensor([2, 5, 3, 6], (i) => (i % 6 < 3 ? data[Math.floor(i / 6) * 3 + (i % 6)]! : Number.NaN));
      const { next, x0, status } = await run({ target, ...args, model });
      expect(nmse(next.data, reference(args).prev.data)).toBeLessThanOrEqual(1e-10);
      expect(nmse(x0.data, reference(args).x0.data)).toBeLessThanOrEqual(1e-10);
      expect(status).toEqual([NEVER, NEVER]);
    });

    it.each([
      ["NaN", Number.NaN],
      ["+Inf", Number.POSITIVE_INFINITY],
      ["−Inf", Number.NEGATIVE_INFINITY],
      ["a value that overflows", 3.2e38],
    ])("names image and step of %s, also with clipping", async (_, value) => {
      // Image 1 has elements 12 to 23; the last one lies beside a padding lane.
      for (const [at, clip] of [
        [12, undefined],
        [23, 1],
      ] as const)
        expect((await run({ target, ...spoiled(value, at), clip })).status).toEqual([NEVER, STEP, NEVER]);
    });

    it("finds them in the state and in either half of a guided output", async () => {
      const { x, ...rest } = spoiled(0, 0, 2);
      x.data[35] = Number.NaN;
      expect((await run({ target, x, ...rest, guidance: 2 })).status).toEqual([NEVER, NEVER, STEP]);
      for (const at of [13, 36 + 13])
        expect((await run({ target, ...spoiled(Number.NaN, at, 2), guidance: 2, clip: 1 })).status).toEqual([
          NEVER,
          STEP,
          NEVER,
        ]);
    });

    it("keeps the first step that failed", async () => {
      const earlier = await run({ target, ...spoiled(Number.NaN, 12), status: [NEVER, STEP - 1, NEVER] });
      expect(earlier.status).toEqual([NEVER, STEP - 1, NEVER]);
    });

    it("says nothing about large finite numbers", async () => {
      expect((await run({ target, ...spoiled(2e38, 12) })).status).toEqual([NEVER, NEVER, NEVER]);
    });
  });

describe("ddimStep with the schedule's own coefficients", () => {
  const cases = (["epsilon", "v_prediction", "sample"] as const).flatMap((prediction) =>
    [true, false].map((clip) => ({ prediction, clip })),
  );
  it.each(cases)("$prediction, clip $clip, every step of ten", async ({ prediction, clip }) => {
    const [own] = await targets();
    const schedule = makeSchedule({ steps: 10, prediction, clip, eta: 1 });
    const make = tensorsOf(`${prediction} ${clip}`);
    const [x, model] = [make([2, 4, 4, 3]), make([2, 4, 4, 3])];
    const z = noiseOf([0, 1], [4, 4, 3]);
    for (const step of schedule.steps) {
      const { k0, k1, k2, k3, k4, clip: limit } = step.coefficients;
      const k = [k0, k1, k2, k3, k4];
      const { next, x0 } = await run({ target: own!.target, x, model, k, clip: limit ?? undefined, sigma: step.sigma });
      const expected = referenceStep(step, x.data, model.data, z.data);
      expect(nmse(next.data, expected.x)).toBeLessThanOrEqual(1e-10);
      expect(nmse(x0.data, expected.x0)).toBeLessThanOrEqual(1e-10);
    }
  });
});
