/** The sampler's kernels against float64 on the host: every flag of the step, the solvers, and what looks at whole images. */
import { describe, expect, it } from "vitest";
import { guidanceRescale, thresholdQuantile } from "../../src/kernels/sampling/factors.ts";
import { historyStep } from "../../src/kernels/sampling/history.ts";
import { initialNoise, pasteKnown, prepareState } from "../../src/kernels/sampling/noise.ts";
import { type Update, updateRecord } from "../../src/kernels/sampling/records.ts";
import { stateResidual, x0Statistics } from "../../src/kernels/sampling/statistics.ts";
import { ddimStep } from "../../src/kernels/sampling/step.ts";
import type { KernelCall, Target } from "../../src/runtime/kernel.ts";
import type { Value } from "../../src/runtime/values.ts";
import { normal4 } from "../../src/sampler/philox.ts";
import { planSchedule, updateTable } from "../../src/sampler/plan.ts";
import { referenceStep } from "../../src/sampler/referenceStep.ts";
import { makeSchedule, type ScheduleOptions } from "../../src/sampler/schedule.ts";
import { tensorsOf } from "../reference/inputs.ts";
import { type RefTensor, tensor } from "../reference/tensor.ts";
import { constTarget, Inputs, runCalls, targets } from "../support/gpu.ts";

const SEED = 0x1234567890abcdefn;
const IMAGES = [5, 0, 900];
/** A batch of three with a remainder in every direction; more pixels than threads. */
const SHAPE = [3, 7, 11, 3] as const;
const [N, H, W, C] = SHAPE;
const SIZE = H * W * C;
const bits = (v: number) => new Uint32Array(Float32Array.of(v).buffer)[0] as number;
const f32s = (t: RefTensor) => [...Float32Array.from(t.data)];

/** Largest difference over max(1, largest reference). */
function deviation(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [difference, scale] = [0, 1];
  expect(actual.length).toBe(expected.length);
  for (let i = 0; i < expected.length; i++) {
    difference = Math.max(difference, Math.abs((actual[i] as number) - (expected[i] as number)));
    scale = Math.max(scale, Math.abs(expected[i] as number));
    if (Number.isNaN(actual[i])) return Number.NaN;
  }
  return difference / scale;
}

interface Bench {
  x: RefTensor;
  m: RefTensor;
  table: readonly Update[];
  row?: number;
  weights?: readonly number[];
  signs?: readonly boolean[];
  phi?: number;
  factors?: readonly number[];
  extra?: Readonly<Record<string, RefTensor>>;
}

/** Uploads what all kernels share; `call` makes the dispatches from the values, `read` names what comes back. */
async function onGpu(
  target: Target,
  { x, m, table, row = 0, weights, signs, phi = 0, factors, extra = {} }: Bench,
  call: (v: Record<string, Value>, plain: Target) => KernelCall[],
  read: readonly string[],
): Promise<number[][]> {
  const plain = { ...target, storage: "buffer" } as const;
  const inputs = new Inputs(plain);
  const flat = (name: string, data: readonly number[], dtype: "f32" | "u32" = "f32") =>
    inputs.add(name, tensor([data.length / 4, 4], data), { batched: false, dtype });
  const run = IMAGES.flatMap((image, n) => [image, signs?.[n] ? 0x80000000 : 0, bits(weights?.[n] ?? 1), 0]);
  const seed = [Number(SEED & 0xffffffffn), Number(SEED >> 32n), bits(phi), 0];
  const values: Record<string, Value> = {
    x: inputs.add("x", x),
    m: inputs.add("m", m, { storage: target.storage }),
    updates: flat("updates", [...updateRecord.pack(table)], "u32"),
    run: flat("run", [...seed, ...run], "u32"),
    status: flat("status", [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff], "u32"),
    factors: flat("factors", factors ? factors.flatMap((f) => [f, f, 0, 0]) : new Array(4 * N).fill(0)),
    statistics: flat("statistics", new Array(4 * N * table.length).fill(0)),
    x0: inputs.output("x0", [H, W, C]),
  };
  for (const [name, t] of Object.entries(extra)) values[name] = inputs.add(name, t);
  const outputs = read.map((name) => values[name] as Value);
  const results = await runCalls(call(values, plain), {
    target: plain,
    batch: N,
    inputs: inputs.map,
    outputs,
    frame: [row],
  });
  return results.map(f32s);
}

