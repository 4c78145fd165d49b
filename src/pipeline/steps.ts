/** A run of any number of images. */
import type { RgbaImage } from "../image/rgba.ts";
import { toRgbaImages } from "../image/samples.ts";
import { isShort } from "../runtime/device.ts";
import { UsageError } from "../runtime/errors.ts";
import { type Judge, judgeBy } from "../runtime/finite.ts";
import type { LoweredNetwork } from "../unet/lowered.ts";
import { Batch, type BatchResult, type BatchStep } from "./batch.ts";
import { batchSize } from "./batchInputs.ts";
import { Clock } from "./clock.ts";
import type { LoadedModel } from "./loaded.ts";
import { modelId } from "./modelId.ts";
import { statisticsOf } from "./results.ts";
import { judgeInputs, type ResolvedRun } from "./run.ts";
import type { RunDecoder } from "./runDecoder.ts";
import type { GenerateOptions, Generation, SavedRun, Step } from "./types.ts";

export interface RunOptions {
  readonly profile?: boolean;
  readonly resume?: SavedRun;
  /** Receives the pictures instead of the result. */
  readonly pixels?: GPUBuffer;
  readonly onBatch?: GenerateOptions["onBatch"];
  /** Throws when the work shall stop. */
  readonly check: () => void;
}

export interface RunResult extends Generation {
  /** What the update remembers at the end, for plans with one slot: [N, C, H, W]. */
  readonly history: Float32Array<ArrayBuffer>;
  /** Four numbers per row and image, where the plan or the run records any. */
  readonly numbers: (row: number, image: number) => readonly number[];
}

/** A run of any number of images, batch by batch and step by step. */
export class Run {
  readonly #clock = new Clock();
  readonly #warnings: string[];
  readonly #warn: (text: string) => void;
  readonly #judge: Judge;
  readonly #lowered: LoweredNetwork;
  readonly #timesteps: Float32Array;
  readonly #images: RgbaImage[] = [];
  readonly #samples: Float32Array<ArrayBuffer>;
  readonly #history: Float32Array<ArrayBuffer>;
  readonly #batches: (BatchResult & { first: number })[] = [];
  #decoder: RunDecoder | undefined;
  #hashed: Promise<string> | undefined;
  /** Images per batch, and the first one of the batch that is under way or comes next. */
  #size = 0;
  #first = 0;
  #batch: Batch | undefined;

