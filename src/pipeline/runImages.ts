/** A run of any number of images, batch by batch. */
import type { Autoencoder } from "../autoencoder/autoencoder.ts";
import { toRgbaImages } from "../image/samples.ts";
import type { WeightStore } from "../network/weights.ts";
import type { Device } from "../runtime/device.ts";
import { UsageError } from "../runtime/errors.ts";
import { type Judge, judgeBy, type NonFinite, nonFiniteIn } from "../runtime/finite.ts";
import type { Target } from "../runtime/kernel.ts";
import { toRows } from "../runtime/layout.ts";
import { uploadBuffer } from "../runtime/memory.ts";
import { IN_FLIGHT } from "../runtime/pacer.ts";
import { type LoweredNetwork, maxRows, plannedBytes } from "../unet/lowered.ts";
import { type BatchResult, sampleBatch } from "./batches.ts";
import type { Decoded } from "./decoding.ts";
import type { LatentPreview } from "./latentPreview.ts";
import type { Model } from "./model.ts";
import { modelId } from "./modelId.ts";
import type { ResolvedRun } from "./run.ts";
import type { Generation, SavedRun, Step, StepStatistics, Tensor } from "./types.ts";

/** Memory that an automatic batch may plan for, beside the weights. */
const COMFORTABLE_BYTES = 2 ** 30;
const COMFORTABLE_BATCH = 16;

/** A model on a device, as runs need it. */
export interface Engine {
  readonly device: Device;
  readonly target: Target;
  readonly model: Model;
  readonly weights: WeightStore;
  readonly lower: (height: number, width: number, contextLength: number | undefined) => LoweredNetwork;
  /** Rows of the network's timestep input. */
  readonly timestepRows: (timesteps: readonly number[]) => Float32Array;
  /** The context of every class, where classes have one. */
  readonly classRows: Float32Array | null;
  /** What makes pictures of latents, and how they look before; null where the network works on pixels. */
  readonly firstStage: Autoencoder | null;
  readonly preview: LatentPreview | null;
  /** Most bytes of activations. */
  readonly memory: number | undefined;
  readonly nonFinite: NonFinite | undefined;
  readonly warn: (text: string) => void;
}

export interface RunOptions {
  readonly profile?: boolean;
  readonly resume?: SavedRun;
  /** Receives the pictures instead of the result. */
  readonly pixels?: GPUBuffer;
  /** Throws when the work shall stop. */
  readonly check: () => void;
}

export interface RunResult extends Generation {
  /** What the update remembers at the end, for plans with one slot: [N, C, H, W]. */
  readonly history: Float32Array<ArrayBuffer>;
  /** Four numbers per row and image, where the plan or the run records any. */
  readonly numbers: (row: number, image: number) => readonly number[];
}

/** Images per batch: as asked, bounded by what bindings allow, or what fits comfortably. */
function batchSize({ device, memory = COMFORTABLE_BYTES }: Engine, run: ResolvedRun, lowered: LoweredNetwork): number {
  const copies = run.guidance === undefined ? 1 : 2;
  const most = Math.floor(maxRows(device, lowered) / copies);
  if (most < 1)
    throw new UsageError("size", `size ${run.height}×${run.width} exceeds what one binding of ${device.name} can hold`);
  if (run.batch !== undefined) return Math.min(run.batch, run.count, most);
  let batch = Math.min(COMFORTABLE_BATCH, run.count, most);
  while (batch > 1 && plannedBytes(lowered, batch * copies).bytes > memory) batch = Math.floor(batch / 2);
  return batch;
}

/** By image, then by row. */
function statisticsOf(run: ResolvedRun, from: number, numbers: RunResult["numbers"]): StepStatistics[] {
  return Array.from({ length: run.count }, (_, i) =>
    run.plan.rows.slice(from).map(({ step, t }, r): StepStatistics => {
      const [min = 0, max = 0, clipped = 0, nonFinite = 0] = numbers(from + r, i);
      return { step, t, image: run.firstImage + i, min, max, clipped, nonFinite };
    }),
  ).flat();
}