const make = tensorsOf("sampling");
const x = make([...SHAPE]);
const m = make([...SHAPE]);
const updates = (schedule: ReturnType<typeof makeSchedule>) => planSchedule(schedule).rows.map((r) => r.update);

/** Philox noise of all images in N, H, W, C. */
function noiseOf(step: number): RefTensor {
  return tensor([...SHAPE], (i) => {
    const [n, pixel, c] = [Math.floor(i / SIZE), Math.floor((i % SIZE) / C), i % C];
    return normal4(SEED, IMAGES[n] as number, step, pixel, Math.floor(c / 4))[c % 4] as number;
  });
}

const cases: [string, ScheduleOptions][] = [
  ["eta 0, clipped", {}],
  ["eta 0, linear", { clip: false }],
  ["v, eta 0.7, ε not re-derived", { prediction: "v_prediction", eta: 0.7, rederive: false }],
  ["sample, eta 1", { prediction: "sample", eta: 1, clip_sample_range: 2 }],
  ["σ̂", { sigma: "hat", temperature: 0.9 }],
  ["an eta per step", { eta: [1, 0.5, 0, 0.2, 1] }],
  ["ddpm", { sampler: "ddpm" }],
];

for (const { name, target } of [...(await targets()), { name: "shapes in the source", target: constTarget }]) {
  describe(`ddimStep (${name})`, () => {
    const flags = {
      guided: false,
      rescale: false,
      wider: false,
      threshold: false,
      noise: "philox",
      learned: false,
    } as const;
    it.each(cases)("%s", async (_, options) => {
      const schedule = makeSchedule({ steps: 5, ...options });
      for (const row of [0, 3]) {
        const [next, x0] = await onGpu(
          target,
          { x, m, table: updates(schedule), row },
          (v, plain) => [ddimStep.lower(plain, "step", { ...v, factors: undefined }, flags)],
          ["x", "x0"],
        );
        const expected = referenceStep(schedule.steps[row]!, x.data, m.data, noiseOf(row).data, { images: N });
        expect(deviation(next!, expected.x)).toBeLessThan(2e-6);
        expect(deviation(x0!, expected.x0)).toBeLessThan(2e-6);
      }
    });

    it("takes noise as given, and flips that of antithetic images", async () => {
      const schedule = makeSchedule({ steps: 5, eta: 1 });
      const z = make([...SHAPE]);
      const step = (noise: "given" | "philox", signs?: boolean[]) =>
        onGpu(
          target,
          { x, m, table: updates(schedule), signs, extra: { z } },
          (v, plain) => [
            ddimStep.lower(
              plain,
              "step",
              { ...v, factors: undefined, z: noise === "given" ? v.z : undefined },
              { ...flags, noise },
            ),
          ],
          ["x"],
        );
      const [given] = await step("given");
      expect(deviation(given!, referenceStep(schedule.steps[0]!, x.data, m.data, z.data).x)).toBeLessThan(2e-6);
      const [flipped] = await step("philox", [false, true, false]);
      const noise = noiseOf(0).data.map((v, i) => (Math.floor(i / SIZE) === 1 ? -v : v));
      expect(deviation(flipped!, referenceStep(schedule.steps[0]!, x.data, m.data, noise).x)).toBeLessThan(2e-6);
    });

    it.each([1, 3, 4, 6])("reads the variance of %i channels from behind them", async (channels) => {
      const schedule = makeSchedule({ steps: 5, sampler: "ddpm", variance_type: "learned_range", clip: false });
      const shape = [N, H, W, channels];
      const [xs, both, z] = [make(shape), make([N, H, W, 2 * channels]), make(shape)];
      const half = (offset: number) =>
        tensor(shape, (i) => both.data[Math.floor(i / channels) * 2 * channels + offset + (i % channels)] as number);
      const plain = { ...target, storage: "buffer" } as const;
      const inputs = new Inputs(plain);
      const flat = (name: string, data: readonly number[], dtype: "f32" | "u32" = "f32") =>
        inputs.add(name, tensor([data.length / 4, 4], data), { batched: false, dtype });
      const values = {
        x: inputs.add("x", xs),
        m: inputs.add("m", both, { storage: target.storage }),
        z: inputs.add("z", z),
        updates: flat("updates", [...updateRecord.pack(updates(schedule))], "u32"),
        run: flat("run", new Array(16).fill(0), "u32"),
        status: flat("status", new Array(4).fill(0), "u32"),
        x0: inputs.output("x0", [H, W, channels]),
      };
      const call = ddimStep.lower(plain, "step", values, { ...flags, noise: "given", wider: true, learned: true });
      for (const row of [1, 4]) {
        const [next] = await runCalls([call], {
          target: plain,
          batch: N,
          inputs: inputs.map,
          outputs: [values.x],
          frame: [row],
        });
        const variance = half(channels).data;
        const expected = referenceStep(schedule.steps[row]!, xs.data, half(0).data, z.data, { variance });
        expect(deviation((next as RefTensor).data, expected.x)).toBeLessThan(2e-6);
      }
    });

    it("guides image by image, and not outside the interval", async () => {
      const schedule = makeSchedule({ steps: 5, clip: false });
      const both = make([2 * N, H, W, C]);
      const twice = tensor([2 * N, H, W, C], [...x.data, ...x.data]);
      const weights = [3, 1, -0.5];
      const table = planSchedule(schedule, { interval: [0, 700] }).rows.map((r) => r.update);
      for (const row of [0, 2]) {
        const [next] = await onGpu(
          target,
          { x: twice, m: both, table, row, weights },
          (v, plain) => [
            ddimStep.lower(plain, "step", { ...v, factors: undefined }, { ...flags, noise: "none", guided: true }),
          ],
          ["x"],
        );
        const mixed = x.data.map((_, i) => {
          const [c, u] = [both.data[i] as number, both.data[N * SIZE + i] as number];
          return row === 0 ? c : u + (weights[Math.floor(i / SIZE)] as number) * (c - u);
        });
        const expected = referenceStep(schedule.steps[row]!, x.data, mixed).x;
        expect(deviation(next!, [...expected, ...expected])).toBeLessThan(2e-6);
      }
    });

    it("names the row where x0 stops being finite, image by image", async () => {
      const wild = tensor([...SHAPE], (i) =>
        i === 0 ? Number.NaN : i === 2 * SIZE + 5 ? Number.POSITIVE_INFINITY : 0,
      );
      const [status] = await onGpu(
        target,
        { x, m: wild, table: updates(makeSchedule({ steps: 5 })), row: 2 },
        (v, plain) => [ddimStep.lower(plain, "step", { ...v, factors: undefined }, flags)],
        ["status"],
      );
      expect(status).toEqual([2, Math.fround(0xffffffff), 2, Math.fround(0xffffffff)]);
    });
  });

  describe(`dynamic thresholding (${name})`, () => {
    const flags = { guided: false, rescale: false, wider: false } as const;
    const step = { ...flags, threshold: true, noise: "none", learned: false } as const;
    it.each([
      [0.995, 1.5],
      [0.9, 100],
      [0.5, 100],
      [1, 100],
      [0.001, 100],
      [0.9, 1],
      [0.9, 0.5],
    ])("quantile %d, at most %d", async (ratio, max) => {
      const schedule = makeSchedule({ steps: 5, threshold: { ratio, max } });
      const wide = tensor([...SHAPE], (i) => (x.data[i] as number) * (1 + Math.floor(i / SIZE)));
      const [next, x0] = await onGpu(
        target,
        { x: wide, m, table: updates(schedule), row: 3 },
        (v, plain) => [
          thresholdQuantile.lower(plain, "threshold", v, { ...flags, ratio, max }),
          ddimStep.lower(plain, "step", v, step),
        ],
        ["x", "x0"],
      );
      const expected = referenceStep(schedule.steps[3]!, wide.data, m.data, undefined, { images: N });
      expect(deviation(x0!, expected.x0)).toBeLessThan(2e-6);
      expect(deviation(next!, expected.x)).toBeLessThan(2e-6);
    });

    it("is exact where values repeat", async () => {
      // x0 = x with these coefficients, so the quantile of |x| is known to the last bit.
      const table = [{ k0: 1, guided: true }];
      const values = tensor([...SHAPE], (i) => [2, -3, 2, 5, 2.5][i % 5] as number);
      for (const ratio of [0.25, 0.6, 0.61, 0.999]) {
        const [factors] = await onGpu(
          target,
          { x: values, m, table },
          (v, plain) => [thresholdQuantile.lower(plain, "threshold", v, { ...flags, ratio, max: 10 })],
          ["factors"],
        );
        const expected = Array.from({ length: N }, (_, n) => {
          const sorted = values.data
            .slice(n * SIZE, (n + 1) * SIZE)
            .map(Math.abs)
            .sort();
          const position = ratio * (SIZE - 1);
          const [below, above] = [sorted[Math.floor(position)]!, sorted[Math.ceil(position)]!];
          return Math.fround(below + (position - Math.floor(position)) * (above - below));
        });
        expected.forEach((s, n) => {
          expect(factors![n * 4 + 1]).toBeCloseTo(s, 5);
        });
      }
    });
  });

  it(`guidance rescale (${name})`, async () => {
    const both = tensor([2 * N, H, W, C], (i) => 0.3 + Math.sin(i * 1.7) * (1 + (i % 7)));
    const weights = [5, 1, 0.2];
    const phi = 0.7;
    const schedule = makeSchedule({ steps: 5, clip: false });
    const flags = {
      guided: true,
      rescale: true,
      wider: false,
      threshold: false,
      noise: "none",
      learned: false,
    } as const;
    const [next] = await onGpu(
      target,
      { x: tensor([2 * N, H, W, C], [...x.data, ...x.data]), m: both, table: updates(schedule), weights, phi },
      (v, plain) => [
        guidanceRescale.lower(plain, "rescale", { ...v, x: v.x }, { guided: true }),
        ddimStep.lower(plain, "step", v, flags),
      ],
      ["x"],
    );
    const deviationOf = (v: number[]) => {
      const mean = v.reduce((a, b) => a + b, 0) / v.length;
      return Math.sqrt(v.reduce((a, b) => a + (b - mean) ** 2, 0) / (v.length - 1));
    };
    const guided = Array.from({ length: N }, (_, n) => {
      const half = (k: number) => [...both.data.slice((k * N + n) * SIZE, (k * N + n + 1) * SIZE)];
      const [c, u] = [half(0), half(1)];
      const g = u.map((v, i) => v + weights[n]! * (c[i]! - v));
      const factor = phi * (deviationOf(c) / deviationOf(g)) + 1 - phi;
      return g.map((v) => v * factor);
    }).flat();
    const expected = referenceStep(schedule.steps[0]!, x.data, guided).x;
    expect(deviation(next!.slice(0, N * SIZE), expected)).toBeLessThan(3e-6);
    expect(next!.slice(N * SIZE)).toEqual(next!.slice(0, N * SIZE));
  });

  it(`statistics of x0 before it is bounded (${name})`, async () => {
    const schedule = makeSchedule({ steps: 5, clip_sample_range: 2 });
    const holed = tensor([...SHAPE], (i) => (i === SIZE + 4 ? Number.NaN : (m.data[i] as number)));
    const [statistics] = await onGpu(
      target,
      { x, m: holed, table: updates(schedule), row: 1 },
      (v, plain) => [
        x0Statistics.lower(
          plain,
          "statistics",
          { ...v, factors: undefined },
          { guided: false, rescale: false, wider: false, threshold: false },
        ),
      ],
      ["statistics"],
    );
    const { k0, k1 } = schedule.steps[1]!.coefficients;
    for (let n = 0; n < N; n++) {
      const raw = Array.from({ length: SIZE }, (_, i) => k0 * x.data[n * SIZE + i]! + k1 * holed.data[n * SIZE + i]!);
      const finite = raw.filter(Number.isFinite);
      const got = statistics!.slice((N + n) * 4, (N + n + 1) * 4);
      expect(deviation(got.slice(0, 2), [Math.min(...finite), Math.max(...finite)])).toBeLessThan(2e-6);
      expect(got[2]).toBeCloseTo(finite.filter((v) => Math.abs(v) > 2).length / SIZE, 6);
      expect(got[3]).toBe(n === 1 ? 1 : 0);
    }
  });

  it(`a step with memory (${name})`, async () => {
    const history = make([4 * N, H, W, C]);
    const row: Update = {
      ...{ k0: 1.2, k1: -0.4, clip: 0.9, value: [0.3, -0.2, 0.5], k3: 0.7 },
      ...{ base: 0.25, cursor: 1, push: true, save: true, weights: [0.6, -0.3, 0.2, 0.1] },
    };
    const [next, kept] = await onGpu(
      target,
      { x, m, table: [row], extra: { history } },
      (v, plain) => [
        historyStep.lower(
          plain,
          "step",
          { ...v, factors: undefined },
          {
            guided: false,
            rescale: false,
            wider: false,
            threshold: false,
            noise: "none",
            learned: false,
            ring: 3,
            base: true,
          },
        ),
      ],
      ["x", "history"],
    );
    const past = (slot: number, i: number) => history.data[slot * N * SIZE + i] as number;
    const value = (i: number) => {
      const [s, o] = [x.data[i] as number, m.data[i] as number];
      return 0.3 * s - 0.2 * o + 0.5 * Math.min(Math.max(1.2 * s - 0.4 * o, -0.9), 0.9);
    };
    const expected = x.data.map(
      (s, i) => 0.7 * s + 0.25 * past(3, i) + 0.6 * value(i) - 0.3 * past(1, i) + 0.2 * past(0, i) + 0.1 * past(2, i),
    );
    expect(deviation(next!, expected)).toBeLessThan(2e-6);
    const slots = [0, 1, 2, 3].map((slot) =>
      x.data.map((s, i) => (slot === 2 ? value(i) : slot === 3 ? s : past(slot, i))),
    );
    expect(
      deviation(
        kept!,
        slots.flatMap((s) => [...s]),
      ),
    ).toBeLessThan(2e-6);
  });

  it(`the distance to a kept state (${name})`, async () => {
    const history = make([2 * N, H, W, C]);
    const [statistics] = await onGpu(
      target,
      { x, m, table: [{}], extra: { history } },
      (v, plain) => [stateResidual.lower(plain, "residual", v, {}, { SLOT: 1 })],
      ["statistics"],
    );
    for (let n = 0; n < N; n++) {
      let sum = 0;
      for (let i = n * SIZE; i < (n + 1) * SIZE; i++) sum += (x.data[i]! - history.data[N * SIZE + i]!) ** 2;
      expect(statistics![n * 4]).toBeCloseTo(Math.sqrt(sum / SIZE), 5);
    }
  });

  describe(`noise (${name})`, () => {
    it("x_T and its antithetic twin", async () => {
      const [start] = await onGpu(
        target,
        { x, m, table: [{}], signs: [false, true, false] },
        (v, plain) => [initialNoise.lower(plain, "x_T", { run: v.run, x: v.x }, { guided: false })],
        ["x"],
      );
      const expected = noiseOf(0xffffffff).data.map((v, i) => (Math.floor(i / SIZE) === 1 ? -v : v));
      expect(deviation(start!, expected)).toBeLessThan(2e-6);
    });

    it("blends known pixels at the state's level, jumps back, and pastes", async () => {
      const [known, mask, z] = [
        make([...SHAPE]),
        tensor([...SHAPE], (i) => [0, 1, 0.25][i % 3] as number),
        make([...SHAPE]),
      ];
      const level = [0.8, 0.6, 0.3, 0.95];
      const blend = (noise: "given" | "philox") =>
        onGpu(
          target,
          {
            x,
            m,
            table: [{}],
            row: 1,
            extra: { known, mask, z, levels: tensor([1, 1, 2, 4], [0, 0, 0, 0, ...level]) },
          },
          (v, plain) => [
            prepareState.lower(
              plain,
              "prepare",
              { ...v, z: noise === "given" ? v.z : undefined },
              { guided: false, noise },
            ),
          ],
          ["x"],
        );
      const mix = (state: ArrayLike<number>, noise: ArrayLike<number>) =>
        known.data.map((k, i) => {
          const keep = mask.data[i] as number;
          return keep * (0.3 * k + 0.95 * (noise[i] as number)) + (1 - keep) * (state[i] as number);
        });
      const [given] = await blend("given");
      expect(deviation(given!, mix(x.data, z.data))).toBeLessThan(2e-6);
      const jumped = x.data.map((v, i) => 0.8 * v + 0.6 * noiseOf(0x40000001).data[i]!);
      const [philox] = await blend("philox");
      expect(deviation(philox!, mix(jumped, noiseOf(0x80000001).data))).toBeLessThan(2e-6);
      const [pasted] = await onGpu(
        target,
        { x, m, table: [{}], extra: { known, mask } },
        (v, plain) => [pasteKnown.lower(plain, "paste", v, { guided: false })],
        ["x"],
      );
      expect(
        deviation(
          pasted!,
          known.data.map((k, i) => mask.data[i]! * k + (1 - mask.data[i]!) * x.data[i]!),
        ),
      ).toBeLessThan(1e-6);
    });
  });
}

it("the table holds a record per row", () => {
  const plan = planSchedule(makeSchedule({ steps: 5, sampler: "plms", clip: false }));
  expect(plan.rows).toHaveLength(6);
  expect(updateTable(plan).byteLength).toBe(6 * updateRecord.size);
  expect([...new Float32Array(updateTable(plan).buffer)].every(Number.isFinite)).toBe(true);
});
