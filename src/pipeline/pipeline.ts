/** The pipeline: a model on a device. Composes evaluator and sampler; holds no arithmetic of its own. */
import { Autoencoder } from "../autoencoder/autoencoder.ts";
import { methodsFor, targetFor } from "../kernels/target.ts";
import type { Tap } from "../network/taps.ts";
import { WeightStore } from "../network/weights.ts";
import type { Device } from "../runtime/device.ts";
import { UsageError, UseAfterDisposeError } from "../runtime/errors.ts";
import type { Target } from "../runtime/kernel.ts";
import type { KernelTiming } from "../runtime/profiler.ts";
import { compileCalls } from "../runtime/program.ts";
import type { Value } from "../runtime/values.ts";
import { timestepSinusoid } from "../sampler/embedding.ts";
import type { Network } from "../unet/build.ts";
import { type LoweredNetwork, lowerNetwork, maxRows, plannedBytes } from "../unet/evaluator.ts";
import { findTaps } from "../unet/taps.ts";
import { type EditOptions, edit, forwardNoise } from "./edit.ts";
import { encodeImages } from "./encoding.ts";
import { type EvalOptions, type EvalTerms, evalTerms } from "./evalTerms.ts";
import { evaluate, type ForwardTiming, HeldEvaluation, profileEvaluation, timeEvaluation } from "./forward.ts";
import { checkSample, contextLength, withClassContext } from "./forwardInputs.ts";
import { type FuseOptions, fuse, type InterpolateOptions, interpolate } from "./interpolate.ts";
import { type Inversion, type InvertOptions, invert, type Reconstruction, reconstruct } from "./invert.ts";
import { LatentPreview } from "./latentPreview.ts";
import { type Model, modelHash } from "./model.ts";
import { checkSize, type ResolvedRun, resolveRun } from "./run.ts";
import { type Engine, type RunOptions, type RunResult, runImages } from "./runImages.ts";
import { evaluateTapped, type TappedOutput } from "./tapped.ts";
import { tuningFor } from "./tuning.ts";
import { measuredMethods, type TuningTable } from "./tuningTable.ts";
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
import type { WorkOptions, Workshop } from "./workshop.ts";

export class DiffusionPipeline {
  readonly #lowered = new Map<string, LoweredNetwork>();
  readonly #turns = new Turns();
  readonly #preview: LatentPreview | null;
  #disposed = false;

  private constructor(
    readonly model: Model,
    readonly device: Device,
    readonly dtype: NetworkDType,
    /** What the kernels are made for. */
    readonly target: Target,
    /** The measured methods in use; null: all by size. */
    readonly tuning: TuningTable | null,
    private readonly weights: WeightStore,
    /** Opened or wrapped for this pipeline alone. */
    private readonly ownsDevice: boolean,
    /** Learned rows of timesteps, where the model has them. */
    private readonly timeRows: Float32Array | null,
    /** The context of every class, where classes have one. */
    private readonly classRows: Float32Array | null,
    /** Its weights are loaded when they are first needed. Always f32: the largest of the published ones leave f16's range. */
    readonly firstStage: Autoencoder | null,
    /** Most bytes of activations. */
    private readonly memoryLimit: number | undefined,
  ) {
    this.#preview = firstStage && new LatentPreview(firstStage);
  }

