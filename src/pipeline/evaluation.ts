/** One evaluation of the network, before anything is allocated: its inputs checked, and the network for their size. */
import { type Judge, nonFiniteIn } from "../runtime/finite.ts";
import { checkOptions } from "../runtime/options.ts";
import type { Value } from "../runtime/values.ts";
import type { Network } from "../unet/build.ts";
import { batchLimit, type LoweredNetwork } from "../unet/lowered.ts";
import {
  type Conditions,
  checkSample,
  conditions,
  contextLength,
  withClassContext,
  withSelfCondition,
} from "./forwardInputs.ts";
import type { LoadedModel } from "./loaded.ts";
import { forwardNames } from "./options.ts";
import { checkSize } from "./size.ts";
import type { ForwardInputs } from "./types.ts";

export interface EvaluationOptions {
  readonly signal?: AbortSignal;
  /** Of a network that is lowered for this evaluation alone: values to keep. */
  readonly pin?: (network: Network) => readonly Value[];
}

/** What an evaluation uses of a loaded model. */
export type EvaluatedModel = Pick<
  LoadedModel,
  "device" | "model" | "weights" | "classTable" | "judge" | "turns" | "lower" | "timestepVectors"
>;

export class Evaluation {
  readonly inputs: ForwardInputs;
  readonly lowered: LoweredNetwork;
  /** How many images there are, and how many one batch takes. */
  readonly images: number;
  readonly batchLimit: number;
  /** Throws when the work shall stop. */
  readonly check: () => void;
  readonly judge: Judge;

  /** @throws ShapeError, UsageError naming the input; UseAfterDisposeError; the signal's reason */
  constructor(
    readonly loaded: EvaluatedModel,
    given: ForwardInputs,
    private readonly options: EvaluationOptions = {},
  ) {
    this.check = loaded.turns.checker(options.signal);
    checkOptions("forward", given, forwardNames);
    const { model } = loaded;
    this.inputs = withSelfCondition(model, withClassContext(model, loaded.classTable, given));
    this.images = checkSample(this.inputs.sample, model.config.in_channels);
    const [, , height, width] = this.inputs.sample.shape as [number, number, number, number];
    checkSize(model, { height, width });
    this.lowered = loaded.lower(height, width, "image", contextLength(model, this.inputs), options.pin);
    this.batchLimit = batchLimit(loaded.device, this.lowered);
    this.judge = loaded.judge;
  }

  /** What the network is told beside the images and timesteps. @throws ShapeError, UsageError naming the input */
  conditions(): Conditions {
    const { model } = this.loaded;
    const timestepVectors = (name: string, t: readonly number[]) => this.loaded.timestepVectors(name, t);
    return conditions({ model, network: this.lowered.network, inputs: this.inputs, timestepVectors }, this.images);
  }

  /** Inputs that are not finite are named before anything runs. */
  checkFinite(): void {
    const { sample, classVectors, context, textEmbeds, timeIds, timestepCond } = this.inputs;
    const named = {
      ...{ sample, class_labels: classVectors, context, text_embeds: textEmbeds, time_ids: timeIds },
      timestep_cond: timestepCond,
    };
    for (const [name, tensor] of Object.entries(named))
      if (tensor) this.judge(nonFiniteIn(name, tensor.data, tensor.shape[0] as number));
  }

  /** Work on it when the pipeline's turn comes. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    return this.loaded.turns.take(work, this.check, this.options.signal);
  }
}
