/** The sampler's records, dispatches and memory, from a plan and what a run chooses. */
import { guidanceRescale, thresholdQuantile } from "../kernels/sampling/factors.ts";
import { historySlots, historyStep } from "../kernels/sampling/history.ts";
import { initialNoise, pasteKnown, prepareState } from "../kernels/sampling/noise.ts";
import { factorRecord, imageRecord, levelRecord, runRecord, updateRecord } from "../kernels/sampling/records.ts";
import { toRgba } from "../kernels/sampling/rgba.ts";
import type { NoiseSource } from "../kernels/sampling/state.ts";
import { stateResidual, x0Statistics } from "../kernels/sampling/statistics.ts";
import { ddimStep } from "../kernels/sampling/step.ts";
import type { Device } from "../runtime/device.ts";
import { frameRecord } from "../runtime/frame.ts";
import type { KernelCall, Target } from "../runtime/kernel.ts";
import { toChannelsLast } from "../runtime/layout.ts";
import { arrayOf, createValueArray, type GpuArray, uploadBuffer } from "../runtime/memory.ts";
import { NEVER } from "../runtime/overflow.ts";
import { makeValue, type Value } from "../runtime/values.ts";
import { type Plan, updateTable } from "./plan.ts";

export interface StateChoices {
  /** State's channels, height and width. */
  readonly shape: readonly [C: number, H: number, W: number];
  readonly plan: Plan;
  readonly seed: bigint;
  /** Number in the whole run of every image of this batch. */
  readonly images: readonly number[];
  /** Images 2j and 2j + 1 share their noise but for its sign. */
  readonly antithetic?: boolean;
  /**
   * Classifier-free guidance: a scale per image, and φ of the rescaling (0: none). The state is then stored twice,
   * conditional half first.
   */
  readonly guidance?: { readonly scales: readonly number[]; readonly rescale: number };
  /** Where noise comes from, if any is needed: the seed, or `SamplerState.writeNoise`. */
  readonly noise?: Exclude<NoiseSource, "none">;
  /** The same of the steps' noise alone; `noise` without it. */
  readonly stepNoise?: Exclude<NoiseSource, "none">;
  /** Pixels to keep and how much (mask 1: all), both [N, C, H, W]. */
  readonly inpaint?: { readonly known: Float32Array; readonly mask: Float32Array };
  /** Numbers about x0 are recorded in every row. */
  readonly statistics?: boolean;
}

/** What the kernels know of the run. */
export const runTable = ({ seed, images, antithetic, guidance }: StateChoices): Uint32Array<ArrayBuffer> =>
  runRecord.pack([
    {
      seedLow: Number(BigInt.asUintN(32, seed)),
      seedHigh: Number(BigInt.asUintN(32, seed >> 32n)),
      rescale: guidance?.rescale,
      images: images.map((image, n) => ({
        number: antithetic ? image >>> 1 : image,
        sign: antithetic && image % 2 === 1 ? 0x80000000 : 0,
        guidance: guidance?.scales[n] ?? 1,
      })),
    },
  ]);

/** What {@link prepareState} needs of every row; null where nothing is ever prepared. */
export function levelTable({ plan, inpaint }: StateChoices): Uint32Array | null {
  if (!inpaint && !plan.rows.some((row) => row.jump)) return null;
  return levelRecord.pack(
    plan.rows.map(({ jump, alphaCumprod: a }) => ({
      keep: jump?.keep ?? 1,
      noise: jump?.noise,
      signal: Math.sqrt(a),
      spread: Math.sqrt(1 - a),
    })),
  );
}

/** Past states that the plan keeps. */
export const planSlots = ({ history }: Plan): number => (history ? historySlots(history) : 0);

/** What the kernels bind, beside the network's output. */
export function stateValues({ shape, plan, images }: Pick<StateChoices, "shape" | "plan" | "images">) {
  const [C, H, W] = shape;
  const batch = images.length;
  const value = (name: string, dims: readonly number[], dtype: Value["dtype"] = "f32", batched = true) =>
    makeValue({ name, shape: dims, batched, dtype, storage: "buffer" });
  const state = (name: string) => value(name, [H, W, C]);
  const records = (name: string, bytes: number) => value(name, [bytes / 4], "u32", false);
  return {
    x: state("x"),
    x0: state("x0"),
    z: state("z"),
    known: state("known"),
    mask: state("mask"),
    history: value("history", [planSlots(plan) * batch, H, W, C], "f32", false),
    rgba: value("rgba", [H, W], "u32"),
    status: value("status", [1], "u32"),
    run: records("run", runRecord.size + batch * imageRecord.size),
    updates: records("updates", plan.rows.length * updateRecord.size),
    levels: records("levels", plan.rows.length * levelRecord.size),
    factors: records("factors", batch * factorRecord.size),
    statistics: value("statistics", [plan.rows.length * batch, 4], "f32", false),
  };
}
export type StateValues = ReturnType<typeof stateValues>;

