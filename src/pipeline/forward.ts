/** Single evaluations of the network: for parity checks and benchmarks. */

import type { WeightStore } from "../network/weights.ts";
import type { Device } from "../runtime/device.ts";
import { ShapeError, UsageError } from "../runtime/errors.ts";
import { fromRows, toRows } from "../runtime/layout.ts";
import { textureToBuffer } from "../runtime/memory.ts";
import { Pacer } from "../runtime/pacer.ts";
import { type KernelTiming, profileProgram } from "../runtime/profiler.ts";
import { padded4, type Value } from "../runtime/values.ts";
import { Evaluator, type LoweredNetwork } from "../unet/evaluator.ts";
import { classEmbeddings } from "../unet/spec.ts";
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

/** @returns the number of images. @throws ShapeError */
export function checkSample({ shape, data }: Tensor, channels: number): number {
  const [n, c] = shape;
  if (shape.length !== 4 || c !== channels || (n ?? 0) < 1)
    throw new ShapeError("forward", "sample", `[N, ${channels}, H, W]`, shape);
  const wanted = shape.reduce((a, b) => a * b, 1);
  if (data.length !== wanted) throw new ShapeError("forward", "sample", `${wanted} values`, [data.length]);
  return n as number;
}

/** One value per image: as given, or the only one repeated. */
function perImage<T>(name: string, values: readonly T[], n: number): readonly T[] {
  if (values.length === n) return values;
  if (values.length === 1) return Array.from({ length: n }, () => values[0] as T);
  throw new ShapeError("forward", name, `[${n}] or [1]`, [values.length]);
}

/** The class input of every image, in the form that the network's embedding takes. */
function classInput(
  { model, lowered, inputs, timestepRows }: Prepared,
  n: number,
): Uint32Array<ArrayBuffer> | Float32Array | undefined {
  const { classes } = lowered.network;
  const { config } = model;
  const { classLabels, classVectors } = inputs;
  if (!classes) {
    if (classLabels || classVectors)
      throw new UsageError("class_labels", `${model.name} has no class embedding and takes no class_labels`);
    return undefined;
  }
  if (classes.kind === "vectors" && config.classes.kind !== "timestep") {
    const { width } = classes;
    if (!classVectors) throw new UsageError("class_labels", `${model.name} needs class_labels of shape [N, ${width}]`);
    const { shape, data } = classVectors;
    if (shape.length !== 2 || shape[0] !== n || shape[1] !== width)
      throw new ShapeError("forward", "class_labels", `[${n}, ${width}]`, shape);
    return data;
  }
  if (!classLabels) throw new UsageError("class_labels", `${model.name} is class-conditional and needs class_labels`);
  const labels = perImage("class_labels", classLabels, n);
  if (config.classes.kind === "timestep") return timestepRows("class_labels", labels);
  for (const label of labels)
    if (!Number.isInteger(label) || label < 0 || label >= classEmbeddings(config))
      throw new UsageError(
        "class_labels",
        `class ${label} is out of range: ${model.name} has classes 0..${classEmbeddings(config) - 1}`,
      );
  return Uint32Array.from(labels);
}

async function readOutput(device: Device, evaluator: Evaluator, value: Value, n: number): Promise<Float32Array> {
  const [h, w, c] = value.shape as [number, number, number];
  const texture = value.storage === "texture";
  const buffer = texture
    ? textureToBuffer(device, evaluator.output, value.dtype)
    : (evaluator.output.object as GPUBuffer);
  try {
    const rows = new Float32Array(await device.read(buffer, n * h * w * padded4(c) * 4));
    return fromRows(rows, n, c, h * w);
  } finally {
    if (texture) device.release(buffer);
  }
}

/** A part of the inputs on the GPU, ready to be evaluated any number of times. */
async function load(prepared: Prepared, from: number, to: number): Promise<Evaluator> {
  const { device, lowered, weights, inputs, model } = prepared;
  const n = checkSample(inputs.sample, model.config.in_channels);
  const [, c, h, w] = inputs.sample.shape as [number, number, number, number];
  const classes = classInput(prepared, n);
  const timesteps = perImage("timestep", inputs.timestep, n).slice(from, to);
  const width = classes ? classes.length / n : 0;
  const evaluator = await Evaluator.create(device, lowered, weights, {
    rows: to - from,
    steps: 1,
    timesteps: prepared.timestepRows("timestep", timesteps),
    classes: classes?.slice(from * width, to * width),
  });
  const rows = toRows(inputs.sample.data.subarray(from * c * h * w, to * c * h * w), to - from, c, h * w);
  device.gpu.queue.writeBuffer(evaluator.state, 0, rows);
  return evaluator;
}

async function run({ device, check }: Prepared, evaluator: Evaluator, pacer: Pacer): Promise<void> {
  for (const { from, to, flops } of pacer.segments(evaluator.main)) {
    const encoder = device.gpu.createCommandEncoder();
    if (from === 0) evaluator.begin(encoder, 0);
    evaluator.main.encode(encoder, from, to);
    await pacer.room();
    check();
    pacer.submit(encoder.finish(), flops);
  }
}

/** The whole output, [N, out_channels, H, W]. */
export async function evaluate(prepared: Prepared): Promise<Tensor> {
  const { device, lowered, inputs, model } = prepared;
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
      await pacer.drain();
      data.set(await readOutput(device, evaluator, output, to - from), from * c * h * w);
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
    await this.#pacer.drain();
    const { output } = lowered.network;
    const [ho, wo, co] = output.shape as [number, number, number];
    return { shape: [n, co, ho, wo], data: await readOutput(device, this.evaluator, output, n) };
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
