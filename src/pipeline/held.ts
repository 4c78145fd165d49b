/** An evaluation on the GPU. */
import { readBack, type TensorForm } from "../network/readback.ts";
import { ShapeError } from "../runtime/errors.ts";
import { nonFiniteIn, overflowIn } from "../runtime/finite.ts";
import { toChannelsLast } from "../runtime/layout.ts";
import { Pacer } from "../runtime/pacer.ts";
import type { KernelTiming } from "../runtime/profiler.ts";
import { profileProgram } from "../runtime/timestamps.ts";
import type { Value } from "../runtime/values.ts";
import { createState, Evaluator, type NetworkState, releaseState } from "../unet/evaluator.ts";
import { blameWeights } from "./blame.ts";
import type { Evaluation } from "./evaluation.ts";
import { perImage } from "./forwardInputs.ts";
import type { Tensor } from "./types.ts";

/** Some of the inputs on the GPU, to be evaluated any number of times. Nothing else may use the pipeline meanwhile. */
export class HeldEvaluation {
  readonly #pacer: Pacer;

  private constructor(
    private readonly evaluation: Evaluation,
    private readonly state: NetworkState,
    private readonly evaluator: Evaluator,
    /** The first image, and the one after the last. */
    readonly from: number,
    readonly to: number,
  ) {
    this.#pacer = new Pacer(evaluation.loaded.device);
  }

  /**
   * @param from the first image; as many are taken as one batch does, and not more than `most`
   * @param weights where the network is lowered in another way than the pipeline's
   * @throws ShapeError when they are to be `all` and are more
   */
  static async create(
    evaluation: Evaluation,
    { from = 0, most = evaluation.batchLimit, all = false, weights = evaluation.loaded.weights } = {},
  ): Promise<HeldEvaluation> {
    const { loaded, lowered, inputs, images: n, batchLimit } = evaluation;
    const { device } = loaded;
    if (n > batchLimit && all)
      throw new ShapeError(
        "bench forward",
        "sample",
        `at most ${batchLimit} images per batch on this adapter`,
        inputs.sample.shape,
      );
    const to = Math.min(n, from + most);
    const { classes, added, timestepCond, context } = evaluation.conditions();
    const asked = perImage("timestep", inputs.timestep, n).slice(from, to);
    const timesteps = loaded.timestepVectors("timestep", asked);
    const part = <T extends Uint32Array<ArrayBuffer> | Float32Array>(values: T | undefined) =>
      values?.slice((from * values.length) / n, (to * values.length) / n) as T | undefined;
    const state = await device.allocate("the network's input and output", () =>
      createState(device, lowered, to - from),
    );
    try {
      const evaluator = await Evaluator.create(device, lowered, weights, state, {
        batch: to - from,
        evaluations: 1,
        timesteps,
        classes: part(classes),
        added: part(added),
        timestepCond: part(timestepCond),
        context: part(context),
      });
      const held = new HeldEvaluation(evaluation, state, evaluator, from, to);
      held.write();
      return held;
    } catch (error) {
      releaseState(device, state);
      throw error;
    }
  }

  /** The sample becomes that of the inputs. */
  write(): void {
    const { loaded, inputs } = this.evaluation;
    const [n, c, h, w] = inputs.sample.shape as [number, number, number, number];
    const size = inputs.sample.data.length / n;
    const part = inputs.sample.data.subarray(this.from * size, this.to * size);
    const values = toChannelsLast(part, this.to - this.from, c, h * w);
    loaded.device.gpu.queue.writeBuffer(this.state.x.object as GPUBuffer, 0, values);
  }

  /** Submits one evaluation. */
  async run(): Promise<void> {
    const { loaded, check } = this.evaluation;
    const { main } = this.evaluator;
    for (const { from, to, flops } of this.#pacer.segments(main)) {
      const encoder = loaded.device.gpu.createCommandEncoder();
      if (from === 0) this.evaluator.begin(encoder, 0);
      main.encode(encoder, from, to);
      await this.#pacer.room();
      check();
      this.#pacer.submit(encoder.finish(), flops);
    }
  }

  /** The output, or another value that is kept. */
  read(value: Value, form?: TensorForm): Promise<Tensor> {
    const array = this.evaluator.main.storage.get(value);
    if (!array) throw new TypeError(`internal: ${value.name} was not kept`);
    return readBack(this.evaluation.loaded.device, value, array, this.to - this.from, form);
  }

  /** What is wrong with what an evaluation left: layers that overflowed, an output that is not finite, the weights behind it. */
  async judge(output: Float32Array): Promise<void> {
    const { judge, loaded } = this.evaluation;
    judge(overflowIn(await this.evaluator.overflows()));
    const failure = nonFiniteIn("the output", output, this.to - this.from, this.from);
    if (failure) judge(await blameWeights(failure, loaded.model));
  }

  /**
   * Milliseconds per evaluation, of so many one after another, the queue drained at the end.
   * @param embed also make the time embeddings each time, which a sampling loop does once for all steps
   */
  async time(repeats: number, embed = false): Promise<number> {
    const start = performance.now();
    for (let i = 0; i < repeats; i++) {
      if (embed) this.evaluator.forget();
      await this.run();
    }
    await this.#pacer.drain();
    return (performance.now() - start) / repeats;
  }

  /** From the sample in memory, as the inputs had it, to the output in memory. */
  async roundTrip(): Promise<Tensor> {
    this.evaluator.forget();
    this.write();
    await this.run();
    const output = await this.read(this.evaluation.lowered.network.output);
    await this.#pacer.drain();
    return output;
  }

  /** GPU times of the kernels, without those of the time embeddings. */
  async profile(): Promise<KernelTiming[]> {
    await this.time(1);
    return profileProgram(this.evaluation.loaded.device, this.evaluator.main);
  }

  async dispose(): Promise<void> {
    await this.#pacer.drain().catch(() => {});
    this.evaluator.dispose();
    releaseState(this.evaluation.loaded.device, this.state);
  }
}
