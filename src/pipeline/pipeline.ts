/** The pipeline: a model on a device, and what makes pictures with it. */
import type { Device } from "../runtime/device.ts";
import { checkKind, checkOptions, type OptionNames } from "../runtime/options.ts";
import type { EditOptions } from "./edit.ts";
import { decode, encode } from "./firstStage.ts";
import type { FuseOptions, InterpolateOptions } from "./interpolate.ts";
import type { Inversion, InvertOptions, Reconstruction } from "./invert.ts";
import { LoadedModel } from "./loaded.ts";
import type { Model } from "./model.ts";
import { PipelineNetwork } from "./network.ts";
import { forwardNoise } from "./noise.ts";
import type { CreateOptions } from "./options.ts";
import type { RecoverOptions } from "./recover.ts";
import { finish, withResult } from "./results.ts";
import { resolveRun } from "./run.ts";
import { runSteps } from "./steps.ts";
import type { GenerateOptions, Generation, Step, Steps, Tensor } from "./types.ts";
import type { UpscaleOptions } from "./upscale.ts";

const noiseNames: OptionNames<{ seed?: number | bigint }> = { seed: true };

const operations = () => import("./operations.ts");

export class DiffusionPipeline {
  /** Its network by itself: single evaluations, their time and memory. */
  readonly network: PipelineNetwork;

  #recovery: Promise<void> | undefined;

  private constructor(
    private loaded: LoadedModel,
    private readonly options: CreateOptions,
    private readonly open: (() => Promise<Device>) | undefined,
  ) {
    this.network = new PipelineNetwork(() => this.loaded);
  }

  /** @param open where no device is given; default: on `navigator.gpu` */
  static async create(model: Model, options: CreateOptions, open?: () => Promise<Device>): Promise<DiffusionPipeline> {
    return new DiffusionPipeline(await LoadedModel.load(model, options, open), options, open);
  }

  get model(): Model {
    return this.loaded.model;
  }

  get device(): Device {
    return this.loaded.device;
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
    this.loaded.turns.checker(options?.signal);
    const { history, numbers, ...generation } = yield* runSteps(this.loaded, resolveRun(this.model, options), options);
    return generation;
  }

  /**
   * What the network works on, of images: themselves, or a first stage's latents in the sampler's scale (of an
   * AutoencoderKL the mean, of a VQModel not quantised).
   * @param images [N, C, H, W] in −1..1
   * @throws ShapeError, UsageError; DeviceError "out-of-memory"
   */
  encode(images: Tensor, options: { signal?: AbortSignal } = {}): Promise<Tensor> {
    return encode(this.loaded, images, options);
  }

  /**
   * Pictures of what the network works on: of a run's latents, those that it made.
   * @param latents [N, C, H, W] in the sampler's scale, as {@link encode} and {@link invert} give them
   * @returns [N, C, H, W] in about −1..1; what is given, where the network works on pixels
   * @throws ShapeError, NonFiniteError; DeviceError "out-of-memory"
   */
  decode(latents: Tensor, options: { signal?: AbortSignal } = {}): Promise<Tensor> {
    return decode(this.loaded, latents, options);
  }

  /**
   * From images to the latents that DDIM with eta 0 turns into them.
   * @param images [N, C, H, W] in −1..1
   * @throws UsageError for a schedule without an inverse; ShapeError
   */
  async invert(images: Tensor, options: InvertOptions = {}): Promise<Inversion> {
    return (await operations()).invert(this.loaded, images, options);
  }

  /** {@link invert} and back again, with the error of every image. */
  async reconstruct(images: Tensor, options: InvertOptions = {}): Promise<Reconstruction> {
    return (await operations()).reconstruct(this.loaded, images, options);
  }

  /**
   * Images on the great circle between two latents, or on the patch between four.
   * @param corners two or four: seeds, or latents [1, C, H, W]
   */
  async interpolate(
    corners: readonly (number | bigint | Tensor)[],
    options: InterpolateOptions = {},
  ): Promise<Generation> {
    return (await operations()).interpolate(this.loaded, corners, options);
  }

  /** Style fusion: both images are inverted, their latents mixed, and sampled again. */
  async fuse(a: Tensor, b: Tensor, options: FuseOptions = {}): Promise<Generation> {
    return (await operations()).fuse(this.loaded, a, b, options);
  }

  /**
   * Image to image from an exact noise level, or in-painting with a mask; by a network that was trained to paint, whose input
   * the mask and the masked image are, where the model has one.
   */
  async edit(image: Tensor, options: EditOptions = {}): Promise<Generation> {
    return (await operations()).edit(this.loaded, image, options);
  }

  /**
   * Small pictures enlarged, by a network that reads them beside its state (latent-diffusion's super-resolution, Stable
   * Diffusion's x4 upscaler).
   * @param images [N, C, H, W] in −1..1
   */
  async upscale(images: Tensor, options: UpscaleOptions = {}): Promise<Generation> {
    return (await operations()).upscale(this.loaded, images, options);
  }

  /** The forward process at some timesteps; the noise is that of `seed` for images 0, 1, …: [timesteps · N, C, H, W]. */
  noise(images: Tensor, timesteps: readonly number[], options: { seed?: number | bigint } = {}): Tensor {
    checkOptions("noise", options, noiseNames);
    checkKind("noise", "images", "a tensor { shape, data: Float32Array }", images);
    checkKind("noise", "timesteps", "a list of numbers", timesteps);
    return forwardNoise(this.model, images, timesteps, options.seed);
  }

  /**
   * After a DeviceError "lost" (or whatever else ended the device): loads the model again on another device, as it was loaded
   * first, with the same methods and what is kept of its weights. What was under way or waiting fails with that error;
   * `generate({ resume })` goes on with a run from a state that was saved. Who calls this meanwhile waits for the same
   * recovery; on a device that works there is nothing to do. When it fails, it can be tried again.
   * @throws UsageError without a new device where the caller gave the first one; DeviceError; whatever loading throws
   */
  async recover(options: RecoverOptions = {}): Promise<void> {
    const { checkRecover, recovered } = await import("./recover.ts");
    checkRecover(options);
    this.loaded.turns.checkOpen();
    this.#recovery ??= recovered(this.loaded, this.options, this.open, options.device)
      .then((loaded) => {
        const { closed } = this.loaded.turns;
        this.loaded = loaded;
        if (closed.aborted) this.dispose();
        closed.throwIfAborted();
      })
      .finally(() => {
        this.#recovery = undefined;
      });
    return this.#recovery;
  }

  /**
   * Frees the weights, and the device if the pipeline opened it. Work in flight ends with a UseAfterDisposeError at its
   * next submission.
   */
  dispose(): void {
    this.loaded.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
