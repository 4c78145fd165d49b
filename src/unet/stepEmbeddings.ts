/**
 * The time embeddings of a run's steps, in memory that does not grow with their number (docs/decisions/0004): one filling
 * of the projections serves a stretch of steps, a row per (step, image), and a step begins by taking its own rows of them.
 * Kernels know nothing of this: they read what is a row per image.
 */
import { copyUnits, type GpuArray } from "../runtime/memory.ts";
import type { Program } from "../runtime/program.ts";
import { byteSize, padded4, unitCount, type Value } from "../runtime/values.ts";
import type { Network } from "./build.ts";

const MOST_BYTES = 32 * 2 ** 20;
const MOST_ROWS = 32768;

export interface StepEmbeddingsInit {
  /** Images of an evaluation. */
  readonly rows: number;
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
  /** Rows of one filling. */
  readonly batch: number;
  /** Steps that one filling serves. */
  readonly #stretch: number;
  /** Those of all steps. */
  readonly #timesteps: GpuArray;
  /** Which stretch the projections are of. */
  #filled = -1;

  readonly #rows: number;

  constructor(
    private readonly network: Network,
    { rows, steps, timesteps, labels, create, upload }: StepEmbeddingsInit,
  ) {
    this.#rows = rows;
    const { projections, table, classes, byStep, byImage } = network;
    const fits = Math.min(MOST_BYTES / byteSize(projections, rows), MOST_ROWS / rows);
    this.#stretch = Math.max(1, Math.min(steps, Math.floor(fits)));
    this.batch = rows * this.#stretch;
    // The last stretch reads past the end.
    const padded = paddedRows(network.timesteps, timesteps, this.#stretch);
    this.#timesteps = upload("timesteps", padded);
    const several = steps > this.#stretch;
    const current = padded.subarray(0, this.#stretch * 4 * unitCount(network.timesteps, 1));
    const order = (name: string, of: (row: number) => number) =>
      upload(
        name,
        Uint32Array.from({ length: this.batch }, (_, row) => of(row)),
      );
    const all = create(projections, this.batch);
    this.arrays = new Map([
      [network.timesteps, several ? upload("timesteps of a stretch", current) : this.#timesteps],
      [byStep, order("steps", (row) => Math.floor(row / rows))],
      [byImage, order("images", (row) => row % rows)],
      ...(classes?.kind === "labels" && labels
        ? [[classes.labels, order("class labels", (row) => labels[row % rows] as number)] as const]
        : []),
      [projections, all],
      [table, this.#stretch > 1 ? create(table, rows) : all],
    ]);
  }

  /** Records what puts a step's rows where the network reads them; `embed` fills the projections. */
  begin(encoder: GPUCommandEncoder, step: number, embed: Program): void {
    const stretch = Math.floor(step / this.#stretch);
    const { timesteps, projections, table } = this.network;
    if (stretch !== this.#filled) {
      this.#copy(encoder, timesteps, this.#timesteps, stretch * this.#stretch, this.#stretch);
      embed.encode(encoder);
      this.#filled = stretch;
    }
    const source = this.arrays.get(projections) as GpuArray;
    this.#copy(encoder, table, source, (step % this.#stretch) * this.#rows, this.#rows);
  }

  /** Copies rows to the beginning of the value's array, unless that is where they come from. */
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

/** Rows padded to vec4, and their number up to a multiple of `multiple`. */
export function paddedRows(value: Value, data: Float32Array, multiple: number): Float32Array {
  const width = value.shape.at(-1) as number;
  const rows = data.length / width;
  const stride = padded4(width);
  const out = new Float32Array(Math.ceil(rows / multiple) * multiple * stride);
  for (let r = 0; r < rows; r++) out.set(data.subarray(r * width, (r + 1) * width), r * stride);
  return out;
}
