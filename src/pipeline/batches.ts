/** One batch of images through all steps: the sampler's state, and the network that it is handed to. */
import type { RgbaImage } from "../image/rgba.ts";
import type { WeightStore } from "../network/weights.ts";
import type { Device } from "../runtime/device.ts";
import { type Judge, overflowIn } from "../runtime/finite.ts";
import type { Target } from "../runtime/kernel.ts";
import { Pacer } from "../runtime/pacer.ts";
import { type KernelTiming, profileProgram } from "../runtime/profiler.ts";
import type { Draw } from "../sampler/hostNoise.ts";
import { addsNoise, isGuided, type PlanRow } from "../sampler/plan.ts";
import { type RowNumbers, SamplerState } from "../sampler/state.ts";
import { Evaluator } from "../unet/evaluator.ts";
import type { LoweredNetwork } from "../unet/lowered.ts";
import { blameWeights } from "./blame.ts";
import { concatRows } from "./concat.ts";
import type { Guidance } from "./conditions.ts";
import type { LatentPreview } from "./latentPreview.ts";
import type { Model } from "./model.ts";
import type { ResolvedRun } from "./run.ts";
import type { SavedRun, Step } from "./types.ts";

export interface BatchInit {
  readonly device: Device;
  readonly target: Target;
  readonly model: Model;
  readonly lowered: LoweredNetwork;
  readonly weights: WeightStore;
  readonly run: ResolvedRun;
  /** Rows of the timestep table, one per evaluation. */
  readonly timesteps: Float32Array;
  /** The context of every class, where classes have one. */
  readonly classRows: Float32Array | null;
  /** How latents look; null where the state is a picture. */
  readonly preview: LatentPreview | null;
  /** First image of the batch, within the run, and how many. */
  readonly first: number;
  readonly images: number;
  /** Throws when the work shall stop: the reason of an abort, or that the pipeline was disposed. */
  readonly check: () => void;
  /** Hears of numbers that are not finite. */
  readonly judge: Judge;
  /** Receives this run's pictures instead of the result. */
  readonly pixels?: GPUBuffer;
  readonly profile: boolean;
  /** This batch's state where it was left. */
  readonly resume?: SavedRun;
  readonly onCompile?: (done: number, of: number) => void;
}

/** A step, with what a batch can save of itself. */
export type BatchStep = Omit<Step, "ms" | "msLeft" | "save"> & {
  readonly save: () => Promise<Pick<SavedRun, "state" | "history" | "row" | "first">>;
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

/** Numbers of one state. */
const stateOf = ({ run, model }: BatchInit): number => model.stateChannels * run.height * run.width;

/** The state to begin with, where the GPU does not make it, and the noise of the steps from there on. */
async function hostNoise(init: BatchInit): Promise<{ start?: Float32Array; draw?: Draw }> {
  const { run, first, images, resume } = init;
  const size = stateOf(init);
  const given = run.noise?.data.subarray(first * size, (first + images) * size);
  const { rng } = run;
  if (rng === "philox") return { start: resume?.state.data ?? given };
  const draw = (await import("../sampler/hostNoise.ts")).hostDraws({ ...run, rng }, first, images, size);
  const start = given ?? draw();
  if (!resume) return { start, draw };
  // The generators have drawn for the steps that are done.
  for (const row of run.plan.rows.slice(0, resume.row)) if (addsNoise(row)) draw();
  return { start: resume.state.data, draw };
}

/** Guidance of this batch; undefined where no image or no row of it has any. */
function guidanceOf({ run: { guidance, plan }, first, images }: BatchInit): Guidance | undefined {
  const scales = guidance?.scales.slice(first, first + images) ?? [];
  return guidance && scales.some((w) => w !== 1) && plan.rows.some(isGuided) ? { ...guidance, scales } : undefined;
}

function labels({ run, first, images }: BatchInit, guidance?: Guidance): Uint32Array<ArrayBuffer> | undefined {
  if (!run.classes) return undefined;
  const own = run.classes.slice(first, first + images);
  const free = guidance ? own.map((id) => guidance.freeClass ?? id) : [];
  return Uint32Array.from([...own, ...free]);
}

type Rows = Float32Array | undefined;

/** This batch's part of rows that every image of the run has. */
const partOf = (rows: Float32Array, { run: { count }, first, images }: BatchInit): Float32Array =>
  rows.subarray((first * rows.length) / count, ((first + images) * rows.length) / count);

/** What the network is told beside classes, first of every image, then without the condition. */
function contextsOf(init: BatchInit, guidance?: Guidance): { context?: Float32Array; added?: Float32Array } {
  const { run, model, classRows, first, images } = init;
  const { contexts, classes } = run;
  if (!contexts) return {};
  const part = (rows: Float32Array | null): Rows => (rows ? partOf(rows, init) : undefined);
  const lookUp = (ids: readonly (number | null)[]): Rows => {
    const width = model.classEmbedder?.width ?? 0;
    const rows = new Float32Array(ids.length * width);
    ids.forEach((id, i) => {
      if (id !== null && classRows) rows.set(classRows.subarray(id * width, (id + 1) * width), i * width);
    });
    return rows;
  };
  const both = (own: Rows, free: () => Rows): Rows =>
    own && guidance ? Float32Array.from([...own, ...(free() ?? [])]) : own;
  const own = classes?.slice(first, first + images) ?? [];
  const looksUp = contexts.context === null && model.classEmbedder !== null;
  return {
    context: looksUp
      ? both(lookUp(own), () => lookUp(own.map(() => guidance?.freeClass ?? null)))
      : both(part(contexts.context), () => part(contexts.freeContext)),
    added: both(part(contexts.added), () => part(contexts.freeAdded)),
  };
}

/** Images of a [slots·count, …] history that belong to this batch. */
function historyOf({ run, first, images, resume }: BatchInit): Float32Array | undefined {
  if (resume) return resume.history;
  if (!run.history) return undefined;
  const image = run.history.length / run.count;
  return run.history.subarray(first * image, (first + images) * image);
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
      leading: guidance && !rows.every(isGuided) ? images : undefined,
      timesteps: init.timesteps,
      evaluations: rows.length,
      classes: labels(init, guidance),
      timestepCond: run.guidanceEmbedding && partOf(run.guidanceEmbedding, init),
      concat: run.concat && concatRows(run.concat, first, images, guidance ? 2 : 1),
      ...contextsOf(init, guidance),
      onCompile: init.onCompile,
    });
    for (let i = init.resume?.row ?? 0; i < rows.length; i++) {
      check();
      const program = (!isGuided(rows[i] as PlanRow) && evaluator.leading) || evaluator.main;
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
        save: async () => ({
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