/** Pictures of a run's latents, batch by batch. */
class RunDecoder {
  readonly #samples: Float32Array<ArrayBuffer>;

  constructor(
    private readonly firstStage: Autoencoder | null,
    private readonly run: ResolvedRun,
    private readonly check: () => void,
    private readonly judge: Judge,
    private readonly pixels?: GPUBuffer,
  ) {
    this.#samples = new Float32Array(firstStage && !pixels ? run.count * this.#size : 0);
  }

  /** Values of one picture. */
  get #size(): number {
    const { height, width } = this.run.picture;
    return (this.firstStage?.spec.out_channels ?? 0) * height * width;
  }

  /** [N, C, H, W]; null where nothing is decoded. */
  get samples(): Tensor | null {
    const { count, picture } = this.run;
    if (!this.firstStage) return null;
    const shape = [count, this.firstStage.spec.out_channels, picture.height, picture.width];
    return { shape, data: this.#samples };
  }

  /** Takes the state over. */
  async decode(state: GPUBuffer, first: number, count: number): Promise<Decoded["images"]> {
    const { run, pixels, check, judge } = this;
    const { height, width, picture } = run;
    const firstStage = this.firstStage as Autoencoder;
    const offset = first * picture.height * picture.width * 4;
    try {
      const place = pixels && { buffer: pixels, offset };
      const { decodeState } = await import("./latents.ts");
      const made = await decodeState({
        firstStage,
        state,
        count,
        height,
        width,
        pixels: place,
        check,
        judge,
        number: run.firstImage + first,
      });
      if (!pixels) this.#samples.set(made.samples, first * this.#size);
      return made.images;
    } finally {
      firstStage.device.release(state);
    }
  }

  /** Pictures of the batches before a saved one. */
  async saved({ done, first }: SavedRun, channels: number): Promise<Decoded["images"]> {
    if (!this.firstStage) return [];
    const { device } = this.firstStage;
    const rows = toRows(done, first, channels, this.run.height * this.run.width);
    const state = await device.allocate("saved latents", () => uploadBuffer(device, "saved latents", rows));
    return this.decode(state, 0, first);
  }
}

/** What a run is given beside its start, which `resolveRun` checks. */
function judgeInputs({ inpaint, contexts, concat, count }: ResolvedRun, judge: Judge): void {
  const named = {
    known: inpaint?.known,
    context: contexts?.context,
    negativeContext: contexts?.freeContext,
    "textEmbeds or timeIds": contexts?.added,
    "negativeTextEmbeds or negativeTimeIds": contexts?.freeAdded,
  };
  for (const [name, data] of Object.entries(named)) if (data) judge(nonFiniteIn(name, data, count));
  if (concat) judge(nonFiniteIn("concat", concat.data, concat.shape[0] as number));
}

/**
 * Yields the steps of every batch, and returns what they made.
 * @throws UsageError for a size or a saved state that cannot be used; NonFiniteError; whatever `check` throws
 */
