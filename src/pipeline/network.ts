/** A pipeline's network by itself: single evaluations, what they cost, and what its kernels are made for. */

import type { Target } from "../runtime/kernel.ts";
import { checkKind } from "../runtime/options.ts";
import type { KernelTiming } from "../runtime/profiler.ts";
import type { EvalOptions, EvalTerms } from "./evalTerms.ts";
import type { ForwardTiming } from "./forward.ts";
import type { HeldEvaluation } from "./held.ts";
import type { LoadedModel } from "./loaded.ts";
import type { TappedOutput, TapsOptions } from "./tapped.ts";
import type { TuningTable } from "./tuningTable.ts";
import type { ForwardInputs, MemoryReport, NetworkDType, Tensor } from "./types.ts";

const operations = () => import("./operations.ts");

export class PipelineNetwork {
  constructor(private readonly current: () => LoadedModel) {}

  private get loaded(): LoadedModel {
    return this.current();
  }

  /** Of weights and activations; sums are f32 always. */
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

  /**
   * One evaluation: the whole output, [N, out_channels, H, W]. Larger batches than the bindings allow run in parts.
   * @throws ShapeError, UsageError naming the input
   */
  async forward(inputs: ForwardInputs, options: { signal?: AbortSignal } = {}): Promise<Tensor> {
    return (await operations()).forward(this.loaded, inputs, options);
  }

  /**
   * {@link forward} with the outputs of modules. Nothing is fused across them, all are kept, and the weights are loaded once
   * more, as such a network needs them: slow, and large.
   */
  async taps(inputs: ForwardInputs, options: TapsOptions = {}): Promise<TappedOutput> {
    return (await operations()).taps(this.loaded, inputs, options);
  }

  /**
   * Per timestep: error of ε and of x0, and the terms of the variational bound in bits per dimension.
   * @param images [N, C, H, W] in −1..1
   */
  async evalTerms(images: Tensor, options: EvalOptions = {}): Promise<EvalTerms[]> {
    return (await operations()).evalTerms(this.loaded, images, options);
  }

  /**
   * One evaluation that stays on the GPU, for those who time it from outside. The caller disposes it before the pipeline
   * is used for anything else.
   * @throws ShapeError when the images are more than one batch takes
   */
  async hold(inputs: ForwardInputs): Promise<HeldEvaluation> {
    return (await operations()).hold(this.loaded, inputs);
  }

  /** Times one evaluation, warm, read-back excluded, for about so many seconds. */
  async benchmark(inputs: ForwardInputs, seconds: number): Promise<ForwardTiming> {
    return (await operations()).benchmark(this.loaded, inputs, seconds);
  }

  /**
   * GPU time per kernel of one evaluation.
   * @throws DeviceError "unsupported" when the device has no timestamps
   */
  async profile(inputs: ForwardInputs): Promise<KernelTiming[]> {
    return (await operations()).profile(this.loaded, inputs);
  }

  memory(): MemoryReport {
    this.loaded.turns.checkOpen();
    const { liveBytes, peakBytes } = this.loaded.device.counters;
    const weights = this.loaded.weightBytes;
    return { weights, activations: liveBytes - weights, peak: peakBytes };
  }

  /** Activation memory that a batch needs at the model's own size, and the least that any plan could do with. */
  plan(batch: number): { bytes: number; lowerBound: number } {
    this.loaded.turns.checkOpen();
    checkKind("plan", "batch", "a number", batch);
    return this.loaded.plan(batch);
  }
}
