/** The public shapes of a run: its steps, what they may change, what is kept of it, and what comes out. */
import type { RgbaImage } from "../image/rgba.ts";
import type { Tensor } from "../runtime/layout.ts";
import type { KernelTiming } from "../runtime/profiler.ts";

/** A run in the middle, as {@link Step.save} returns it. Plain data. */
export interface SavedRun {
  /** Of everything that decides the images; a run continues only what has the same. */
  readonly fingerprint: string;
  readonly seed: bigint;
  /** Images per batch; the first image of the batch in work; how many evaluations it has behind it. */
  readonly batch: number;
  readonly first: number;
  readonly row: number;
  /** State of the batch in work, [n, C, H, W]. */
  readonly state: Tensor;
  /** What its update remembers. */
  readonly history: Float32Array;
  /** Guidance scales of the batch in work, where a step changed them. */
  readonly guidance?: readonly number[];
  /** States of the batches before it, [first, C, H, W]; of a latent model, its latents. */
  readonly done: Float32Array;
  /** Of everything else here, so that what was damaged is not gone on with. */
  readonly checksum: string;
}

/** Numbers about the predicted x0 of one image in one evaluation, before it is bounded. */
export interface StepStatistics {
  readonly step: number;
  readonly t: number;
  readonly image: number;
  readonly min: number;
  readonly max: number;
  /** Fraction beyond the bound; beyond ±1 where there is none. */
  readonly clipped: number;
  /** Values that are not finite. */
  readonly nonFinite: number;
}

/** What a hook may change between two steps. */
export interface StepChange {
  /** Guidance scale from now on, one for all images of the batch or a list taken in turn; only in runs that began with guidance. */
  readonly guidance?: number | readonly number[];
  /** In place of the state, [images, C, H, W]. What the update remembers stays. */
  readonly state?: Tensor;
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
  /** Milliseconds that the rest of the run will take at its pace so far; 0 after the last step. */
  readonly msLeft: number;
  /**
   * The current estimate of x0 as pictures; reads back only when called, and only while the run goes on. Of latents, as
   * small as they are: colours that come close to the decoder's, and cost nothing.
   * @throws UseAfterDisposeError after it
   */
  preview(): Promise<RgbaImage[]>;
  /** The state after this step, [images, C, H, W]; reads back, and so waits for the GPU, which meanwhile runs out of work. */
  state(): Promise<Tensor>;
  /**
   * Changes what follows, for the images of this batch; before the next step is asked for. Other guidance costs nothing
   * (where all scales are 1, evaluations cost half from then on), another state an upload.
   * @throws UsageError, ShapeError, NonFiniteError; UseAfterDisposeError after the run
   */
  change(to: StepChange): void;
  /** The run as it is after this step; reads back only when called, and before the next step is asked for. */
  save(): Promise<SavedRun>;
}

/** A run under way: its steps, one after the other, and what they have made. */
export interface Steps<T = Generation> extends AsyncGenerator<Step, T> {
  /** @throws UsageError while there are steps to be taken */
  readonly result: T;
}

export interface Generation {
  readonly images: RgbaImage[];
  /** The same before quantisation, [N, C, H, W] in about −1..1. */
  readonly samples: Tensor;
  /** What they were decoded from, [N, C, H, W], in the sampler's scale; null where the model works on pixels. */
  readonly latents: Tensor | null;
  readonly seed: bigint;
  readonly classes: readonly number[] | null;
  readonly steps: number;
  readonly ms: { total: number; perStep: number; compile: number };
  readonly peakBytes: number;
  readonly warnings: readonly string[];
  readonly timings?: readonly KernelTiming[];
  /** By image, then by evaluation; only with `statistics`. */
  readonly statistics?: readonly StepStatistics[];
}