/** The dispatches by when they come. @param m the network's output */
export function stateKernels(target: Target, choices: StateChoices, v: StateValues, m: Value) {
  const { plan, guidance, inpaint } = choices;
  const { noise: source = "philox", stepNoise = source } = choices;
  const guided = guidance !== undefined;
  const rescale = (guidance?.rescale ?? 0) !== 0;
  const threshold = plan.threshold !== null;
  const factors = rescale || threshold ? v.factors : undefined;
  const { x, updates, run, status, x0, history, statistics, levels, known, mask, rgba } = v;
  const seen = { x, m, updates, run };
  const flags = { guided, rescale, wider: m.shape.at(-1) !== x.shape.at(-1) };
  const drawn = (from: NoiseSource) => (from === "given" ? v.z : undefined);
  const step: KernelCall[] = [];
  if (rescale) step.push(guidanceRescale.lower(target, "guidance rescale", { ...seen, factors }, { guided }));
  if (plan.threshold)
    step.push(thresholdQuantile.lower(target, "threshold", { ...seen, factors }, { ...flags, ...plan.threshold }));
  if (choices.statistics)
    step.push(x0Statistics.lower(target, "statistics", { ...seen, statistics, factors }, { ...flags, threshold }));
  const noise: NoiseSource = plan.noise ? stepNoise : "none";
  const updated = { ...seen, status, x0, factors, z: drawn(noise) };
  const bound = { ...flags, threshold, noise, learned: plan.learned };
  step.push(
    plan.history
      ? historyStep.lower(target, "step", { ...updated, history }, { ...bound, ...plan.history })
      : ddimStep.lower(target, "step", updated, bound),
  );
  const prepared = { x, levels, run, ...(inpaint ? { known, mask } : {}), z: drawn(source) };
  return {
    start: [initialNoise.lower(target, "x_T", { run, x }, { guided })],
    prepare: levelTable(choices) ? [prepareState.lower(target, "prepare", prepared, { guided, noise: source })] : [],
    step,
    residual: plan.rows.some((row) => row.residual)
      ? [stateResidual.lower(target, "residual", { x, history, statistics }, {}, { SLOT: plan.history?.ring ?? 0 })]
      : [],
    paste: inpaint ? [pasteKnown.lower(target, "paste", { x, known, mask }, { guided })] : [],
    pixels: [toRgba.lower(target, "x", { x, rgba }, {})],
    preview: [toRgba.lower(target, "x0", { x: x0, rgba }, {})],
  };
}

export interface StateInit extends StateChoices {
  /** The network's output: storage, dtype and channels. */
  readonly output: Value;
  /** x to begin with, [N, C, H, W]; without it the noise of the seed. */
  readonly start?: Float32Array;
  /** What the update remembers to begin with, [slots·N, C, H, W]. */
  readonly history?: Float32Array;
}

export type StateArrays = Readonly<Partial<Record<keyof StateValues, GpuArray>>>;

/** Memory for what the kernels use of `values`, filled with what is known; everything made is added to `owned`. */
export function allocateState(
  device: Device,
  init: StateInit,
  values: StateValues,
  used: ReadonlySet<Value>,
  owned: GpuArray[],
) {
  const { plan, images, inpaint } = init;
  const [C, H, W] = init.shape;
  const batch = images.length;
  const evaluated = batch * (init.guidance ? 2 : 1);
  const contents: Partial<Record<keyof StateValues, () => ArrayBufferView>> = {
    run: () => runTable(init),
    updates: () => updateTable(plan),
    levels: () => levelTable(init) as Uint32Array,
    known: () => toChannelsLast((inpaint as { known: Float32Array }).known, batch, C, H * W),
    mask: () => toChannelsLast((inpaint as { mask: Float32Array }).mask, batch, C, H * W),
    status: () => new Uint32Array(batch).fill(NEVER),
  };
  const keep = (array: GpuArray) => {
    owned.push(array);
    return array;
  };
  const upload = (name: string, data: ArrayBufferView, usage?: number) =>
    keep(arrayOf(uploadBuffer(device, name, data, usage)));
  const arrays: { -readonly [K in keyof StateArrays]: StateArrays[K] } = {};
  const external = new Map<Value, GpuArray>();
  for (const [name, value] of Object.entries(values) as [keyof StateValues, Value][]) {
    if (!used.has(value)) continue;
    const data = contents[name]?.();
    arrays[name] = data ? upload(name, data) : keep(createValueArray(device, value, name === "x" ? evaluated : batch));
    external.set(value, arrays[name]);
  }
  const output = keep(createValueArray(device, init.output, evaluated));
  external.set(init.output, output);
  const { UNIFORM, COPY_DST, COPY_SRC } = GPUBufferUsage;
  return {
    external,
    arrays,
    output,
    frame: upload("frame", frameRecord.pack([{}]), UNIFORM | COPY_DST | COPY_SRC).object as GPUBuffer,
    frames: upload("frames", frameRecord.pack(plan.rows.map((_, row) => ({ row }))), COPY_SRC).object as GPUBuffer,
  };
}