  static async create(
    model: Model,
    device: Device,
    ownsDevice: boolean,
    options: LoadOptions,
  ): Promise<DiffusionPipeline> {
    const began = performance.now();
    const { signal, onProgress } = options;
    const dtype = options.dtype === "f16" ? "f16" : "f32";
    const tuning = await tuningFor(model, device, dtype, options);
    const target = targetFor(device, methodsFor(options.precision, tuning ? measuredMethods(tuning) : undefined));
    const size = model.config.sample_size ?? { height: 64, width: 64 };
    const contextLength = model.classEmbedder ? 1 : undefined;
    const lowered = lowerNetwork(model.config, target, { size, dtype, timesteps: "step", contextLength });
    const learned = model.config.time.type === "learned";
    const timeRows = learned ? await model.checkpoint.read("time_proj.weight", signal) : null;
    const { classEmbedder } = model;
    const classRows = classEmbedder ? await model.checkpoint.read(classEmbedder.tensor, signal) : null;
    // A model without a size of its own is compiled when one is chosen.
    const calls = model.config.sample_size ? lowered.calls : [];
    const compiling = compileCalls(device, calls, (done, of) => onProgress?.({ type: "compile", done, of }));
    compiling.catch(() => {});
    const { packed: store } = options;
    const weights = await WeightStore.load(device, target, lowered.recipes, model.checkpoint, {
      signal,
      locate: model.naming.locate,
      packed: store && { store, model: await modelHash(model, signal) },
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
    const { memory, precision } = options;
    const progress = (p: { file: string; loaded: number; total: number }) => onProgress?.({ type: "download", ...p });
    const stage = { memory, precision, onProgress: progress };
    const firstStage = model.firstStage && new Autoencoder(model.firstStage, device, stage);
    return new DiffusionPipeline(
      model,
      device,
      dtype,
      target,
      tuning,
      weights,
      ownsDevice,
      timeRows,
      classRows,
      firstStage,
      memory,
    );
  }

  #lower(
    height: number,
    width: number,
    timesteps: "step" | "image",
    contextLength?: number,
    pin?: (network: Network) => readonly Value[],
  ): LoweredNetwork {
    const key = `${height}×${width} ${timesteps} ${contextLength}`;
    const init = { size: { height, width }, dtype: this.dtype, timesteps, contextLength };
    if (pin) return lowerNetwork(this.model.config, this.target, init, pin);
    let lowered = this.#lowered.get(key);
    if (!lowered) {
      lowered = lowerNetwork(this.model.config, this.target, init);
      this.#lowered.set(key, lowered);
    }
    return lowered;
  }

  /** Rows of the network's timestep input: host-made sinusoids, or learned ones. */
  #timestepRows(name: string, timesteps: readonly number[]): Float32Array {
    const { time } = this.model.config;
    const width = time.inputs;
    const rows = new Float32Array(timesteps.length * width);
    timesteps.forEach((t, i) => {
      if (!Number.isFinite(t)) throw new UsageError(name, `${name} must be a number, got ${t}`);
      if (this.timeRows && !(Number.isInteger(t) && t >= 0 && t < time.num_train_timesteps))
        throw new UsageError(
          name,
          `${name} ${t} is out of range: the learned embedding has rows 0..${time.num_train_timesteps - 1}`,
        );
      rows.set(
        this.timeRows ? this.timeRows.subarray(t * width, (t + 1) * width) : timestepSinusoid(t, width, time),
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

  #engine(): Engine {
    const { device, target, model, weights, classRows, firstStage, memoryLimit: memory } = this;
    const lower = (height: number, width: number, length: number | undefined) =>
      this.#lower(height, width, "step", length);
    const timestepRows = (t: readonly number[]) => this.#timestepRows("timestep", t);
    const preview = this.#preview;
    return { device, target, model, weights, classRows, firstStage, memory, lower, timestepRows, preview };
  }

  /** A resolved run, in its turn, to its end. */
  async *#steps(
    run: ResolvedRun,
    options: WorkOptions & Pick<RunOptions, "resume" | "pixels">,
  ): AsyncGenerator<Step, RunResult> {
    const check = this.#stopper(options.signal);
    check();
    const end = await this.#turns.next(check, options.signal);
    try {
      return yield* runImages(this.#engine(), run, { ...options, check });
    } catch (error) {
      this.#checkOpen();
      throw error;
    } finally {
      end();
    }
  }

  /** What operations on images work with. */
  #workshop(): Workshop {
    return {
      model: this.model,
      run: (run, options) => finish(this.#steps(run, options), options.onStep),
      forward: (inputs, signal) => this.forward(inputs, { signal }),
      encode: (images, signal) => this.encode(images, { signal }),
    };
  }

  /**
   * Samples images.
   * @throws UsageError and relatives for options that cannot be right, before anything is allocated; NonFiniteError when
   * a number stops being finite; the signal's reason when aborted; DeviceError
   */
  async generate(options: GenerateOptions = {}): Promise<Generation> {
    return finish(this.steps(options), options.onStep);
  }

  /**
   * Samples step by step. Each {@link Step} comes as soon as it is submitted; `break` stops and frees everything.
   * Other calls on the pipeline wait until the generator has ended.
   */
  async *steps(options: GenerateOptions = {}): AsyncGenerator<Step, Generation> {
    this.#stopper(options.signal)();
    const run = resolveRun(this.model, options);
    const { history, numbers, ...generation } = yield* this.#steps(run, options);
    return generation;
  }

  /**
   * What the network works on, of images: themselves, or a first stage's latents in the sampler's scale (of an
   * AutoencoderKL the mean, of a VQModel not quantised).
   * @param images [N, C, H, W] in −1..1
   * @throws ShapeError, UsageError; DeviceError "out-of-memory"
   */
  async encode(images: Tensor, { signal }: { signal?: AbortSignal } = {}): Promise<Tensor> {
    const { firstStage } = this;
    if (!firstStage) return images;
    const check = this.#stopper(signal);
    check();
    return this.#exclusive(() => encodeImages(this.model, firstStage, images, signal), check, signal);
  }

  /**
   * From images to the latents that DDIM with eta 0 turns into them.
   * @param images [N, C, H, W] in −1..1
   * @throws UsageError for a schedule without an inverse; ShapeError
   */
  invert(images: Tensor, options: InvertOptions = {}): Promise<Inversion> {
    return invert(this.#workshop(), images, options);
  }

  /** {@link invert} and back again, with the error of every image. */
  reconstruct(images: Tensor, options: InvertOptions = {}): Promise<Reconstruction> {
    return reconstruct(this.#workshop(), images, options);
  }

  /**
   * Images on the great circle between two latents, or on the patch between four.
   * @param corners two or four: seeds, or latents [1, C, H, W]
   */
  interpolate(corners: readonly (number | bigint | Tensor)[], options: InterpolateOptions = {}): Promise<Generation> {
    return interpolate(this.#workshop(), corners, options);
  }

  /** Style fusion: both images are inverted, their latents mixed, and sampled again. */
  fuse(a: Tensor, b: Tensor, options: FuseOptions = {}): Promise<Generation> {
    return fuse(this.#workshop(), a, b, options);
  }

  /** Image to image from an exact noise level, or in-painting with a mask. */
  edit(image: Tensor, options: EditOptions = {}): Promise<Generation> {
    return edit(this.#workshop(), image, options);
  }

  /** The forward process at some timesteps; the noise is that of `seed` for images 0, 1, …: [timesteps · N, C, H, W]. */
  noise(images: Tensor, timesteps: readonly number[], options: { seed?: number | bigint } = {}): Tensor {
    return forwardNoise(this.model, images, timesteps, options.seed);
  }

  /** Per timestep: error of ε and of x0, and the terms of the variational bound in bits per dimension. */
  evalTerms(images: Tensor, options: EvalOptions = {}): Promise<EvalTerms[]> {
    return evalTerms(this.#workshop(), images, options);
  }

  /** @param pin of a network that is lowered for this evaluation alone: values to keep */
  #prepare(given: ForwardInputs, check: () => void, pin?: (network: Network) => readonly Value[]) {
    check();
    const { device, model, weights } = this;
    const inputs = withClassContext(model, this.classRows, given);
    checkSample(inputs.sample, model.config.in_channels);
    const [, , height, width] = inputs.sample.shape as [number, number, number, number];
    checkSize(model, { height, width });
    const lowered = this.#lower(height, width, "image", contextLength(model, inputs), pin);
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

  /**
   * {@link forward} with the outputs of modules. Nothing is fused across them, all are kept, and the weights are loaded once
   * more, as such a network needs them: slow, and large.
   * @param options.modules by the checkpoint's paths; those that the network does not have are left out. Default: all
   */
  async taps(
    inputs: ForwardInputs,
    options: { modules?: readonly string[]; signal?: AbortSignal } = {},
  ): Promise<TappedOutput> {
    const check = this.#stopper(options.signal);
    let taps: readonly Tap[] = [];
    const prepared = this.#prepare(inputs, check, (network) => {
      taps = findTaps(network, this.model.config, this.model.naming, options.modules);
      return taps.map(({ value }) => value);
    });
    const evaluate = async () => {
      const { locate } = this.model.naming;
      const { recipes } = prepared.lowered;
      const given = { locate, signal: options.signal };
      const weights = await WeightStore.load(this.device, this.target, recipes, this.model.checkpoint, given);
      try {
        return await evaluateTapped({ ...prepared, weights }, taps);
      } finally {
        weights.dispose();
      }
    };
    return this.#exclusive(evaluate, check, options.signal);
  }

  /**
   * One evaluation that stays on the GPU, for those who time it from outside. The caller disposes it before the pipeline
   * is used for anything else.
   * @throws ShapeError when the images are more than one batch takes
   */
  hold(inputs: ForwardInputs): Promise<HeldEvaluation> {
    return HeldEvaluation.create(this.#prepare(inputs, this.#stopper()));
  }

  /** Times one evaluation, warm, read-back excluded, for about so many seconds. */
  async benchmark(inputs: ForwardInputs, seconds: number): Promise<ForwardTiming> {
    const check = this.#stopper();
    const prepared = this.#prepare(inputs, check);
    return this.#exclusive(() => timeEvaluation(prepared, seconds), check);
  }

  /**
   * GPU time per kernel of one evaluation.
   * @throws DeviceError "unsupported" when the device has no timestamps
   */
  async profile(inputs: ForwardInputs): Promise<KernelTiming[]> {
    const check = this.#stopper();
    const prepared = this.#prepare(inputs, check);
    return this.#exclusive(() => profileEvaluation(prepared), check);
  }

  memory(): MemoryReport {
    this.#checkOpen();
    const { liveBytes, peakBytes } = this.device.counters;
    const weights = this.weights.bytes + (this.firstStage?.bytes ?? 0);
    return { weights, activations: liveBytes - weights, peak: peakBytes };
  }

  /** Activation memory that a batch needs at the model's own size, and the least that any plan could do with. */
  plan(batch: number): { bytes: number; lowerBound: number } {
    this.#checkOpen();
    const { height, width } = checkSize(this.model, this.model.config.sample_size ?? { height: 64, width: 64 });
    return plannedBytes(this.#lower(height, width, "step", this.model.classEmbedder ? 1 : undefined), batch);
  }

  /**
   * Frees the weights, and the device if the pipeline opened it. Work in flight ends with a UseAfterDisposeError at its
   * next submission.
   */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.weights.dispose();
    this.firstStage?.dispose();
    if (this.ownsDevice) this.device.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Runs a generator of steps to its end; a throwing onStep frees it. */
async function finish<T>(steps: AsyncGenerator<Step, T>, onStep?: (step: Step) => void): Promise<T> {
  try {
    for (;;) {
      const { done, value } = await steps.next();
      if (done) return value;
      onStep?.(value);
    }
  } finally {
    await steps.return(undefined as never);
  }
}