  /** @throws UsageError for a size that the device cannot hold; NonFiniteError */
  constructor(
    private readonly loaded: LoadedModel,
    private readonly run: ResolvedRun,
    private readonly options: RunOptions,
  ) {
    this.#warnings = [...run.warnings];
    this.#warn = (text) => {
      this.#warnings.push(text);
      loaded.warn(text);
    };
    this.#judge = judgeBy(loaded.nonFinite, this.#warn);
    judgeInputs(run, this.#judge);
    this.#lowered = loaded.lower(run.height, run.width, "step", run.contexts?.length);
    this.#timesteps = loaded.timestepVectors(
      "timestep",
      run.plan.rows.map((row) => row.tNetwork),
    );
    this.#samples = new Float32Array(options.pixels ? 0 : run.count * this.#image);
    this.#history = new Float32Array(run.plan.history?.base ? run.count * this.#image : 0);
  }

  /** Values of one state. */
  get #image(): number {
    return this.loaded.model.stateChannels * this.run.height * this.run.width;
  }

  /** Of everything that decides the images. Of latents it reads the decoder, which is loaded at the end. */
  #fingerprint(): Promise<string> {
    const stored = new Set(this.#lowered.main.weights.map(({ value }) => value.dtype));
    const forced = this.loaded.target.methods?.conv2d ?? "";
    this.#hashed ??= modelId(this.loaded.model).then(async (id) =>
      (await import("./saved.ts")).fingerprint([id, ...stored, forced].join(" "), this.run),
    );
    return this.#hashed;
  }

  /** @throws UsageError for a saved state that cannot be used */
  async begin(): Promise<void> {
    const { loaded, run, options } = this;
    const { resume, pixels, check } = options;
    const { stateChannels: channels } = loaded.model;
    if (resume) (await import("./saved.ts")).checkResume(resume, await this.#fingerprint(), run, channels);
    this.#size = resume?.batch ?? batchSize(loaded, run, this.#lowered);
    if (resume && pixels)
      throw new UsageError(
        "resume",
        "a resumed run returns its images; leave pixels out, which only receives new ones",
      );
    if (loaded.firstStage && run.decode) {
      const { RunDecoder } = await import("./latents.ts");
      this.#decoder = new RunDecoder(loaded.firstStage, run, check, this.#judge, pixels);
    }
    if (!resume) return;
    this.#first = resume.first;
    this.#samples.set(resume.done);
    if (!run.decode) this.#images.push(...toRgbaImages(resume.done, resume.first, channels, run));
    if (resume.first && this.#decoder) this.#images.push(...(await this.#decoder.saved(resume, channels)));
    if (resume.first) await options.onBatch?.({ first: 0, images: [...this.#images] });
  }

  /** The next step of this batch or the next one; undefined where all are done. @throws whatever `check` throws */
  async step(): Promise<Step | undefined> {
    while (this.#batch || this.#first < this.run.count) {
      const { step, made } = await this.#advance();
      if (step) {
        const save = async () => this.#save(await step.save());
        return { ...step, save, ms: this.#clock.total, msLeft: this.#msLeft(step.index) };
      }
      if (made) await this.#endBatch(made);
    }
    return undefined;
  }

  /** The next step of a batch, or what its steps have made; neither where it begins again with fewer images. */
  async #advance(): Promise<{ readonly step?: BatchStep; readonly made?: BatchResult }> {
    const asked = performance.now();
    try {
      this.#batch ??= await this.#beginBatch();
      const step = await this.#batch.step();
      this.#clock.step(asked);
      return step ? { step } : { made: await this.#batch.end() };
    } catch (error) {
      const images = this.#atOnce;
      const fixed = this.run.batch !== undefined || this.#first === this.options.resume?.first;
      if (fixed || images === 1 || !isShort(error)) throw error;
      await this.dispose();
      this.#clock.endBatch();
      this.#size = Math.floor(images / 2);
      this.#warn(`${images} images at a time do not fit in memory: ${this.#size} are made at a time`);
      return {};
    }
  }

  /** Images of the batch that is under way or comes next. */
  get #atOnce(): number {
    return Math.min(this.#size, this.run.count - this.#first);
  }

  #beginBatch(): Promise<Batch> {
    const { run, options } = this;
    const { resume, check, pixels, profile = false } = options;
    return Batch.begin({
      loaded: this.loaded,
      lowered: this.#lowered,
      run,
      timesteps: this.#timesteps,
      first: this.#first,
      images: this.#atOnce,
      check,
      judge: this.#judge,
      pixels,
      profile: profile && this.#batches.length === 0,
      resume: resume && this.#first === resume.first ? resume : undefined,
    });
  }

  async #endBatch(made: BatchResult): Promise<void> {
    const [first, count] = [this.#first, this.#atOnce];
    this.#clock.endBatch();
    await this.dispose();
    const images = (made.latents && (await this.#decoder?.decode(made.latents, first, count))) ?? made.images;
    this.#images.push(...images);
    if (!this.options.pixels) this.#samples.set(made.samples, first * this.#image);
    if (this.#history.length)
      this.#history.set(made.history.subarray(made.history.length - count * this.#image), first * this.#image);
    this.#batches.push({ ...made, first });
    this.#first += count;
    await this.options.onBatch?.({ first, images });
  }

  /** Milliseconds that the rest will take at the pace so far, after a step of this batch. */
  #msLeft(index: number): number {
    const { length } = this.run.plan.rows;
    return this.#clock.msLeft(Math.ceil((this.run.count - this.#first) / this.#size) * length - 1 - index);
  }

  async #save(batch: Awaited<ReturnType<BatchStep["save"]>>): Promise<SavedRun> {
    const done = this.#samples.slice(0, batch.first * this.#image);
    const kept = { ...batch, seed: this.run.seed, batch: this.#size, done };
    const saved = { ...kept, fingerprint: await this.#fingerprint() };
    return { ...saved, checksum: (await import("./saved.ts")).checksum(saved) };
  }

  /** What all steps have made. */
  end(): RunResult {
    const { loaded, run, options } = this;
    const shape = [run.count, loaded.model.stateChannels, run.height, run.width];
    const states = { shape, data: this.#samples };
    const evaluations = run.plan.rows.length * this.#batches.length;
    const numbers = (row: number, i: number) => {
      const batch = this.#batches.findLast((b) => b.first <= i);
      return batch?.numbers?.(row, i - batch.first) ?? [];
    };
    return {
      images: this.#images,
      samples: this.#decoder?.samples ?? states,
      latents: run.decode ? states : null,
      seed: run.seed,
      classes: run.classes,
      steps: run.schedule.steps.length,
      ms: {
        total: this.#clock.total,
        perStep: this.#clock.looped / evaluations,
        compile: this.#clock.compile,
      },
      peakBytes: loaded.device.counters.peakBytes,
      warnings: this.#warnings,
      timings: this.#batches[0]?.timings,
      statistics: run.statistics ? statisticsOf(run, options.resume?.row ?? 0, numbers) : undefined,
      history: this.#history,
      numbers,
    };
  }

  /** Frees the batch that is under way. */
  async dispose(): Promise<void> {
    const batch = this.#batch;
    this.#batch = undefined;
    await batch?.dispose();
  }
}

/** A run, in its turn, to its end; what ends it early frees it. */
export async function* runSteps(
  loaded: LoadedModel,
  resolved: ResolvedRun,
  { signal, ...options }: Omit<RunOptions, "check"> & { readonly signal?: AbortSignal },
): AsyncGenerator<Step, RunResult> {
  const { turns } = loaded;
  const check = turns.checker(signal);
  const end = await turns.next(check, signal);
  let run: Run | undefined;
  try {
    run = new Run(loaded, resolved, { ...options, check });
    await run.begin();
    for (let step = await run.step(); step; step = await run.step()) yield step;
    return run.end();
  } catch (error) {
    throw await turns.reason(error, signal);
  } finally {
    await run?.dispose();
    end();
  }
}
