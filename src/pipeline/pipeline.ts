/** The pipeline: a model on a device. Composes evaluator and sampler; holds no arithmetic of its own. */
import type { Autoencoder } from "../autoencoder/autoencoder.ts";
import type { Tap } from "../network/taps.ts";
import type { Device } from "../runtime/device.ts";
import { UseAfterDisposeError } from "../runtime/errors.ts";
import type { Target } from "../runtime/kernel.ts";
import { checkKind, checkOptions, type OptionNames } from "../runtime/options.ts";
import type { KernelTiming } from "../runtime/profiler.ts";
import type { EditOptions } from "./edit.ts";
import type { EvalOptions, EvalTerms } from "./evalTerms.ts";
import type { ForwardTiming, HeldEvaluation } from "./forward.ts";
import type { FuseOptions, InterpolateOptions } from "./interpolate.ts";
import type { Inversion, InvertOptions, Reconstruction } from "./invert.ts";
import { LoadedModel } from "./loaded.ts";
import type { Model } from "./model.ts";
import { forwardNoise } from "./noise.ts";
import { type CreateOptions, signalNames } from "./options.ts";
import { type ResolvedRun, resolveRun } from "./run.ts";
import { Run, type RunOptions, type RunResult, withResult } from "./steps.ts";
import type { TappedOutput } from "./tapped.ts";
import type { TuningTable } from "./tuningTable.ts";
import { Turns } from "./turns.ts";
import type {
  ForwardInputs,
  GenerateOptions,
  Generation,
  MemoryReport,
  NetworkDType,
  Step,
  Steps,
  Tensor,
} from "./types.ts";
import type { UpscaleOptions } from "./upscale.ts";
import type { WorkOptions, Workshop } from "./workshop.ts";

const tapsNames: OptionNames<{ modules?: readonly string[]; signal?: AbortSignal }> = { modules: true, signal: true };
const noiseNames: OptionNames<{ seed?: number | bigint }> = { seed: true };

const operations = () => import("./operations.ts");

export class DiffusionPipeline {
  readonly #turns = new Turns();
  #disposed = false;

  private constructor(
    private readonly loaded: LoadedModel,
    /** Opened or wrapped for this pipeline alone. */
    private readonly ownsDevice: boolean,
  ) {}

  static async create(
    model: Model,
    device: Device,
    ownsDevice: boolean,
    options: CreateOptions,
  ): Promise<DiffusionPipeline> {
    return new DiffusionPipeline(await LoadedModel.create(model, device, options), ownsDevice);
  }

  get model(): Model {
    return this.loaded.model;
  }

  get device(): Device {
    return this.loaded.device;
  }

  get dtype(): NetworkDType {
    return this.loaded.dtype;
  }

  /** What the kernels are made for. */
  get target(): Target {
    return this.loaded.target;
  }

  /** The measured methods in use; null: all by size. */
  get tuning(): TuningTable | null {
    return this.loaded.tuning;
  }

  /** What makes pictures of latents; null where the network works on pixels. */
  get firstStage(): Autoencoder | null {
    return this.loaded.firstStage;
  }

  #checkOpen(): void {
    if (this.#disposed) throw new UseAfterDisposeError(`the pipeline of ${this.model.name}`);
  }

  /** What work in flight asks before each submission. */
  #stopper(signal?: AbortSignal): () => void {
    checkOptions("signal", { signal }, signalNames);
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

