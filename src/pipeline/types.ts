/** The public shapes of the pipeline API. Images are NCHW f32 in −1..1 where they are tensors, RGBA bytes where they are images. */
import type { RgbaImage } from "../image/rgba.ts";
import type { Precision } from "../kernels/target.ts";
import type { PackedStore } from "../network/packed.ts";
import type { Device } from "../runtime/device.ts";
import type { NonFinite } from "../runtime/finite.ts";
import type { Tensor } from "../runtime/layout.ts";
import type { UpdateRule } from "../sampler/rule.ts";
import type { ScheduleOptions } from "../sampler/scheduleTypes.ts";
import type { Rng } from "../sampler/seed.ts";
import type { WeightSet } from "../unet/layouts/types.ts";
import type { ParseYaml } from "../weights/config.ts";
import type { ConfigLike } from "../weights/to-source.ts";
import type { SavedRun, Step } from "./generation.ts";
import type { TuningStore } from "./tuningTable.ts";

/** Element type of weights and activations; the sampler's state, schedule and step are always f32/f64. */
export type NetworkDType = "f32" | "f16";

export type LoadEvent =
  /** Bytes of the weights on their way to the GPU; in Node, before that, of each file of the Hub that goes into its cache. */
  | { type: "download"; file: string; loaded: number; total: number }
  | { type: "tune"; done: number; of: number }
  | { type: "compile"; done: number; of: number }
  | { type: "ready"; ms: number };

export interface LoadOptions {
  /** A device of the caller's, never destroyed by the pipeline; without it the pipeline opens (and later frees) its own. */
  device?: GPUDevice | Device;
  /** "auto" (default) is f32. */
  dtype?: "auto" | NetworkDType;
  /** "high": no method that rounds more than f32 has to, such as Winograd's; default "fast". */
  precision?: Precision;
  /** Tables of measured methods from earlier runs; ddim-webgpu/node has one in a folder. Default: none. */
  tuning?: TuningStore;
  /**
   * Measures first what `tuning` does not know of the network's methods on this adapter, a second or so for each shape.
   * Another method rounds differently: images agree with those of other tables to a few digits only.
   */
  tune?: boolean;
  /**
   * Packed weights of earlier loads, about twice as large as a checkpoint in f32; ddim-webgpu/node has a folder of them.
   * Default: none.
   */
  packed?: PackedStore;
  /** Which set of weights, for example "fp16" for `*.fp16.safetensors`. */
  variant?: string;
  /** "ema": the moving average of the weights, where a checkpoint has one beside the plain ones. */
  weights?: WeightSet;
  /**
   * The configuration, in place of the one that lies with the weights: a URL (in Node also a path), a file, or the keys and
   * values themselves.
   */
  config?: ConfigLike;
  /**
   * "warn": keys of configurations and tensors that nothing here knows are passed over, with a warning that names them;
   * default: they are refused, because they may change what is computed.
   */
  unknown?: "error" | "warn";
  /** Reads the originals' YAML configurations; ddim-webgpu/node brings one. */
  parseYaml?: ParseYaml;
  /** Most bytes that activations may take beside the weights: batches get smaller, and pictures are decoded in tiles. */
  memory?: number;
  /**
   * What happens to numbers that are not finite, or that f16 cannot hold, in weights, inputs or results: "error" (default)
   * ends the call with a NonFiniteError; "warn" goes on, and tells `onWarning` and the result's `warnings`.
   */
  nonFinite?: NonFinite;
  /** Receives warnings while the pipeline works; default: `console.warn`. */
  onWarning?: (text: string) => void;
  /** For URL sources. */
  fetch?: typeof fetch;
  /**
   * In pages and their workers: whether what a URL or a name gives is kept in the browser's storage, by that URL, until
   * `modelCache.clear()`, so that later loads make no request (true, the default); false keeps and reads nothing; "reload"
   * downloads anew, and keeps.
   */
  cache?: boolean | "reload";
  signal?: AbortSignal;
  onProgress?: (event: LoadEvent) => void;
}

export type { PackedReader, PackedStore } from "../network/packed.ts";
export type { Tensor } from "../runtime/layout.ts";
export type * from "./generation.ts";

