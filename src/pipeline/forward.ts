/** Single evaluations of the network: for parity checks and benchmarks. */

import type { WeightStore } from "../network/weights.ts";
import type { Device } from "../runtime/device.ts";
import { ShapeError } from "../runtime/errors.ts";
import { type Judge, nonFiniteIn, overflowIn } from "../runtime/finite.ts";
import { fromRows, toRows } from "../runtime/layout.ts";
import { Pacer } from "../runtime/pacer.ts";
import { type KernelTiming, profileProgram } from "../runtime/profiler.ts";
import { padded4, type Value } from "../runtime/values.ts";
import { Evaluator, type LoweredNetwork } from "../unet/evaluator.ts";
import { blameWeights } from "./blame.ts";
import { checkSample, conditions, perImage } from "./forwardInputs.ts";
import type { Model } from "./model.ts";
import type { ForwardInputs, Tensor } from "./types.ts";

export interface Prepared {
  readonly device: Device;
  readonly model: Model;
  readonly lowered: LoweredNetwork;
  readonly weights: WeightStore;
  readonly inputs: ForwardInputs;
  readonly maxRows: number;
  /** Throws when the work shall stop. */
  readonly check: () => void;
  /** Hears of numbers that are not finite. */
  readonly judge: Judge;
  /** Rows of the network's timestep input; `name` is the input that errors name. */
  readonly timestepRows: (name: string, timesteps: readonly number[]) => Float32Array;
}

export interface ForwardTiming {
  /** Median milliseconds of one evaluation. */
  readonly ms: number;
  readonly msMin: number;
  readonly runs: number;
  readonly peakBytes: number;
}

async function readOutput(device: Device, evaluator: Evaluator, value: Value, n: number): Promise<Float32Array> {
  const [h, w, c] = value.shape as [number, number, number];
  const rows = new Float32Array(await device.read(evaluator.output.object, n * h * w * padded4(c) * 4));
  return fromRows(rows, n, c, h * w);
}

/** A part of the inputs on the GPU, ready to be evaluated any number of times. */
export async function load(prepared: Prepared, from: number, to: number): Promise<Evaluator> {
  const { device, lowered, weights, inputs, model } = prepared;
  const n = checkSample(inputs.sample, model.config.in_channels);
  const [, c, h, w] = inputs.sample.shape as [number, number, number, number];
  const { classes, added, timestepCond, context } = conditions({ ...prepared, network: lowered.network }, n);
  const timesteps = perImage("timestep", inputs.timestep, n).slice(from, to);
  const part = <T extends Uint32Array<ArrayBuffer> | Float32Array>(rows: T | undefined) =>
    rows?.slice((from * rows.length) / n, (to * rows.length) / n) as T | undefined;
  const evaluator = await Evaluator.create(device, lowered, weights, {
    rows: to - from,
    steps: 1,
    timesteps: prepared.timestepRows("timestep", timesteps),
    classes: part(classes),
    added: part(added),
    timestepCond: part(timestepCond),
    context: part(context),
  });
  const rows = toRows(inputs.sample.data.subarray(from * c * h * w, to * c * h * w), to - from, c, h * w);
  device.gpu.queue.writeBuffer(evaluator.state, 0, rows);
  return evaluator;
}

export async function run({ device, check }: Prepared, evaluator: Evaluator, pacer: Pacer): Promise<void> {
  for (const { from, to, flops } of pacer.segments(evaluator.main)) {
    const encoder = device.gpu.createCommandEncoder();
    if (from === 0) evaluator.begin(encoder, 0);
    evaluator.main.encode(encoder, from, to);
    await pacer.room();
    check();
    pacer.submit(encoder.finish(), flops);
  }
}

/** Inputs that are not finite are named before anything runs. */
export function checkInputs({ inputs, judge }: Pick<Prepared, "inputs" | "judge">): void {
  const { sample, classVectors, context, textEmbeds, timeIds, timestepCond } = inputs;
  const named = {
    ...{ sample, class_labels: classVectors, context, text_embeds: textEmbeds, time_ids: timeIds },
    timestep_cond: timestepCond,
  };
  for (const [name, tensor] of Object.entries(named))
    if (tensor) judge(nonFiniteIn(name, tensor.data, tensor.shape[0] as number));
}

/** What an evaluation left: layers that overflowed, then an output that is not finite, and the weights to blame for it. */
export async function judgeResult(
  { judge, model }: Prepared,
  evaluator: Evaluator,
  output: Float32Array,
  from: number,
  to: number,
): Promise<void> {
  judge(overflowIn(await evaluator.overflows()));
  const failure = nonFiniteIn("the output", output, to - from, from);
  if (failure) judge(await blameWeights(failure, model));
}

