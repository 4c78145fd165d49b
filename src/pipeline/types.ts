/** The public shapes of the pipeline API. Images are NCHW f32 in −1..1 where they are tensors, RGBA bytes where they are images. */
import type { RgbaImage } from "../image/rgba.ts";
import type { Device } from "../runtime/device.ts";
import type { KernelTiming } from "../runtime/profiler.ts";
import type { ScheduleOptions } from "../sampler/scheduleTypes.ts";

/** Element type of weights and activations; the sampler's state, schedule and step are always f32/f64. */
export type NetworkDType = "f32" | "f16";

export type LoadEvent =
  | { type: "download"; file: string; loaded: number; total: number }
  | { type: "compile"; done: number; of: number }
  | { type: "ready"; ms: number };

export interface LoadOptions {
  /** A device of the caller's, never destroyed by the pipeline; without it the pipeline opens (and later frees) its own. */
  device?: GPUDevice | Device;
  /** "auto" (default) is f32. */
  dtype?: "auto" | NetworkDType;
  /** Which set of weights, for example "fp16" for `*.fp16.safetensors`. */
  variant?: string;
  /** For URL sources. */
  fetch?: typeof fetch;
  signal?: AbortSignal;
  onProgress?: (event: LoadEvent) => void;
}

export interface Tensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

export interface GenerateOptions
  extends Pick<ScheduleOptions, "steps" | "spacing" | "timesteps" | "eta" | "compat" | "clip"> {
  /** Number of images (1). */
  count?: number;
  /** Images per batch; default: what fits comfortably. Never changes an image. */
  batch?: number;
  /** 0..2^64−1; random when absent, always returned. */
  seed?: number | bigint;
  /** "philox" (default), or "torch": image i starts from torch's CPU randn with seed + i. */
  rng?: "philox" | "torch";
  /** Class ids; image i takes classes[i mod length]. Default: all classes but the null class in turn. */
  classes?: readonly number[];
  /** Classifier-free guidance scale w in e_u + w·(e_c − e_u); 1 (default) costs one evaluation. */
  guidance?: number;
  /** Height and width; default: the model's sample_size. */
  size?: { height: number; width: number };
  /** Starting noise x_T, [N, C, H, W]; sets `count`. */
  noise?: Tensor;
  /**
   * A buffer of the pipeline's own device with usage COPY_DST and count·H·W·4 bytes or more: it receives the pictures as
   * RGBA bytes, image after image, rows from the top. Nothing but the status words is read back then, and the result's
   * `images` and `samples` are empty. The buffer stays the caller's.
   */
  pixels?: GPUBuffer;
  signal?: AbortSignal;
  onStep?: (step: Step) => void;
  /** Collect GPU time per kernel of one step. */
  profile?: boolean;
}

export interface Step {
  /** 0-based within the run of this batch. */
  readonly index: number;
  readonly of: number;
  /** Timestep given to the network. */
  readonly t: number;
  /** First image of the batch that the step belongs to, and how many it has. */
  readonly image: number;
  readonly images: number;
  /** Milliseconds since generation began. */
  readonly ms: number;
  /**
   * The current estimate of x0 as pictures; reads back only when called, and only while the run goes on.
   * @throws UseAfterDisposeError after it
   */
  preview(): Promise<RgbaImage[]>;
}

export interface Generation {
  readonly images: RgbaImage[];
  /** The same before quantisation, [N, C, H, W] in about −1..1. */
  readonly samples: Tensor;
  readonly seed: bigint;
  readonly classes: readonly number[] | null;
  readonly steps: number;
  readonly ms: { total: number; perStep: number; compile: number };
  readonly peakBytes: number;
  readonly warnings: readonly string[];
  readonly timings?: readonly KernelTiming[];
}

/** Inputs of one network evaluation; N is the batch of `sample`. */
export interface ForwardInputs {
  /** [N, C, H, W] */
  sample: Tensor;
  /** N values or one. */
  timestep: readonly number[];
  /** N values or one; ids for embedding tables, numbers for class_embed_type "timestep". */
  classLabels?: readonly number[];
  /** [N, D], for class_embed_type "identity". */
  classVectors?: Tensor;
}

export interface MemoryReport {
  readonly weights: number;
  readonly activations: number;
  /** Largest live GPU bytes so far. */
  readonly peak: number;
}
