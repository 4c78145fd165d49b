/** Bring your own network: any function of (x, t) is sampled on a schedule, every step by the GPU's kernels. */
import { targetFor } from "../kernels/target.ts";
import type { Device } from "../runtime/device.ts";
import { ShapeError, UsageError } from "../runtime/errors.ts";
import { judgeBy, type NonFinite } from "../runtime/finite.ts";
import { resolveDevice } from "../runtime/openDevice.ts";
import { checkOptions, type OptionNames } from "../runtime/options.ts";
import { shown } from "../runtime/printable.ts";
import { makeValue } from "../runtime/values.ts";
import { overrideSchedule, type ScheduleOverrides } from "./override.ts";
import { addsNoise, planSchedule } from "./plan.ts";
import { planRule, type UpdateRule } from "./rule.ts";
import type { Schedule } from "./scheduleTypes.ts";
import { wholeSeed } from "./seed.ts";
import { SamplerState } from "./state.ts";

/** The network: x is [N, C, H, W] flat, t has N times the timestep; returns [N, C, H, W], or [N, 2C, H, W] with a variance. */
export type Denoise = (
  x: Float32Array,
  t: number[],
  info: { i: number; of: number },
) => ArrayLike<number> | Promise<ArrayLike<number>>;

export interface SampleStep {
  /** Number of the evaluation, from 0. */
  i: number;
  /** Its timestep. */
  t: number;
  /** The state after the step, and the predicted (bounded) x0, both [N, C, H, W]. */
  x: Float32Array;
  x0: Float32Array;
}

export interface SampleOptions extends ScheduleOverrides {
  denoise: Denoise;
  schedule: Schedule;
  /** The start, [N, C, H, W]. */
  xT: ArrayLike<number>;
  shape: readonly [N: number, C: number, H: number, W: number];
  /**
   * Standard normal noise of a step of the schedule instead of Philox's, [N, C, H, W]; asked for only where it is used: `of`
   * is "step", or "known" for the forward process of `known`.
   */
  noise?: (step: number, of: "step" | "known") => ArrayLike<number>;
  /** A rule of your own in place of the schedule's sampler: docs/sampler.md. */
  rule?: UpdateRule;
  /**
   * In-painting as latent-diffusion does it: before each step x becomes q(known)·mask + x·(1 - mask), and nothing is pasted
   * at the end. [N, C, H, W], [N, 1, H, W] or [H, W], 1 where `known` is kept.
   */
  mask?: ArrayLike<number>;
  known?: ArrayLike<number>;
  /** Where to run; default: `navigator.gpu`'s, opened and freed here. */
  device?: GPUDevice | Device;
  /** Of the Philox noise; 0 by default. */
  seed?: number | bigint;
  onStep?: (step: SampleStep) => void;
  /** Whether an x0 that is not finite ends the run (default) or is told to `onWarning`. */
  nonFinite?: NonFinite;
  /** Receives warnings; default: `console.warn`. */
  onWarning?: (text: string) => void;
}

const sampleNames: OptionNames<SampleOptions> = {
  denoise: "a function",
  schedule: "an object",
  xT: "numbers",
  shape: "a list of numbers",
  noise: "a function",
  rule: "a function",
  mask: "numbers",
  known: "numbers",
  device: true,
  seed: true,
  onStep: "a function",
  nonFinite: "a text",
  onWarning: "a function",
  prediction: "a text",
  clip: true,
  variance: "a text",
};

/** Those without which there is nothing to do. @throws UsageError */
function checkGiven(options: SampleOptions): void {
  for (const name of ["denoise", "schedule", "xT", "shape"] as const)
    if (options[name] === undefined) throw new UsageError(name, `sample: ${name} is missing`);
  const { steps, alphasCumprod } = options.schedule;
  if (!Array.isArray(steps) || !ArrayBuffer.isView(alphasCumprod))
    throw new UsageError("schedule", "sample: schedule must be one that makeSchedule has made");
}

function checkLengths({ xT, shape, mask, known }: SampleOptions): number {
  if (shape.length !== 4 || !shape.every((v) => Number.isInteger(v) && v > 0))
    throw new UsageError("shape", `shape must be four sizes [N, C, H, W], got [${shape.join(", ")}]`);
  const size = shape.reduce((a, b) => a * b, 1);
  for (const [name, data] of Object.entries({ xT, known }))
    if (data !== undefined && data.length !== size)
      throw new ShapeError("sample", name, `[${shape.join(", ")}], ${size} values`, [data.length]);
  if ((mask === undefined) !== (known === undefined))
    throw new UsageError("mask", "mask and known come together: which pixels to keep, and their values");
  return size;
}

