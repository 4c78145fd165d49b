/** The pipeline: a model on a device. Composes evaluator and sampler; holds no arithmetic of its own. */
import { targetFor } from "../kernels/target.ts";
import { type Device, Device as DeviceClass, openDevice, wrapDevice } from "../runtime/device.ts";
import { UsageError, UseAfterDisposeError } from "../runtime/errors.ts";
import type { Target } from "../runtime/kernel.ts";
import { compileCalls } from "../runtime/program.ts";
import { timestepSinusoid } from "../sampler/embedding.ts";
import { type LoweredNetwork, lowerNetwork, maxRows, plannedBytes } from "../unet/evaluator.ts";
import { WeightStore } from "../unet/weights.ts";
import { sampleBatch } from "./batches.ts";
import { checkSample, evaluate, type ForwardTiming, timeEvaluation } from "./forward.ts";
import type { Model } from "./model.ts";
import { checkSize, type ResolvedRun, resolveRun } from "./run.ts";
import { Turns } from "./turns.ts";
import type {
  ForwardInputs,
  GenerateOptions,
  Generation,
  LoadOptions,
  MemoryReport,
  NetworkDType,
  Step,
  Tensor,
} from "./types.ts";

/** Memory that an automatic batch may plan for, beside the weights. */
const COMFORTABLE_BYTES = 2 ** 30;
const COMFORTABLE_BATCH = 16;

export class DiffusionPipeline {
  readonly #lowered = new Map<string, LoweredNetwork>();
  readonly #turns = new Turns();
  #disposed = false;

  private constructor(
    readonly model: Model,
    readonly device: Device,
    readonly dtype: NetworkDType,
    private readonly target: Target,
    private readonly weights: WeightStore,
    /** Opened or wrapped for this pipeline alone. */
    private readonly ownsDevice: boolean,
    /** Learned rows of timesteps, where the model has them. */
    private readonly timeRows: Float32Array | null,
  ) {}

  static async create(
    model: Model,
    device: Device,
    ownsDevice: boolean,
    options: LoadOptions,
  ): Promise<DiffusionPipeline> {
    const began = performance.now();
    const { signal, onProgress } = options;
    const dtype = options.dtype === "f16" ? "f16" : "f32";
    const target = targetFor(device);
    const size = model.config.sample_size ?? { height: 64, width: 64 };
    const lowered = lowerNetwork(model.config, target, { size, dtype, timesteps: "step" });
    const learned = model.config.time_embedding_type === "learned";
    const timeRows = learned ? await model.checkpoint.read("time_proj.weight", signal) : null;
    // A model without a size of its own is compiled when one is chosen.
    const calls = model.config.sample_size ? [...lowered.main.calls, ...lowered.embed.calls] : [];
    const compiling = compileCalls(device, calls, (done, of) => onProgress?.({ type: "compile", done, of }));
    compiling.catch(() => {});
    const recipes = [...lowered.main.recipes, ...lowered.embed.recipes];
    const weights = await WeightStore.load(device, target, recipes, model.checkpoint, {
      signal,
      onProgress: (p) => onProgress?.({ type: "download", ...p }),
    });
    try {
      await compiling;
      signal?.throwIfAborted();
    } catch (error) {
      weights.dispose();
      throw error;
    }
    onProgress?.({ type: "ready", ms: performance.now() - began });
    return new DiffusionPipeline(model, device, dtype, target, weights, ownsDevice, timeRows);
  }

