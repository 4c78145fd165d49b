/** An autoencoder on a device. Each half's weights are loaded when it is first used, its programs made per size and batch. */
import { keepFinal } from "../kernels/derive.ts";
import { methodsFor, type Precision, targetFor } from "../kernels/target.ts";
import { Weights } from "../network/weights.ts";
import type { Device } from "../runtime/device.ts";
import { DeviceError, UsageError, UseAfterDisposeError } from "../runtime/errors.ts";
import { type Judge, judgeBy, type NonFinite } from "../runtime/finite.ts";
import type { Target } from "../runtime/kernel.ts";
import type { Tensor } from "../runtime/layout.ts";
import { checkKind, checkOptions, type OptionNames } from "../runtime/options.ts";
import type { DType } from "../runtime/values.ts";
import type { LoadProgress } from "../weights/stream.ts";
import { type BatchesInit, checkShape, runBatches } from "./batches.ts";
import {
  Coder,
  type CoderInit,
  coderBytes,
  coderImages,
  type DecoderChoices,
  type GpuCoder,
  type Half,
  lowerDecoder,
  lowerEncoder,
  ownWeights,
} from "./coder.ts";
import type { AutoencoderModel } from "./open.ts";
import { type Posterior, posterior } from "./posterior.ts";
import type { AutoencoderSpec } from "./spec.ts";
import { lowerTiles, TiledDecoder, tiledBytes, tiledImages } from "./tiled.ts";

/** Most bytes that a half takes beside its weights before it works on fewer images, then in tiles. */
export const DEFAULT_MEMORY = 4 * 2 ** 30;

export interface AutoencoderOptions {
  /** Of activations and weights; sums are f32 always. */
  readonly dtype?: Exclude<DType, "u32">;
  /** "high": no method that rounds more than f32 has to; default "fast". */
  readonly precision?: Precision;
  /** Bytes of activations; default {@link DEFAULT_MEMORY}. */
  readonly memory?: number;
  readonly onProgress?: (progress: LoadProgress) => void;
  /** What happens to numbers that are not finite, or that f16 cannot hold: "error" (default), or "warn" and go on. */
  readonly nonFinite?: NonFinite;
  /** Receives warnings; default: `console.warn`. */
  readonly onWarning?: (text: string) => void;
}

export interface DecodeOptions {
  /** Replace latents by their nearest entries of the codebook first; default: where there is a codebook. */
  readonly quantize?: boolean;
  readonly signal?: AbortSignal;
  /** Called with each batch of images, [n, C, H, W], as soon as it is decoded; a promise that it returns is waited for. */
  readonly onBatch?: BatchesInit["onBatch"];
}

/** Size of the latents, and what happens to them first: x·scale + shift, then the codebook. */
export interface DecoderShape extends Pick<DecodeOptions, "quantize"> {
  readonly height: number;
  readonly width: number;
  /** 1/scaling_factor and shift_factor for a sampler's latents; default 1 and 0. */
  readonly scale?: number;
  readonly shift?: number;
}

/** What `encode` gives: a distribution, or latents that are not quantised, [N, C, H, W]. */
export type Encoding = ({ readonly kind: "kl" } & Posterior) | { readonly kind: "vq"; readonly latents: Tensor };

export interface Decoding {
  /** [N, C, H, W], not clamped. */
  readonly image: Tensor;
  /** Number of every latent's codebook entry, [N, H, W]; null without quantising, and in tiles. */
  readonly indices: { readonly shape: readonly number[]; readonly data: Uint32Array } | null;
}

/** A decoder lowered, and how many images it can take at once. */
interface PreparedDecoder {
  readonly most: number;
  create(weights: Weights, init: CoderInit): Promise<GpuCoder>;
}

