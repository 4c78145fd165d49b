/** One batch of images: the sampler's state, and the network that it is handed to for every step. */
import type { RgbaImage } from "../image/rgba.ts";
import { overflowIn } from "../runtime/finite.ts";
import { Pacer } from "../runtime/pacer.ts";
import type { KernelTiming } from "../runtime/profiler.ts";
import type { Draw } from "../sampler/hostNoise.ts";
import { addsNoise, isGuided, type PlanRow } from "../sampler/plan.ts";
import { type RowNumbers, SamplerState } from "../sampler/state.ts";
import { Evaluator } from "../unet/evaluator.ts";
import {
  type BatchInit,
  contextsOf,
  guidanceOf,
  historyOf,
  hostNoise,
  labels,
  partOf,
  stateOf,
  stateShape,
} from "./batchInputs.ts";
import { Changes } from "./changes.ts";
import { concatOf } from "./concat.ts";
import type { Guidance } from "./conditions.ts";
import type { SavedRun, Step } from "./types.ts";

/** A step, with what a batch can save of itself. */
export type BatchStep = Omit<Step, "ms" | "msLeft" | "save"> & {
  readonly save: () => Promise<Pick<SavedRun, "state" | "history" | "row" | "first" | "guidance">>;
};

export interface BatchResult {
  readonly images: RgbaImage[];
  /** Latents to decode, f32 [images, H, W, C padded to vec4], instead of images; the caller releases it. */
  readonly latents?: GPUBuffer;
  /** [images, C, H, W] */
  readonly samples: Float32Array<ArrayBuffer>;
  /** What the update remembers at the end, [slots·images, C, H, W]. */
  readonly history: Float32Array<ArrayBuffer>;
  readonly numbers: RowNumbers | null;
  readonly timings?: KernelTiming[];
}

/** The state of this batch, and where the noise of its steps comes from where the GPU does not make it. */
async function createState(init: BatchInit, guidance?: Guidance): Promise<{ state: SamplerState; draw?: Draw }> {
  const { lowered, run, images, first } = init;
  const { device, target, model } = init.loaded;
  const size = stateOf(init);
  const part = (data: Float32Array) => data.subarray(first * size, (first + images) * size);
  const { inpaint, plan } = run;
  const { start, draw } = await hostNoise(init);
  const state = await SamplerState.create(device, target, {
    shape: [model.stateChannels, run.height, run.width],
    plan,
    seed: run.seed,
    images: Array.from({ length: images }, (_, i) => run.firstImage + first + i),
    antithetic: run.antithetic,
    stepNoise: run.rng === "philox" ? "philox" : "given",
    guidance,
    inpaint: inpaint && { known: part(inpaint.known), mask: part(inpaint.mask) },
    statistics: run.statistics,
    output: lowered.network.output,
    start,
    history: historyOf(init),
  });
  return { state, draw };
}

export class Batch {
  readonly #pacer: Pacer;
  readonly #changes: Changes;

  private constructor(
    private readonly init: BatchInit,
    private readonly state: SamplerState,
    private readonly evaluator: Evaluator,
    private readonly draw: Draw | undefined,
    guidance: Guidance | undefined,
    /** The evaluation that comes next. */
    private row: number,
  ) {
    this.#pacer = new Pacer(init.loaded.device);
    this.#changes = new Changes(init, state, guidance);
  }

  /** @throws DeviceError; nothing stays allocated */
  static async begin(init: BatchInit): Promise<Batch> {
    const { lowered, run, images, first } = init;
    const { device, weights } = init.loaded;
    const { rows } = run.plan;
    const guidance = guidanceOf(init);
    const { state, draw } = await createState(init, guidance);
    let evaluator: Evaluator | undefined;
    try {
      evaluator = await Evaluator.create(device, lowered, weights, state, {
        batch: images * (guidance ? 2 : 1),
        timesteps: init.timesteps,
        evaluations: rows.length,
        classes: labels(init, guidance),
        timestepCond: run.guidanceEmbedding && partOf(run.guidanceEmbedding, init),
        concat: run.concat && concatOf(run.concat, first, images, guidance ? 2 : 1),
        ...contextsOf(init, guidance),
      });
      if (guidance && !rows.every(isGuided)) await evaluator.leading(images);
      return new Batch(init, state, evaluator, draw, guidance, init.resume?.row ?? 0);
    } catch (error) {
      evaluator?.dispose();
      state.dispose();
      throw error;
    }
  }

  /**
   * Submits the next evaluation and its update, without waiting for them: at most two submissions are in flight.
   * @returns undefined where all are done
   * @throws whatever `check` throws
   */
  async step(): Promise<BatchStep | undefined> {
    const { loaded, run, images, check } = this.init;
    const row = run.plan.rows[this.row];
    if (!row) return undefined;
    const { state, evaluator } = this;
    check();
    const program = this.#changes.guides(row) ? evaluator.main : await evaluator.leading(images);
    for (const { from, to, flops } of this.#pacer.segments(program)) {
      const encoder = loaded.device.gpu.createCommandEncoder();
      if (from === 0) state.begin(encoder, this.row);
      if (from === 0) evaluator.begin(encoder, this.row);
      program.encode(encoder, from, to);
      if (to === program.parts.length) {
        if (this.draw && addsNoise(row)) state.writeNoise(this.draw());
        state.step(encoder, this.row);
      }
      await this.#pacer.room();
      check();
      this.#pacer.submit(encoder.finish(), flops);
    }
    this.row++;
    return this.#report(row);
  }

  #report({ t }: PlanRow): BatchStep {
    const { state, row } = this;
    const { run, images, first } = this.init;
    const { preview } = this.init.loaded;
    const shape = stateShape(this.init);
    return {
      index: row - 1,
      of: run.plan.rows.length,
      t,
      image: first,
      images,
      preview: async () => preview?.images(await state.samples("x0"), images, run) ?? state.images("x0"),
      state: async () => ({ shape, data: await state.samples() }),
      change: (to) => this.#changes.make(to),
      save: async () => ({
        guidance: this.#changes.scales,
        state: { shape, data: await state.samples() },
        history: await state.history(),
        row,
        first,
      }),
    };
  }

  /** Waits for all steps. @throws NonFiniteError; whatever `check` throws */
  async end(): Promise<BatchResult> {
    const { run, first, pixels, check, judge, profile } = this.init;
    const { device, model } = this.init.loaded;
    const { state, evaluator } = this;
    if (run.inpaint?.paste) {
      const encoder = device.gpu.createCommandEncoder();
      state.paste(encoder);
      this.#pacer.submit(encoder.finish(), 0);
    }
    await this.#pacer.drain();
    check();
    const failure = await state.failure();
    if (failure) judge(await (await import("./blame.ts")).blameWeights(failure, model));
    judge(overflowIn(await evaluator.overflows(), (row) => run.plan.rows[row]?.t as number));
    if (pixels && !run.decode) state.copyPixels(pixels, first * run.height * run.width * 4);
    const result = {
      images: pixels || run.decode ? [] : await state.images("x"),
      samples: pixels ? new Float32Array() : await state.samples(),
      history: await state.history(),
      numbers: await state.numbers(),
      latents: run.decode ? await state.copy() : undefined,
    };
    if (!profile) return result;
    const { profileProgram } = await import("../runtime/timestamps.ts");
    const timings = await profileProgram(device, evaluator.main);
    return { ...result, timings: [...timings, ...(await profileProgram(device, state.stepProgram))] };
  }

  async dispose(): Promise<void> {
    await this.#pacer.drain().catch(() => {});
    this.evaluator.dispose();
    this.state.dispose();
  }
}