  #lower(height: number, width: number, timesteps: "step" | "image"): LoweredNetwork {
    const key = `${height}×${width} ${timesteps}`;
    let lowered = this.#lowered.get(key);
    if (!lowered) {
      lowered = lowerNetwork(this.model.config, this.target, { size: { height, width }, dtype: this.dtype, timesteps });
      this.#lowered.set(key, lowered);
    }
    return lowered;
  }

  /** Rows of the network's timestep input: host-made sinusoids, or learned ones. */
  #timestepRows(name: string, timesteps: readonly number[]): Float32Array {
    const { config } = this.model;
    const width = config.block_out_channels[0] as number;
    const rows = new Float32Array(timesteps.length * width);
    timesteps.forEach((t, i) => {
      if (!Number.isFinite(t)) throw new UsageError(name, `${name} must be a number, got ${t}`);
      if (this.timeRows && !(Number.isInteger(t) && t >= 0 && t < config.num_train_timesteps))
        throw new UsageError(
          name,
          `${name} ${t} is out of range: the learned embedding has rows 0..${config.num_train_timesteps - 1}`,
        );
      rows.set(
        this.timeRows ? this.timeRows.subarray(t * width, (t + 1) * width) : timestepSinusoid(t, width, config),
        i * width,
      );
    });
    return rows;
  }

  #checkOpen(): void {
    if (this.#disposed) throw new UseAfterDisposeError(`the pipeline of ${this.model.name}`);
  }

  /** What work in flight asks before each submission. */
  #stopper(signal?: AbortSignal): () => void {
    return () => {
      this.#checkOpen();
      signal?.throwIfAborted();
    };
  }

  async #exclusive<T>(work: () => Promise<T>, check: () => void, signal?: AbortSignal): Promise<T> {
    const end = await this.#turns.next(check, signal);
    try {
      return await work();
    } catch (error) {
      this.#checkOpen();
      throw error;
    } finally {
      end();
    }
  }

  /** Images per batch: as asked, bounded by what bindings allow, or what fits comfortably. */
  #batchSize(run: ResolvedRun, lowered: LoweredNetwork): number {
    const copies = run.guidance === undefined ? 1 : 2;
    const most = Math.floor(maxRows(this.device, lowered) / copies);
    if (most < 1)
      throw new UsageError(
        "size",
        `size ${run.height}×${run.width} exceeds what one binding of ${this.device.name} can hold`,
      );
    if (run.batch !== undefined) return Math.min(run.batch, run.count, most);
    let batch = Math.min(COMFORTABLE_BATCH, run.count, most);
    while (batch > 1 && plannedBytes(lowered, batch * copies).bytes > COMFORTABLE_BYTES) batch = Math.floor(batch / 2);
    return batch;
  }

  /**
   * Samples images.
   * @throws UsageError and relatives for options that cannot be right, before anything is allocated; NonFiniteError when
   * a number stops being finite; the signal's reason when aborted; DeviceError
   */
  async generate(options: GenerateOptions = {}): Promise<Generation> {
    const steps = this.steps(options);
    try {
      for (;;) {
        const { done, value } = await steps.next();
        if (done) return value;
        options.onStep?.(value);
      }
    } finally {
      // Only a throwing onStep leaves the generator unfinished.
      await steps.return(undefined as never);
    }
  }

  /**
   * Samples step by step. Each {@link Step} comes as soon as it is submitted; `break` stops and frees everything.
   * Other calls on the pipeline wait until the generator has ended.
   */
  async *steps(options: GenerateOptions = {}): AsyncGenerator<Step, Generation> {
    const check = this.#stopper(options.signal);
    check();
    const run = resolveRun(this.model, options);
    const end = await this.#turns.next(check, options.signal);
    try {
      return yield* this.#sample(run, options, check);
    } catch (error) {
      this.#checkOpen();
      throw error;
    } finally {
      end();
    }
  }

  async *#sample(run: ResolvedRun, options: GenerateOptions, check: () => void): AsyncGenerator<Step, Generation> {
    const began = performance.now();
    const { device, target, model, weights } = this;
    const lowered = this.#lower(run.height, run.width, "step");
    const size = this.#batchSize(run, lowered);
    const timesteps = this.#timestepRows(
      "timestep",
      run.schedule.steps.map((s) => s.tNetwork),
    );
    const pixels = model.config.in_channels * run.height * run.width;
    const samples = new Float32Array(options.pixels ? 0 : run.count * pixels);
    const images: Generation["images"] = [];
    let compile = 0;
    let looped = 0;
    let timings: Generation["timings"];
    for (let first = 0; first < run.count; first += size) {
      const count = Math.min(size, run.count - first);
      const profile = (options.profile ?? false) && first === 0;
      const start = performance.now();
      let begun: number | undefined;
      const batch = sampleBatch({
        device,
        target,
        model,
        lowered,
        weights,
        run,
        timesteps,
        first,
        images: count,
        check,
        pixels: options.pixels,
        profile,
      });
      try {
        for (;;) {
          const { done, value } = await batch.next();
          begun ??= performance.now();
          if (!done) {
            yield { ...value, ms: performance.now() - began };
            continue;
          }
          compile += begun - start;
          looped += performance.now() - begun;
          images.push(...value.images);
          if (!options.pixels) samples.set(value.samples, first * pixels);
          timings ??= value.timings;
          break;
        }
      } finally {
        await batch.return(undefined as never);
      }
    }
    const total = performance.now() - began;
    const steps = run.schedule.steps.length;
    return {
      images,
      samples: { shape: [run.count, model.config.in_channels, run.height, run.width], data: samples },
      seed: run.seed,
      classes: run.classes,
      steps,
      ms: { total, perStep: looped / (steps * Math.ceil(run.count / size)), compile },
      peakBytes: device.counters.peakBytes,
      warnings: run.warnings,
      timings,
    };
  }

  #prepare(inputs: ForwardInputs, check: () => void) {
    check();
    checkSample(inputs.sample, this.model.config.in_channels);
    const [, , height, width] = inputs.sample.shape as [number, number, number, number];
    checkSize(this.model, { height, width });
    const lowered = this.#lower(height, width, "image");
    const { device, model, weights } = this;
    return {
      device,
      model,
      lowered,
      weights,
      inputs,
      maxRows: maxRows(device, lowered),
      check,
      timestepRows: (name: string, t: readonly number[]) => this.#timestepRows(name, t),
    };
  }

  /**
   * One evaluation of the network: its whole output, [N, out_channels, H, W]. Larger batches than the bindings allow run
   * in parts.
   * @throws ShapeError, UsageError naming the input
   */
  async forward(inputs: ForwardInputs, options: { signal?: AbortSignal } = {}): Promise<Tensor> {
    const check = this.#stopper(options.signal);
    const prepared = this.#prepare(inputs, check);
    return this.#exclusive(() => evaluate(prepared), check, options.signal);
  }

  /** Times one evaluation, warm, read-back excluded, for about so many seconds. */
  async benchmark(inputs: ForwardInputs, seconds: number): Promise<ForwardTiming> {
    const check = this.#stopper();
    const prepared = this.#prepare(inputs, check);
    return this.#exclusive(() => timeEvaluation(prepared, seconds), check);
  }

  memory(): MemoryReport {
    this.#checkOpen();
    const { liveBytes, peakBytes } = this.device.counters;
    return { weights: this.weights.bytes, activations: liveBytes - this.weights.bytes, peak: peakBytes };
  }

  /** Activation memory that a batch needs at the model's own size, and the least that any plan could do with. */
  plan(batch: number): { bytes: number; lowerBound: number } {
    this.#checkOpen();
    const { height, width } = checkSize(this.model, this.model.config.sample_size ?? { height: 64, width: 64 });
    return plannedBytes(this.#lower(height, width, "step"), batch);
  }

  /**
   * Frees the weights, and the device if the pipeline opened it. Work in flight ends with a UseAfterDisposeError at its
   * next submission.
   */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.weights.dispose();
    if (this.ownsDevice) this.device.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Puts an opened model on a device. Without `options.device` one is opened on `gpu` and freed with the pipeline. */
export async function createPipeline(
  model: Model,
  options: LoadOptions = {},
  open: () => Promise<Device> = defaultDevice,
): Promise<DiffusionPipeline> {
  options.signal?.throwIfAborted();
  const given = options.device;
  const device = given instanceof DeviceClass ? given : given ? wrapDevice(given) : await open();
  try {
    return await DiffusionPipeline.create(model, device, device !== given, options);
  } catch (error) {
    if (device !== given) device.dispose();
    throw error;
  }
}

const defaultDevice = () => openDevice(typeof navigator === "undefined" ? undefined : navigator.gpu);