const autoencoderNames: OptionNames<AutoencoderOptions> = {
  dtype: "a text",
  precision: "a text",
  memory: true,
  onProgress: true,
  nonFinite: "a text",
  onWarning: true,
};
const encodeNames: OptionNames<Pick<DecodeOptions, "signal">> = { signal: true };
const decodeNames: OptionNames<DecodeOptions> = { quantize: true, signal: true, onBatch: "a function" };

export class Autoencoder {
  readonly spec: AutoencoderSpec;
  readonly target: Target;
  readonly dtype: Exclude<DType, "u32">;
  readonly #memory: number;
  readonly #judge: Judge;
  readonly #own: ReturnType<typeof ownWeights>;
  readonly #loading = new Map<Half, Promise<Weights>>();
  readonly #loaded: Weights[] = [];
  #disposed = false;

  /** The caller keeps the device; nothing is allocated yet. */
  constructor(
    readonly model: AutoencoderModel,
    readonly device: Device,
    private readonly options: AutoencoderOptions = {},
  ) {
    checkOptions("Autoencoder", options, autoencoderNames);
    checkKind("Autoencoder", "model.spec", "an object", Object(model).spec);
    checkKind("Autoencoder", "device", "a device", device);
    this.spec = model.spec;
    this.dtype = options.dtype ?? "f32";
    const free = targetFor(device, methodsFor(options.precision));
    this.#own = ownWeights(this.spec, free, this.dtype);
    this.target = keepFinal(free, new Map([...this.#own.encode, ...this.#own.decode]));
    this.#memory = options.memory ?? DEFAULT_MEMORY;
    this.#judge = judgeBy(options.nonFinite, options.onWarning);
  }

  #checkOpen(): void {
    if (this.#disposed) throw new UseAfterDisposeError(`the autoencoder of ${this.model.name}`);
  }

  #load(half: Half, signal?: AbortSignal): Promise<Weights> {
    const { checkpoint, layout } = this.model;
    const options = { signal, onProgress: this.options.onProgress, locate: layout.naming.locate, judge: this.#judge };
    return Weights.load(this.device, this.target, this.#own[half].values(), checkpoint, options);
  }

  /** A half's weights, loaded once. */
  #weights(half: Half, signal?: AbortSignal): Promise<Weights> {
    this.#checkOpen();
    const found = this.#loading.get(half);
    if (found) return found;
    const loading = this.#load(half, signal).then((weights) => {
      if (this.#disposed) weights.dispose();
      else this.#loaded.push(weights);
      this.#checkOpen();
      return weights;
    });
    this.#loading.set(half, loading);
    // A failure, for example an abort, can be tried again.
    loading.catch(() => this.#loading.delete(half));
    return loading;
  }

  /** A half's weights, to be disposed of: borrowed where they are here, else loaded for the caller alone. */
  async borrow(half: Half, signal?: AbortSignal): Promise<Weights> {
    this.#checkOpen();
    const found = await this.#loading.get(half);
    return found?.borrow() ?? this.#load(half, signal);
  }

  /** Most images, of `n`, that the bindings and the memory allow; at least one. */
  #fitting(n: number, most: number, bytes: (images: number) => number): number {
    let images = Math.min(n, most);
    while (images > 1 && bytes(images) > this.#memory) images = Math.ceil(images / 2);
    return images;
  }

  #prepareDecoder({ height, width, quantize, scale = 1, shift = 0 }: DecoderShape, n: number): PreparedDecoder {
    const vq = this.spec.kind === "vq";
    if (quantize && !vq) throw new UsageError("quantize", `${this.model.name} has no codebook to quantise with`);
    const choices: DecoderChoices = { height, width, dtype: this.dtype, quantize: quantize ?? vq, scale, shift };
    const whole = lowerDecoder(this.spec, this.target, choices);
    if (coderImages(this.device, whole) >= 1 && coderBytes(whole, 1) <= this.#memory)
      return {
        most: this.#fitting(n, coderImages(this.device, whole), (images) => coderBytes(whole, images)),
        create: (weights, init) => Coder.create(this.device, whole, weights, init),
      };
    const tiles = lowerTiles(this.device, this.spec, this.target, choices, this.#memory);
    if (!tiles) throw this.#tooLarge("decode", height, width);
    return {
      most: this.#fitting(n, tiledImages(this.device, tiles), (images) => tiledBytes(tiles, images)),
      create: (weights, init) => TiledDecoder.create(this.device, this.target, tiles, weights, init),
    };
  }

  #tooLarge(half: Half, height: number, width: number): DeviceError {
    const what = half === "encode" ? "an image" : "latents";
    return new DeviceError(
      "out-of-memory",
      `${what} of ${height} × ${width} cannot be ${half}d on this adapter within ${Math.floor(this.#memory / 2 ** 20)} MiB`,
    );
  }

  /**
   * How many of `n` images {@link decoder} can take at once.
   * @throws DeviceError "out-of-memory" where not even tiles of one fit
   */
  decoderImages(shape: DecoderShape, n: number): number {
    return this.#prepareDecoder(shape, n).most;
  }

  /**
   * A decoder that reads latents from a buffer and leaves images on the GPU, in tiles where they are too large for the
   * memory. The caller disposes of it.
   * @throws DeviceError "out-of-memory"; nothing stays allocated
   */
  async decoder(shape: DecoderShape, init: CoderInit): Promise<GpuCoder> {
    this.#checkOpen();
    const { create } = this.#prepareDecoder(shape, init.images);
    return create(await this.#weights("decode"), init);
  }

  /** Images [N, C, H, W] in −1..1 to latents. @throws ShapeError, DeviceError; the signal's reason when aborted */
  async encode(images: Tensor, options: Pick<DecodeOptions, "signal"> = {}): Promise<Encoding> {
    checkOptions("encode", options, encodeNames);
    const { signal } = options;
    this.#checkOpen();
    const [n, height, width] = checkShape(images, "encode", this.spec.in_channels);
    const lowered = lowerEncoder(this.spec, this.target, { height, width, dtype: this.dtype });
    const limit = coderImages(this.device, lowered);
    if (limit < 1) throw this.#tooLarge("encode", height, width);
    const most = this.#fitting(n, limit, (count) => coderBytes(lowered, count));
    const weights = await this.#weights("encode", signal);
    const create = (init: CoderInit) => Coder.create(this.device, lowered, weights, init);
    const { output } = await this.#run(images, most, create, { signal });
    if (this.spec.kind === "vq") return { kind: "vq", latents: output };
    return { kind: "kl", ...posterior(output) };
  }

  /** Latents [N, C, H, W], as `encode` gives them, to images. @throws ShapeError, UsageError, DeviceError; the signal's reason */
  async decode(latents: Tensor, options: DecodeOptions = {}): Promise<Decoding> {
    checkOptions("decode", options, decodeNames);
    const { quantize, ...rest } = options;
    this.#checkOpen();
    const [n, height, width] = checkShape(latents, "decode", this.spec.latent_channels);
    const { most, create } = this.#prepareDecoder({ height, width, quantize }, n);
    const weights = await this.#weights("decode", rest.signal);
    const { output, indices } = await this.#run(latents, most, (init) => create(weights, init), rest);
    return { image: output, indices: indices && { shape: [n, height, width], data: indices } };
  }

  #run(input: Tensor, most: number, create: BatchesInit["create"], { signal, onBatch }: DecodeOptions) {
    const check = () => {
      this.#checkOpen();
      signal?.throwIfAborted();
    };
    return runBatches({ device: this.device, input, most, create, check, judge: this.#judge, onBatch });
  }

  /** Bytes of GPU memory that the weights hold so far. */
  get bytes(): number {
    return this.#loaded.reduce((sum, weights) => sum + weights.bytes, 0);
  }

  /** Frees the weights. Work in flight ends with a UseAfterDisposeError at its next submission. */
  dispose(): void {
    this.#disposed = true;
    for (const weights of this.#loaded.splice(0)) weights.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