export async function* runImages(
  engine: Engine,
  run: ResolvedRun,
  { profile = false, resume, pixels, check }: RunOptions,
): AsyncGenerator<Step, RunResult> {
  const began = performance.now();
  const { device, model } = engine;
  const warnings = [...run.warnings];
  const judge = judgeBy(engine.nonFinite, (text) => {
    warnings.push(text);
    engine.warn(text);
  });
  judgeInputs(run, judge);
  const { stateChannels: channels } = model;
  const lowered = engine.lower(run.height, run.width, run.contexts?.length);
  // Only for runs that are saved or resumed: of latents it reads the decoder, which is loaded at the end.
  let hashed: Promise<string> | undefined;
  const stored = new Set(lowered.main.recipes.map(({ value }) => value.dtype));
  const forced = engine.target.methods?.conv2d ?? "";
  const own = () => {
    hashed ??= modelId(model).then(async (id) =>
      (await import("./saved.ts")).fingerprint([id, ...stored, forced].join(" "), run),
    );
    return hashed;
  };
  if (resume) (await import("./saved.ts")).checkResume(resume, await own(), run, channels);
  const size = resume?.batch ?? batchSize(engine, run, lowered);
  const { rows } = run.plan;
  const timesteps = engine.timestepRows(rows.map((row) => row.tNetwork));
  const image = channels * run.height * run.width;
  const samples = new Float32Array(pixels ? 0 : run.count * image);
  const history = new Float32Array(run.plan.history?.base ? run.count * image : 0);
  if (resume && pixels)
    throw new UsageError("resume", "a resumed run returns its images; leave pixels out, which only receives new ones");
  if (resume) samples.set(resume.done);
  const decoder = new RunDecoder(engine.firstStage && run.decode ? engine.firstStage : null, run, check, judge, pixels);
  const images = resume && !run.decode ? toRgbaImages(resume.done, resume.first, channels, run) : [];
  if (resume?.first) images.push(...(await decoder.saved(resume, channels)));
  const batches: (BatchResult & { first: number })[] = [];
  let compile = 0;
  let looped = 0;
  let steps = 0;
  const left = (first: number, index: number, since: number) => {
    steps++;
    const ahead = (Math.ceil((run.count - first) / size) - 1) * rows.length + rows.length - 1 - index;
    // The last submissions are still under way.
    return ((looped + performance.now() - since) / Math.max(1, steps - IN_FLIGHT)) * ahead;
  };
  for (let first = resume?.first ?? 0; first < run.count; first += size) {
    const count = Math.min(size, run.count - first);
    const start = performance.now();
    let begun: number | undefined;
    const batch = sampleBatch({
      ...engine,
      lowered,
      run,
      timesteps,
      first,
      images: count,
      check,
      judge,
      pixels,
      profile: profile && batches.length === 0,
      resume: resume && first === resume.first ? resume : undefined,
    });
    try {
      for (;;) {
        const { done, value } = await batch.next();
        begun ??= performance.now();
        if (!done) {
          const save = async () => {
            const kept = {
              ...(await value.save()),
              seed: run.seed,
              batch: size,
              done: samples.slice(0, first * image),
            };
            const saved = { ...kept, fingerprint: await own() };
            return { ...saved, checksum: (await import("./saved.ts")).checksum(saved) };
          };
          yield { ...value, save, ms: performance.now() - began, msLeft: left(first, value.index, begun) };
          continue;
        }
        compile += begun - start;
        looped += performance.now() - begun;
        images.push(...value.images, ...(value.latents ? await decoder.decode(value.latents, first, count) : []));
        if (!pixels) samples.set(value.samples, first * image);
        if (history.length) history.set(value.history.subarray(value.history.length - count * image), first * image);
        batches.push({ ...value, first });
        break;
      }
    } finally {
      await batch.return(undefined as never);
    }
  }
  const numbers = (row: number, i: number) => {
    const batch = batches.findLast((b) => b.first <= i);
    return batch?.numbers?.(row, i - batch.first) ?? [];
  };
  const states = { shape: [run.count, channels, run.height, run.width], data: samples };
  return {
    images,
    samples: decoder.samples ?? states,
    latents: run.decode ? states : null,
    seed: run.seed,
    classes: run.classes,
    steps: run.schedule.steps.length,
    ms: { total: performance.now() - began, perStep: looped / (rows.length * Math.ceil(run.count / size)), compile },
    peakBytes: device.counters.peakBytes,
    warnings,
    timings: batches[0]?.timings,
    statistics: run.statistics ? statisticsOf(run, resume?.row ?? 0, numbers) : undefined,
    history,
    numbers,
  };
}
