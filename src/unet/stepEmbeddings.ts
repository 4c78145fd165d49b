/**
 * The time embeddings of a run's steps, in memory that does not grow with their number (docs/decisions/0004): one filling
 * of the projections serves a stretch of steps, an entry per (step, image), and a step begins by taking its own entries.
 * Kernels know nothing of this: they read an entry per image.
 */
import { copyUnits, type GpuArray } from "../runtime/memory.ts";
import type { Program } from "../runtime/program.ts";
import { byteSize, padded4, unitCount, type Value } from "../runtime/values.ts";
import type { Network } from "./build.ts";

const MOST_BYTES = 32 * 2 ** 20;
const MOST_ENTRIES = 32768;

export interface StepEmbeddingsInit {
  /** Images of an evaluation. */
  readonly batch: number;
  readonly steps: number;
  /** One entry per step, or per image where the network was built so; [entries, width]. */
  readonly timesteps: Float32Array;
  /** Class labels per image. */
  readonly labels?: Uint32Array;
  /** Makes an array for a batch of a value. */
  create(value: Value, batch: number): GpuArray;
  /** Makes one that holds data. */
  upload(name: string, data: ArrayBufferView): GpuArray;
}

export class StepEmbeddings {
  /** What the network's graphs read and write of them. */
  readonly arrays: ReadonlyMap<Value, GpuArray>;
  /** Entries of one filling. */
  readonly entries: number;
  /** Steps that one filling serves. */
  readonly #stretch: number;
  /** Those of all steps. */
  readonly #timesteps: GpuArray;
  /** Which stretch the projections are of. */
  #filled = -1;

  readonly #batch: number;

  constructor(
    private readonly network: Network,
    { batch, steps, timesteps, labels, create, upload }: StepEmbeddingsInit,
  ) {
    this.#batch = batch;
    const { projections, table, classes, byStep, byImage } = network;
    const fits = Math.min(MOST_BYTES / byteSize(projections, batch), MOST_ENTRIES / batch);
    this.#stretch = Math.max(1, Math.min(steps, Math.floor(fits)));
    this.entries = batch * this.#stretch;
    // The last stretch reads past the end.
    const padded = paddedVectors(network.timesteps, timesteps, this.#stretch);
    this.#timesteps = upload("timesteps", padded);
    const several = steps > this.#stretch;
    const current = padded.subarray(0, this.#stretch * 4 * unitCount(network.timesteps, 1));
    const order = (name: string, of: (entry: number) => number) =>
      upload(
        name,
        Uint32Array.from({ length: this.entries }, (_, entry) => of(entry)),
      );
    const all = create(projections, this.entries);
    this.arrays = new Map([
      [network.timesteps, several ? upload("timesteps of a stretch", current) : this.#timesteps],
      [byStep, order("steps", (entry) => Math.floor(entry / batch))],
      [byImage, order("images", (entry) => entry % batch)],
      ...(classes?.kind === "labels" && labels
        ? [[classes.labels, order("class labels", (entry) => labels[entry % batch] as number)] as const]
        : []),
      [projections, all],
      [table, this.#stretch > 1 ? create(table, batch) : all],
    ]);
  }

  /** Records what puts a step's entries where the network reads them; `embed` fills the projections. */
  begin(encoder: GPUCommandEncoder, step: number, embed: Program): void {
    const stretch = Math.floor(step / this.#stretch);
    const { timesteps, projections, table } = this.network;
    if (stretch !== this.#filled) {
      this.#copy(encoder, timesteps, this.#timesteps, stretch * this.#stretch, this.#stretch);
      embed.encode(encoder);
      this.#filled = stretch;
    }
    const source = this.arrays.get(projections) as GpuArray;
    this.#copy(encoder, table, source, (step % this.#stretch) * this.#batch, this.#batch);
  }

  /** Copies entries to the beginning of the value's array, unless that is where they come from. */
  #copy(encoder: GPUCommandEncoder, value: Value, source: GpuArray, first: number, count: number): void {
    const target = this.arrays.get(value) as GpuArray;
    const units = unitCount(value, 1);
    if (source !== target) copyUnits(encoder, value, source, first * units, target, count * units);
  }

  /** Lets the next step fill the projections anew, as evaluations outside of a loop have to. */
  forget(): void {
    this.#filled = -1;
  }
}

/** Vectors padded to vec4, and their number up to a multiple of `multiple`. */
export function paddedVectors(value: Value, data: Float32Array, multiple: number): Float32Array {
  const width = value.shape.at(-1) as number;
  const count = data.length / width;
  const stride = padded4(width);
  const out = new Float32Array(Math.ceil(count / multiple) * multiple * stride);
  for (let i = 0; i < count; i++) out.set(data.subarray(i * width, (i + 1) * width), i * stride);
  return out;
}
