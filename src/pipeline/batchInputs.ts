/** How large a batch is, and what of a run's inputs belongs to it. */
import { UsageError } from "../runtime/errors.ts";
import type { Judge } from "../runtime/finite.ts";
import type { Draw } from "../sampler/hostNoise.ts";
import { addsNoise, isGuided } from "../sampler/plan.ts";
import { batchLimit, type LoweredNetwork, plannedBytes } from "../unet/lowered.ts";
import type { Guidance } from "./conditions.ts";
import type { LoadedModel } from "./loaded.ts";
import type { ResolvedRun } from "./run.ts";
import type { SavedRun } from "./types.ts";

/** Memory that an automatic batch may plan for, beside the weights. */
const COMFORTABLE_BYTES = 2 ** 30;
const COMFORTABLE_BATCH = 16;

/** Images per batch: as asked, bounded by what bindings allow, or what fits comfortably. */
export function batchSize(
  { device, memoryLimit = COMFORTABLE_BYTES }: LoadedModel,
  run: ResolvedRun,
  lowered: LoweredNetwork,
): number {
  const copies = run.guidance === undefined ? 1 : 2;
  const most = Math.floor(batchLimit(device, lowered) / copies);
  if (most < 1)
    throw new UsageError("size", `size ${run.height}×${run.width} exceeds what one binding of ${device.name} can hold`);
  if (run.batch !== undefined) return Math.min(run.batch, run.count, most);
  let batch = Math.min(COMFORTABLE_BATCH, run.count, most);
  while (batch > 1 && plannedBytes(lowered, batch * copies).bytes > memoryLimit) batch = Math.floor(batch / 2);
  return batch;
}

export interface BatchInit {
  readonly loaded: LoadedModel;
  readonly lowered: LoweredNetwork;
  readonly run: ResolvedRun;
  /** Vectors of the timesteps, one per evaluation. */
  readonly timesteps: Float32Array;
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
}

/** Shape of the batch's states. */
export const stateShape = ({ run, loaded, images }: BatchInit): readonly number[] => [
  images,
  loaded.model.stateChannels,
  run.height,
  run.width,
];

/** Numbers of one state. */
export const stateOf = ({ run, loaded }: BatchInit): number => loaded.model.stateChannels * run.height * run.width;

/** The state to begin with, where the GPU does not make it, and the noise of the steps from there on. */
export async function hostNoise(init: BatchInit): Promise<{ start?: Float32Array; draw?: Draw }> {
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
export function guidanceOf({ run: { guidance, plan }, first, images }: BatchInit): Guidance | undefined {
  const scales = guidance?.scales.slice(first, first + images) ?? [];
  return guidance && scales.some((w) => w !== 1) && plan.rows.some(isGuided) ? { ...guidance, scales } : undefined;
}

export function labels({ run, first, images }: BatchInit, guidance?: Guidance): Uint32Array<ArrayBuffer> | undefined {
  if (!run.classes) return undefined;
  const own = run.classes.slice(first, first + images);
  const free = guidance ? own.map((id) => guidance.freeClass ?? id) : [];
  return Uint32Array.from([...own, ...free]);
}

type Numbers = Float32Array | undefined;

/** This batch's part of what every image of the run has. */
export const partOf = (all: Float32Array, { run: { count }, first, images }: BatchInit): Float32Array =>
  all.subarray((first * all.length) / count, ((first + images) * all.length) / count);

/** What the network is told beside classes, first of every image, then without the condition. */
export function contextsOf(init: BatchInit, guidance?: Guidance): { context?: Float32Array; added?: Float32Array } {
  const { run, first, images } = init;
  const { model, classTable } = init.loaded;
  const { contexts, classes } = run;
  if (!contexts) return {};
  const part = (all: Float32Array | null): Numbers => (all ? partOf(all, init) : undefined);
  const lookUp = (ids: readonly (number | null)[]): Numbers => {
    const width = model.classEmbedder?.width ?? 0;
    const out = new Float32Array(ids.length * width);
    ids.forEach((id, i) => {
      if (id !== null && classTable) out.set(classTable.subarray(id * width, (id + 1) * width), i * width);
    });
    return out;
  };
  const both = (own: Numbers, free: () => Numbers): Numbers =>
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
export function historyOf({ run, first, images, resume }: BatchInit): Float32Array | undefined {
  if (resume) return resume.history;
  if (!run.history) return undefined;
  const image = run.history.length / run.count;
  return run.history.subarray(first * image, (first + images) * image);
}
