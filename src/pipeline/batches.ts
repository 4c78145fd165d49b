/** One batch of images through all steps: the sampler's state, and the network that it is handed to. */
import type { RgbaImage } from "../image/rgba.ts";
import { overflowIn } from "../runtime/finite.ts";
import { Pacer } from "../runtime/pacer.ts";
import { type KernelTiming, profileProgram } from "../runtime/profiler.ts";
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
} from "./batchInputs.ts";
import { blameWeights } from "./blame.ts";
import { Changes } from "./changes.ts";
import { concatRows } from "./concat.ts";
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
  const { device, target, lowered, run, model, images, first } = init;
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

/**
 * Yields after each step is submitted, without waiting for it: at most two submissions are in flight. Returns the
 * images. Everything it allocated is freed when it ends, however it ends.
 * @throws whatever `check` throws; NonFiniteError
 */
export async function* sampleBatch(init: BatchInit): AsyncGenerator<BatchStep, BatchResult> {
  const { device, lowered, weights, run, images, first, check, judge } = init;
  const { rows } = run.plan;
  const guidance = guidanceOf(init);
  const { state, draw } = await createState(init, guidance);
  let evaluator: Evaluator | undefined;
  const pacer = new Pacer(device);
  try {
    evaluator = await Evaluator.create(device, lowered, weights, state, {
      rows: images * (guidance ? 2 : 1),
      timesteps: init.timesteps,
      evaluations: rows.length,
      classes: labels(init, guidance),
      timestepCond: run.guidanceEmbedding && partOf(run.guidanceEmbedding, init),
      concat: run.concat && concatRows(run.concat, first, images, guidance ? 2 : 1),
      ...contextsOf(init, guidance),
      onCompile: init.onCompile,
    });
    if (guidance && !rows.every(isGuided)) await evaluator.leading(images);
    const changes = new Changes(init, state, guidance);
    for (let i = init.resume?.row ?? 0; i < rows.length; i++) {
      check();
      const program = changes.guides(rows[i] as PlanRow) ? evaluator.main : await evaluator.leading(images);
      for (const { from, to, flops } of pacer.segments(program)) {
        const encoder = device.gpu.createCommandEncoder();
        if (from === 0) state.begin(encoder, i);
        if (from === 0) evaluator.begin(encoder, i);
        program.encode(encoder, from, to);
        if (to === program.parts.length) {
          if (draw && addsNoise(rows[i] as PlanRow)) state.writeNoise(draw());
          state.step(encoder, i);
        }
        await pacer.room();
        check();
        pacer.submit(encoder.finish(), flops);
      }
      const shape = [images, init.model.stateChannels, run.height, run.width];
      yield {
        index: i,
        of: rows.length,
        t: rows[i]?.t as number,
        image: first,
        images,
        preview: async () => init.preview?.images(await state.samples("x0"), images, run) ?? state.images("x0"),
        state: async () => ({ shape, data: await state.samples() }),
        change: (to) => changes.make(to),
        save: async () => ({
          guidance: changes.scales,
          state: { shape, data: await state.samples() },
          history: await state.history(),
          row: i + 1,
          first,
        }),
      };
    }
    if (run.inpaint?.paste) {
      const encoder = device.gpu.createCommandEncoder();
      state.paste(encoder);
      pacer.submit(encoder.finish(), 0);
    }
    await pacer.drain();
    check();
    const failure = await state.failure();
    if (failure) judge(await blameWeights(failure, init.model));
    judge(overflowIn(await evaluator.overflows(), (step) => rows[step]?.t as number));
    const own = init.pixels === undefined && !run.decode;
    if (init.pixels && !run.decode) state.copyPixels(init.pixels, first * run.height * run.width * 4);
    const result = {
      images: own ? await state.images("x") : [],
      samples: init.pixels ? new Float32Array() : await state.samples(),
      history: await state.history(),
      numbers: await state.numbers(),
    };
    const latents = run.decode ? await state.copy() : undefined;
    if (!init.profile) return { ...result, latents };
    const timings = await profileProgram(device, evaluator.main);
    return { ...result, latents, timings: [...timings, ...(await profileProgram(device, state.stepProgram))] };
  } finally {
    await pacer.drain().catch(() => {});
    evaluator?.dispose();
    state.dispose();
  }
}