/** The whole output, [N, out_channels, H, W]. */
export async function evaluate(prepared: Prepared): Promise<Tensor> {
  const { device, lowered, inputs, model } = prepared;
  checkInputs(prepared);
  const n = checkSample(inputs.sample, model.config.in_channels);
  const { output } = lowered.network;
  const [h, w, c] = output.shape as [number, number, number];
  const data = new Float32Array(n * c * h * w);
  for (let from = 0; from < n; from += prepared.maxRows) {
    prepared.check();
    const to = Math.min(n, from + prepared.maxRows);
    const evaluator = await load(prepared, from, to);
    const pacer = new Pacer(device);
    try {
      await run(prepared, evaluator, pacer);
      const part = await readOutput(device, evaluator, output, to - from);
      await judgeResult(prepared, evaluator, part, from, to);
      data.set(part, from * c * h * w);
    } finally {
      await pacer.drain().catch(() => {});
      evaluator.dispose();
    }
  }
  return { shape: [n, c, h, w], data };
}

/** Evaluations per measurement grow until one measurement takes this long, so that waking up does not count. */
const MEASURE_MS = 200;

/** One evaluation that stays on the GPU, to be repeated and timed. Nothing else may use the pipeline meanwhile. */
export class HeldEvaluation {
  readonly #pacer: Pacer;

  private constructor(
    private readonly prepared: Prepared,
    private readonly evaluator: Evaluator,
  ) {
    this.#pacer = new Pacer(prepared.device);
  }

  /**
   * @param some take as many images as one batch does
   * @throws ShapeError when the images are more
   */
  static async create(prepared: Prepared, some = false): Promise<HeldEvaluation> {
    const { inputs, model, maxRows } = prepared;
    const n = checkSample(inputs.sample, model.config.in_channels);
    if (n > maxRows && !some)
      throw new ShapeError(
        "bench forward",
        "sample",
        `at most ${maxRows} images per batch on this adapter`,
        inputs.sample.shape,
      );
    return new HeldEvaluation(prepared, await load(prepared, 0, Math.min(n, maxRows)));
  }

  /**
   * Milliseconds per evaluation, of so many in a row, the queue drained at the end.
   * @param embed also make the time embeddings each time, which a sampling loop does once for all steps
   */
  async time(repeats: number, embed = false): Promise<number> {
    const start = performance.now();
    for (let i = 0; i < repeats; i++) {
      if (embed) this.evaluator.forget();
      await run(this.prepared, this.evaluator, this.#pacer);
    }
    await this.#pacer.drain();
    return (performance.now() - start) / repeats;
  }

  /** From the sample in memory, as the inputs had it, to the output in memory. */
  async roundTrip(): Promise<Tensor> {
    const { device, inputs, lowered } = this.prepared;
    const { shape, data } = inputs.sample;
    const [n, c, h, w] = shape as [number, number, number, number];
    this.evaluator.forget();
    device.gpu.queue.writeBuffer(this.evaluator.state, 0, toRows(data, n, c, h * w));
    await run(this.prepared, this.evaluator, this.#pacer);
    const { output } = lowered.network;
    const [ho, wo, co] = output.shape as [number, number, number];
    const result = await readOutput(device, this.evaluator, output, n);
    await this.#pacer.drain();
    return { shape: [n, co, ho, wo], data: result };
  }

  /** GPU times of the kernels, without those of the time embeddings. */
  async profile(): Promise<KernelTiming[]> {
    await this.time(1);
    return profileProgram(this.prepared.device, this.evaluator.main);
  }

  async dispose(): Promise<void> {
    await this.#pacer.drain().catch(() => {});
    this.evaluator.dispose();
  }
}

/** GPU times of the kernels of one evaluation, of as many images as one batch takes. */
export async function profileEvaluation(prepared: Prepared): Promise<KernelTiming[]> {
  const held = await HeldEvaluation.create(prepared, true);
  try {
    return await held.profile();
  } finally {
    await held.dispose();
  }
}

export async function timeEvaluation(prepared: Prepared, seconds: number): Promise<ForwardTiming> {
  const held = await HeldEvaluation.create(prepared);
  try {
    await held.time(2);
    const repeats = Math.max(1, Math.ceil(MEASURE_MS / (await held.time(1))));
    const times: number[] = [];
    const end = performance.now() + seconds * 1000;
    do times.push(await held.time(repeats));
    while (performance.now() < end || times.length < 3);
    times.sort((a, b) => a - b);
    return {
      ms: times[times.length >> 1] as number,
      msMin: times[0] as number,
      runs: times.length * repeats,
      peakBytes: prepared.device.counters.peakBytes,
    };
  } finally {
    await held.dispose();
  }
}
