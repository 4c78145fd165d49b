/** Single evaluations of the network: for parity checks and benchmarks. */

import { readBack, type TensorForm } from "../network/readback.ts";
import type { WeightStore } from "../network/weights.ts";
import type { Device } from "../runtime/device.ts";
import { ShapeError } from "../runtime/errors.ts";
import { type Judge, nonFiniteIn, overflowIn } from "../runtime/finite.ts";
import { toRows } from "../runtime/layout.ts";
import { Pacer } from "../runtime/pacer.ts";
import { type KernelTiming, profileProgram } from "../runtime/profiler.ts";
import type { Value } from "../runtime/values.ts";
import { createState, Evaluator, type NetworkState, releaseState } from "../unet/evaluator.ts";
import type { LoweredNetwork } from "../unet/lowered.ts";
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

/** Inputs that are not finite are named before anything runs. */
function checkInputs({ inputs, judge }: Pick<Prepared, "inputs" | "judge">): void {
  const { sample, classVectors, context, textEmbeds, timeIds, timestepCond } = inputs;
  const named = {
    ...{ sample, class_labels: classVectors, context, text_embeds: textEmbeds, time_ids: timeIds },
    timestep_cond: timestepCond,
  };
  for (const [name, tensor] of Object.entries(named))
    if (tensor) judge(nonFiniteIn(name, tensor.data, tensor.shape[0] as number));
}

/** Evaluations per measurement grow until one measurement takes this long, so that waking up does not count. */
const MEASURE_MS = 200;

/** Some of the inputs on the GPU, to be evaluated any number of times. Nothing else may use the pipeline meanwhile. */
export class HeldEvaluation {
  readonly #pacer: Pacer;

  private constructor(
    private readonly prepared: Prepared,
    private readonly state: NetworkState,
    private readonly evaluator: Evaluator,
    /** The first image, and the one after the last. */
    readonly from: number,
    readonly to: number,
  ) {
    this.#pacer = new Pacer(prepared.device);
  }

  /**
   * @param from the first image; as many are taken as one batch does
   * @throws ShapeError when they are to be `all` and are more
   */
  static async create(prepared: Prepared, { from = 0, all = false } = {}): Promise<HeldEvaluation> {
    const { device, lowered, weights, inputs, model, maxRows } = prepared;
    const n = checkSample(inputs.sample, model.config.in_channels);
    if (n > maxRows && all)
      throw new ShapeError(
        "bench forward",
        "sample",
        `at most ${maxRows} images per batch on this adapter`,
        inputs.sample.shape,
      );
    const to = Math.min(n, from + maxRows);
    const { classes, added, timestepCond, context } = conditions({ ...prepared, network: lowered.network }, n);
    const asked = perImage("timestep", inputs.timestep, n).slice(from, to);
    const timesteps = prepared.timestepRows("timestep", asked);
    const part = <T extends Uint32Array<ArrayBuffer> | Float32Array>(rows: T | undefined) =>
      rows?.slice((from * rows.length) / n, (to * rows.length) / n) as T | undefined;
    const state = await device.allocate("the network's input and output", () =>
      createState(device, lowered, to - from),
    );
    try {
      const evaluator = await Evaluator.create(device, lowered, weights, state, {
        rows: to - from,
        evaluations: 1,
        timesteps,
        classes: part(classes),
        added: part(added),
        timestepCond: part(timestepCond),
        context: part(context),
      });
      const held = new HeldEvaluation(prepared, state, evaluator, from, to);
      held.write();
      return held;
    } catch (error) {
      releaseState(device, state);
      throw error;
    }
  }

  /** The sample becomes that of the inputs. */
  write(): void {
    const { device, inputs } = this.prepared;
    const [n, c, h, w] = inputs.sample.shape as [number, number, number, number];
    const size = inputs.sample.data.length / n;
    const part = inputs.sample.data.subarray(this.from * size, this.to * size);
    const rows = toRows(part, this.to - this.from, c, h * w);
    device.gpu.queue.writeBuffer(this.state.x.object as GPUBuffer, 0, rows);
  }