export interface GenerateOptions
  extends Pick<
    ScheduleOptions,
    | ("steps" | "spacing" | "timesteps" | "timestepBase" | "start" | "stop")
    | ("eta" | "sigma" | "temperature" | "clip" | "threshold" | "rederive" | "compat")
  > {
  /** One of those that are built in, or a rule of your own: docs/sampler.md, "Rules of your own". */
  sampler?: ScheduleOptions["sampler"] | UpdateRule;
  /** Number of images (1). */
  count?: number;
  /** Images per batch; default: what fits comfortably. Never changes an image. */
  batch?: number;
  /** 0..2^64−1; random when absent, always returned. */
  seed?: number | bigint;
  /**
   * Whose noise, x_T's and the steps': "philox" (default); "torch", a torch.Generator of the CPU with seed + i for image i;
   * "torch-batch", one of them for all images of the run, as a pipeline of diffusers takes it; "cuda", PyTorch's Philox with
   * seed + i for image i. The noise of in-painting is Philox's in any case.
   */
  rng?: Rng;
  /** Class ids; image i takes classes[i mod length]. Default: all classes but the null class in turn. */
  classes?: readonly number[];
  /**
   * Classifier-free guidance scale w in e_u + w·(e_c − e_u), one for all or a list taken in turn; where all are 1 (default)
   * an evaluation costs half. Networks with `time_cond_proj_dim` (LCM) are told w instead, and evaluated once.
   */
  guidance?: number | readonly number[];
  /** Guidance acts where low ≤ t ≤ high (Kynkäänniemi et al. 2024); elsewhere w is 1. */
  guidanceInterval?: readonly [low: number, high: number];
  /** φ of Lin et al. 2023, 0 (default) to 1: how far the guided output takes the standard deviation of e_c. */
  guidanceRescale?: number;
  /** Class that guidance leads away from; default: the null class. */
  negativeClass?: number;
  /**
   * [1 or N, L, D], for networks that attend to a context: hidden states of a text encoder, of any length. N without
   * `count` is the number of images. Models that look their classes' contexts up need none.
   */
  context?: Tensor;
  /** What guidance leads away from, for as many tokens: an empty prompt's context, or a negative one's. */
  negativeContext?: Tensor;
  /** [1 or N, D] and [1 or N, K], for SDXL-class networks: pooled text embeddings, and sizes and crops. */
  textEmbeds?: Tensor;
  timeIds?: Tensor;
  /** Their counterparts under guidance; `negativeTimeIds` default to `timeIds`. */
  negativeTextEmbeds?: Tensor;
  negativeTimeIds?: Tensor;
  /**
   * [1 or N, C, H, W], as large as the state, for networks that read more channels than it has: they stand after the state's
   * in every evaluation. N without `count` is the number of images, and H and W without `size` are the state's.
   */
  concat?: Tensor;
  /** Images 2j and 2j + 1 get noise of opposite signs. Not with `noise`, and not with rng "torch-batch". */
  antithetic?: boolean;
  /**
   * Number of the first image among all that the seed makes, 0..2^32−1, for shards: image i is the same in any of them. Not
   * with rng "torch-batch".
   */
  firstImage?: number;
  /** In-painting; see {@link InpaintOptions}. */
  inpaint?: InpaintOptions;
  /** Record the range of x0 in every step, without waiting for it; see {@link Generation.statistics}. */
  statistics?: boolean;
  /** Continues a run that {@link Step.save} kept; all other options as they were. */
  resume?: SavedRun;
  /** Height and width of the pictures in pixels; default: the model's own. */
  size?: { height: number; width: number };
  /** The start: noise x_T, or the state at `start`, [N, C, H, W], of a latent model latents; sets `count`. */
  noise?: Tensor;
  /**
   * A buffer of the pipeline's own device with usage COPY_DST and count·H·W·4 bytes or more: it receives the pictures as
   * RGBA bytes, image after image, lines from the top. Nothing but the status words is read back then, and the result's
   * `images` and `samples` are empty. The buffer stays the caller's.
   */
  pixels?: GPUBuffer;
  signal?: AbortSignal;
  /** Called after every step; a promise that it returns is waited for. */
  onStep?: (step: Step) => unknown;
  /**
   * Called with the pictures of each batch as soon as they are made, after `resume` with those of the batches before it too;
   * `first` is the number of the first of them within the run. A promise that it returns is waited for.
   */
  onBatch?: (made: { readonly first: number; readonly images: readonly RgbaImage[] }) => unknown;
  /** Collect GPU time per kernel of one step. */
  profile?: boolean;
}

export interface InpaintOptions {
  /** [N, C, H, W] in −1..1; of a latent model latents, as is the mask. */
  readonly known: Tensor;
  /** 1 where `known` is kept, 0 where the model paints; [1 or N, 1 or C, H, W]. */
  readonly mask: Tensor;
  /** RePaint: after every `jump` steps back up, and down again, `resamples` times in all. */
  readonly repaint?: { readonly jump: number; readonly resamples: number };
  /** Whether the kept pixels are exactly `known` at the end (true). */
  readonly paste?: boolean;
}

/** Inputs of one network evaluation; N is the batch of `sample`. */
export interface ForwardInputs {
  /** [N, C, H, W] */
  sample: Tensor;
  /** N values or one. */
  timestep: readonly number[];
  /** N values or one; ids for embedding tables, numbers for class_embed_type "timestep". */
  classLabels?: readonly number[];
  /** [N, D] or [1, D], for class_embed_type "identity", "projection" and "simple_projection". */
  classVectors?: Tensor;
  /** [N, L, D] or [1, L, D]: what a conditional network attends to, encoder_hidden_states in diffusers. */
  context?: Tensor;
  /** [N, D] or [1, D]: pooled text embeddings of SDXL-class networks. */
  textEmbeds?: Tensor;
  /** [N, K] or [1, K]: numbers that SDXL-class networks embed beside them. */
  timeIds?: Tensor;
  /** [N, D] or [1, D]: what networks with `time_cond_proj_dim` add to the timestep (LCM's guidance); default: nothing. */
  timestepCond?: Tensor;
  /** For self-conditioned networks, as large as the sample: the picture that the step before made out (zeros). */
  selfCondition?: Tensor;
}

export interface MemoryReport {
  readonly weights: number;
  readonly activations: number;
  /** Largest live GPU bytes so far. */
  readonly peak: number;
}