/** A mask per value, per pixel of each image, or per pixel, as one per value. */
function expandMask(mask: ArrayLike<number>, [N, C, H, W]: SampleOptions["shape"]): Float32Array {
  const pixels = H * W;
  const at: Record<number, (i: number) => number> = {
    [pixels]: (i) => i % pixels,
    [N * pixels]: (i) => Math.floor(i / (C * pixels)) * pixels + (i % pixels),
    [N * C * pixels]: (i) => i,
  };
  const index = at[mask.length];
  if (!index)
    throw new ShapeError("sample", "mask", `[${N}, ${C}, ${H}, ${W}], [${N}, 1, ${H}, ${W}] or [${H}, ${W}]`, [
      mask.length,
    ]);
  return Float32Array.from({ length: N * C * pixels }, (_, i) => mask[index(i)] as number);
}

/**
 * Samples with a network of the caller's. Guidance and conditions are the caller's business inside `denoise`.
 *
 * @throws ShapeError, UsageError naming the argument; NonFiniteError; DeviceError
 */
export async function sample(options: SampleOptions): Promise<{ x: Float32Array; x0: Float32Array }> {
  checkOptions("sample", options, sampleNames);
  checkGiven(options);
  const { shape, denoise, noise, mask, known, onStep, seed = 0 } = options;
  const size = checkLengths(options);
  const judge = judgeBy(options.nonFinite, options.onWarning);
  const noiseSeed = wholeSeed(seed);
  const schedule = overrideSchedule(options.schedule, options);
  const plan = options.rule ? planRule(options.rule, schedule) : planSchedule(schedule);
  const [N, C, H, W] = shape;
  const channels = plan.learned ? 2 * C : C;
  /** The network's output; channels that no kernel reads are left out. */
  const evaluate = async (x: Float32Array, i: number): Promise<ArrayLike<number>> => {
    const t = new Array<number>(N).fill(plan.rows[i]?.tNetwork as number);
    const m = await denoise(x, t, { i, of: plan.rows.length });
    if (!Array.isArray(m) && !ArrayBuffer.isView(m))
      throw new UsageError("denoise", `sample: denoise must give a Float32Array or a list of numbers, got ${shown(m)}`);
    if (m.length === N * channels * H * W) return m;
    if (m.length !== 2 * size)
      throw new ShapeError("sample", "denoise's result", `[${[N, channels, H, W].join(", ")}]`, [m.length]);
    const image = C * H * W;
    return Float32Array.from({ length: size }, (_, j) => m[j + Math.floor(j / image) * image] as number);
  };
  const xT = Float32Array.from(options.xT);

  const device = await resolveDevice(options.device);
  let state: SamplerState | undefined;
  try {
    const output = makeValue({
      name: "output",
      shape: [H, W, channels],
      batched: true,
      dtype: "f32",
      storage: "buffer",
    });
    state = await SamplerState.create(device, targetFor(device), {
      shape: [C, H, W],
      plan,
      seed: noiseSeed,
      images: Array.from({ length: N }, (_, i) => i),
      noise: noise ? "given" : "philox",
      inpaint: known && mask ? { known: Float32Array.from(known), mask: expandMask(mask, shape) } : undefined,
      output,
      start: xT,
    });
    const draw = (i: number, of: "step" | "known") => {
      if (!noise) return;
      const z = noise(i, of);
      if (z.length !== size)
        throw new ShapeError("sample", "noise", `[${shape.join(", ")}], ${size} values`, [z.length]);
      state?.writeNoise(Float32Array.from(z));
    };
    const submit = (encode: (encoder: GPUCommandEncoder) => void) => {
      const encoder = device.gpu.createCommandEncoder();
      encode(encoder);
      device.submit([encoder.finish()]);
    };
    let x = xT;
    for (const [i, row] of plan.rows.entries()) {
      const prepares = known !== undefined && !row.within;
      if (prepares) draw(row.step, "known");
      submit((encoder) => state?.begin(encoder, i));
      if (prepares) x = await state.samples();
      state.writeOutput(await evaluate(x.slice(), i));
      if (addsNoise(row)) draw(row.step, "step");
      submit((encoder) => state?.step(encoder, i));
      x = await state.samples();
      if (onStep) onStep({ i, t: row.t, x: x.slice(), x0: await state.samples("x0") });
    }
    judge(await state.failure());
    return { x, x0: await state.samples("x0") };
  } finally {
    state?.dispose();
    if (options.device === undefined) device.dispose();
  }
}