  /** A resolved run, in its turn, to its end. */
  async *#steps(
    resolved: ResolvedRun,
    options: WorkOptions & Pick<RunOptions, "resume" | "pixels">,
  ): AsyncGenerator<Step, RunResult> {
    const check = this.#stopper(options.signal);
    check();
    const end = await this.#turns.next(check, options.signal);
    let run: Run | undefined;
    try {
      run = new Run(this.loaded, resolved, { ...options, check });
      await run.begin();
      for (let step = await run.step(); step; step = await run.step()) yield step;
      return run.end();
    } catch (error) {
      this.#checkOpen();
      throw error;
    } finally {
      await run?.dispose();
      end();
    }
  }

  /** What operations on images work with. */
  #workshop(): Workshop {
    return {
      model: this.model,
      run: (run, options) => finish(withResult(this.#steps(run, options)), options.onStep),
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
    // What is no object of options, the steps refuse.
    return finish(this.steps(options), options?.onStep);
  }

  /**
   * Samples step by step: `for await (const step of steps)`, then `steps.result`. Each {@link Step} comes as soon as it is
   * submitted; `break` stops and frees everything. Other calls on the pipeline wait until the steps have ended.
   */
  steps(options: GenerateOptions = {}): Steps {
    return withResult(this.#generate(options));
  }

  async *#generate(options: GenerateOptions): AsyncGenerator<Step, Generation> {
    this.#stopper(options?.signal)();
    const { history, numbers, ...generation } = yield* this.#steps(resolveRun(this.model, options), options);
    return generation;
  }

  /**
   * What the network works on, of images: themselves, or a first stage's latents in the sampler's scale (of an
   * AutoencoderKL the mean, of a VQModel not quantised).
   * @param images [N, C, H, W] in −1..1
   * @throws ShapeError, UsageError; DeviceError "out-of-memory"
   */
  async encode(images: Tensor, options: { signal?: AbortSignal } = {}): Promise<Tensor> {
    checkOptions("encode", options, signalNames);
    checkKind("encode", "images", "a tensor { shape, data: Float32Array }", images);
    const { signal } = options;
    const { firstStage } = this;
    if (!firstStage) return images;
    const check = this.#stopper(signal);
    check();
    const { encodeImages } = await import("./latents.ts");
    return this.#exclusive(() => encodeImages(this.model, firstStage, images, signal), check, signal);
  }

  /**
   * From images to the latents that DDIM with eta 0 turns into them.
   * @param images [N, C, H, W] in −1..1
   * @throws UsageError for a schedule without an inverse; ShapeError
   */
  async invert(images: Tensor, options: InvertOptions = {}): Promise<Inversion> {
    return (await operations()).invert(this.#workshop(), images, options);
  }

  /** {@link invert} and back again, with the error of every image. */
  async reconstruct(images: Tensor, options: InvertOptions = {}): Promise<Reconstruction> {
    return (await operations()).reconstruct(this.#workshop(), images, options);
  }

  /**
   * Images on the great circle between two latents, or on the patch between four.
   * @param corners two or four: seeds, or latents [1, C, H, W]
   */
  async interpolate(
    corners: readonly (number | bigint | Tensor)[],
    options: InterpolateOptions = {},
  ): Promise<Generation> {
    return (await operations()).interpolate(this.#workshop(), corners, options);
  }

  /** Style fusion: both images are inverted, their latents mixed, and sampled again. */
  async fuse(a: Tensor, b: Tensor, options: FuseOptions = {}): Promise<Generation> {
    return (await operations()).fuse(this.#workshop(), a, b, options);
  }

  /**
   * Image to image from an exact noise level, or in-painting with a mask; by a network that was trained to paint, whose input
   * the mask and the masked image are, where the model has one.
   */
  async edit(image: Tensor, options: EditOptions = {}): Promise<Generation> {
    return (await operations()).edit(this.#workshop(), image, options);
  }

  /**
   * Small pictures enlarged, by a network that reads them beside its state (latent-diffusion's super-resolution, Stable
   * Diffusion's x4 upscaler).
   * @param images [N, C, H, W] in −1..1
   */
  async upscale(images: Tensor, options: UpscaleOptions = {}): Promise<Generation> {
    return (await operations()).upscale(this.#workshop(), images, options);
  }

  /** The forward process at some timesteps; the noise is that of `seed` for images 0, 1, …: [timesteps · N, C, H, W]. */
  noise(images: Tensor, timesteps: readonly number[], options: { seed?: number | bigint } = {}): Tensor {
    checkOptions("noise", options, noiseNames);
    checkKind("noise", "images", "a tensor { shape, data: Float32Array }", images);
    checkKind("noise", "timesteps", "a list of numbers", timesteps);
    return forwardNoise(this.model, images, timesteps, options.seed);
  }

  /** Per timestep: error of ε and of x0, and the terms of the variational bound in bits per dimension. */
  async evalTerms(images: Tensor, options: EvalOptions = {}): Promise<EvalTerms[]> {
    return (await operations()).evalTerms(this.#workshop(), images, options);
  }

  /**
   * One evaluation of the network: its whole output, [N, out_channels, H, W]. Larger batches than the bindings allow run
   * in parts.
   * @throws ShapeError, UsageError naming the input
   */
  async forward(inputs: ForwardInputs, options: { signal?: AbortSignal } = {}): Promise<Tensor> {
    checkOptions("forward", options, signalNames);
    const check = this.#stopper(options.signal);
    const prepared = this.loaded.prepare(inputs, check);
    const { evaluate } = await operations();
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
    checkOptions("taps", options, tapsNames);
    const check = this.#stopper(options.signal);
    const { evaluateTapped, findTaps } = await operations();
    let taps: readonly Tap[] = [];
    const prepared = this.loaded.prepare(inputs, check, (network) => {
      taps = findTaps(network, this.model.config, this.model.naming, options.modules);
      return taps.map(({ value }) => value);
    });
    const evaluate = async () => {
      const weights = await this.loaded.loadWeights(prepared.lowered, options.signal);
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
  async hold(inputs: ForwardInputs): Promise<HeldEvaluation> {
    const { HeldEvaluation } = await operations();
    return HeldEvaluation.create(this.loaded.prepare(inputs, this.#stopper()), { all: true });
  }

  /** Times one evaluation, warm, read-back excluded, for about so many seconds. */
  async benchmark(inputs: ForwardInputs, seconds: number): Promise<ForwardTiming> {
    const check = this.#stopper();
    const prepared = this.loaded.prepare(inputs, check);
    const { timeEvaluation } = await operations();
    return this.#exclusive(() => timeEvaluation(prepared, seconds), check);
  }

  /**
   * GPU time per kernel of one evaluation.
   * @throws DeviceError "unsupported" when the device has no timestamps
   */
  async profile(inputs: ForwardInputs): Promise<KernelTiming[]> {
    const check = this.#stopper();
    const prepared = this.loaded.prepare(inputs, check);
    const { profileEvaluation } = await operations();
    return this.#exclusive(() => profileEvaluation(prepared), check);
  }

  memory(): MemoryReport {
    this.#checkOpen();
    const { liveBytes, peakBytes } = this.device.counters;
    const weights = this.loaded.weightBytes;
    return { weights, activations: liveBytes - weights, peak: peakBytes };
  }

  /** Activation memory that a batch needs at the model's own size, and the least that any plan could do with. */
  plan(batch: number): { bytes: number; lowerBound: number } {
    this.#checkOpen();
    return this.loaded.plan(batch);
  }

  /**
   * Frees the weights, and the device if the pipeline opened it. Work in flight ends with a UseAfterDisposeError at its
   * next submission.
   */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.loaded.dispose();
    if (this.ownsDevice) this.device.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Takes all steps; a throwing onStep frees them. */
async function finish<T>(steps: Steps<T>, onStep?: WorkOptions["onStep"]): Promise<T> {
  for await (const step of steps) await onStep?.(step);
  return steps.result;
}