  /** Submits one evaluation. */
  async run(): Promise<void> {
    const { device, check } = this.prepared;
    const { main } = this.evaluator;
    for (const { from, to, flops } of this.#pacer.segments(main)) {
      const encoder = device.gpu.createCommandEncoder();
      if (from === 0) this.evaluator.begin(encoder, 0);
      main.encode(encoder, from, to);
      await this.#pacer.room();
      check();
      this.#pacer.submit(encoder.finish(), flops);
    }
  }

  /** The output, or another value that is kept. */
  read(value: Value, form?: TensorForm): Promise<Tensor> {
    const array = this.evaluator.main.storage.get(value);
    if (!array) throw new TypeError(`internal: ${value.name} was not kept`);
    return readBack(this.prepared.device, value, array, this.to - this.from, form);
  }

  /** What is wrong with what an evaluation left: layers that overflowed, an output that is not finite, the weights behind it. */
  async judge(output: Float32Array): Promise<void> {
    const { judge, model } = this.prepared;
    judge(overflowIn(await this.evaluator.overflows()));
    const failure = nonFiniteIn("the output", output, this.to - this.from, this.from);
    if (failure) judge(await blameWeights(failure, model));
  }

  /**
   * Milliseconds per evaluation, of so many in a row, the queue drained at the end.
   * @param embed also make the time embeddings each time, which a sampling loop does once for all steps
   */
  async time(repeats: number, embed = false): Promise<number> {
    const start = performance.now();
    for (let i = 0; i < repeats; i++) {
      if (embed) this.evaluator.forget();
      await this.run();
    }
    await this.#pacer.drain();
    return (performance.now() - start) / repeats;
  }

  /** From the sample in memory, as the inputs had it, to the output in memory. */
  async roundTrip(): Promise<Tensor> {
    this.evaluator.forget();
    this.write();
    await this.run();
    const output = await this.read(this.prepared.lowered.network.output);
    await this.#pacer.drain();
    return output;
  }

  /** GPU times of the kernels, without those of the time embeddings. */
  async profile(): Promise<KernelTiming[]> {
    await this.time(1);
    return profileProgram(this.prepared.device, this.evaluator.main);
  }

  async dispose(): Promise<void> {
    await this.#pacer.drain().catch(() => {});
    this.evaluator.dispose();
    releaseState(this.prepared.device, this.state);
  }
}

/** Evaluates all images, a batch at a time. */
export async function evaluateAll(prepared: Prepared, each: (held: HeldEvaluation) => Promise<void>): Promise<void> {
  checkInputs(prepared);
  const n = checkSample(prepared.inputs.sample, prepared.model.config.in_channels);
  for (let from = 0; from < n; from += prepared.maxRows) {
    prepared.check();
    const held = await HeldEvaluation.create(prepared, { from });
    try {
      await held.run();
      await each(held);
    } finally {
      await held.dispose();
    }
  }
}

/** The whole output, [N, out_channels, H, W]. */
export async function evaluate(prepared: Prepared): Promise<Tensor> {
  const { output } = prepared.lowered.network;
  const n = checkSample(prepared.inputs.sample, prepared.model.config.in_channels);
  const [h, w, c] = output.shape as [number, number, number];
  const data = new Float32Array(n * c * h * w);
  await evaluateAll(prepared, async (held) => {
    const part = await held.read(output);
    await held.judge(part.data);
    data.set(part.data, held.from * c * h * w);
  });
  return { shape: [n, c, h, w], data };
}

/** GPU times of the kernels of one evaluation, of as many images as one batch takes. */
export async function profileEvaluation(prepared: Prepared): Promise<KernelTiming[]> {
  const held = await HeldEvaluation.create(prepared);
  try {
    return await held.profile();
  } finally {
    await held.dispose();
  }
}

export async function timeEvaluation(prepared: Prepared, seconds: number): Promise<ForwardTiming> {
  const held = await HeldEvaluation.create(prepared, { all: true });
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
