/**
 * The GPU side of a run: starting noise, what follows each evaluation of the network, pixels at the end. It owns
 * everything but the state and the network's output, which belong to whoever evaluates the network. Nothing is allocated
 * or read back between the first and the last row.
 */
import type { Device } from "../runtime/device.ts";
import { NonFiniteError, UseAfterDisposeError } from "../runtime/errors.ts";
import type { Target } from "../runtime/kernel.ts";
import { fromRows, toRows } from "../runtime/layout.ts";
import { arrayOf, createValueArray, type GpuArray, uploadBuffer } from "../runtime/memory.ts";
import { NEVER } from "../runtime/overflow.ts";
import { Program } from "../runtime/program.ts";
import { padded4, type Value } from "../runtime/values.ts";
import {
  type LoopCalls,
  type LoopChoices,
  levelTable,
  loopCalls,
  loopValues,
  planSlots,
  runTable,
} from "./loopCalls.ts";
import { updateTable } from "./plan.ts";

export interface LoopInit extends LoopChoices {
  /** f32 [copies·N, H, W, C], row-padded to vec4. */
  readonly state: GPUBuffer;
  /** The network's output: its value (for storage, dtype and channels) and array. */
  readonly output: { readonly value: Value; readonly array: GpuArray };
  /** A {@link frameRecord}. */
  readonly frame: GPUBuffer;
}

/** RGBA bytes, row-major. */
export interface Pixels {
  width: number;
  height: number;
  data: Uint8ClampedArray<ArrayBuffer>;
}

/** Four numbers per row and image. */
export type RowNumbers = (row: number, image: number) => readonly [number, number, number, number];

type Owned = Partial<Record<"x0" | "rgba" | "status" | "history" | "statistics" | "z", GpuArray>>;

export class SamplerLoop {
  #disposed = false;

  private constructor(
    private readonly device: Device,
    private readonly init: LoopInit,
    private readonly programs: Readonly<Record<keyof LoopCalls, Program>>,
    private readonly arrays: Owned,
    private readonly owned: readonly GpuArray[],
  ) {}

  static async create(device: Device, target: Target, init: LoopInit): Promise<SamplerLoop> {
    const { plan, images, state, output, frame, inpaint } = init;
    const [C, H, W] = init.shape;
    const batch = images.length;
    const values = loopValues(init);
    const calls = loopCalls({ ...target, storage: "buffer" }, init, values, output.value);
    const used = new Set(
      (Object.values(calls) as LoopCalls["step"][]).flat().flatMap((call) => call.bound.map((b) => b.value)),
    );
    const owned: GpuArray[] = [];
    const programs: Program[] = [];
    try {
      const { external, arrays } = await device.allocate("the sampler's loop", () => {
        const external = new Map<Value, GpuArray>([
          [values.x, arrayOf(state)],
          [output.value, output.array],
        ]);
        const keep = (value: Value, make: () => GpuArray) => {
          if (!used.has(value)) return undefined;
          const array = make();
          owned.push(array);
          external.set(value, array);
          return array;
        };
        const empty = (value: Value) => keep(value, () => createValueArray(device, value, batch));
        const upload = (value: Value, data: () => ArrayBufferView) =>
          keep(value, () => arrayOf(uploadBuffer(device, value.name, data())));
        upload(values.run, () => runTable(init));
        upload(values.updates, () => updateTable(plan));
        upload(values.levels, () => levelTable(init) as Uint32Array);
        upload(values.known, () => toRows((inpaint as { known: Float32Array }).known, batch, C, H * W));
        upload(values.mask, () => toRows((inpaint as { mask: Float32Array }).mask, batch, C, H * W));
        empty(values.factors);
        const arrays: Owned = {
          x0: empty(values.x0),
          rgba: empty(values.rgba),
          history: empty(values.history),
          statistics: empty(values.statistics),
          z: empty(values.z),
          status: upload(values.status, () => new Uint32Array(batch).fill(NEVER)),
        };
        return { external, arrays };
      });
      const make = async (label: string, list: LoopCalls[keyof LoopCalls]) => {
        const program = await Program.create(device, { label, calls: list, batch, external, frame });
        programs.push(program);
        return [label, program] as const;
      };
      const made = await Promise.all(Object.entries(calls).map(([label, list]) => make(label, list)));
      const byName = Object.fromEntries(made) as Record<keyof LoopCalls, Program>;
      return new SamplerLoop(device, init, byName, arrays, owned);
    } catch (error) {
      for (const program of programs) program.dispose();
      for (const { object } of owned) device.release(object);
      throw error;
    }
  }

  /** The dispatches after an evaluation. */
  get step(): Program {
    return this.programs.step;
  }

  #encode(encoder: GPUCommandEncoder, name: keyof LoopCalls): void {
    if (this.programs[name].dispatches.length > 0) this.programs[name].encode(encoder);
  }

  /** x = x_T from the seed. */
  encodeNoise(encoder: GPUCommandEncoder): void {
    this.#encode(encoder, "start");
  }

  /** What precedes an evaluation: a jump back, known pixels. */
  encodePrepare(encoder: GPUCommandEncoder, row: number): void {
    if (!this.init.plan.rows[row]?.within) this.#encode(encoder, "prepare");
  }

  /** x → x_prev and x0, from the network's output. */
  encodeStep(encoder: GPUCommandEncoder, row: number): void {
    this.#encode(encoder, "step");
    if (this.init.plan.rows[row]?.residual) this.#encode(encoder, "residual");
  }

  /** The kept pixels as they were given. */
  encodePaste(encoder: GPUCommandEncoder): void {
    this.#encode(encoder, "paste");
  }

  /** The state as given, [N, C, H, W]. */
  writeState(data: Float32Array): void {
    const [C, H, W] = this.init.shape;
    const rows = toRows(data, this.init.images.length, C, H * W);
    for (let copy = 0; copy < (this.init.guidance === undefined ? 1 : 2); copy++)
      this.device.gpu.queue.writeBuffer(this.init.state, copy * rows.byteLength, rows);
  }

  /** Noise for the next row, [N, C, H, W]; only with `noise: "given"`. */
  writeStepNoise(data: Float32Array): void {
    if (this.arrays.z) this.#writeRows(this.arrays.z, data, 1);
  }

  #writeRows({ object }: GpuArray, data: Float32Array, states: number): void {
    const [C, H, W] = this.init.shape;
    const rows = toRows(data, states * this.init.images.length, C, H * W);
    this.device.gpu.queue.writeBuffer(object as GPUBuffer, 0, rows);
  }

  /** Pictures of x0's current estimate, or of x. @throws UseAfterDisposeError when the run has ended */
  async images(of: "x" | "x0"): Promise<Pixels[]> {
    if (this.#disposed) throw new UseAfterDisposeError("the preview of a run that has ended");
    const [, height, width] = this.init.shape;
    const encoder = this.device.gpu.createCommandEncoder();
    this.#encode(encoder, of === "x" ? "pixels" : "preview");
    this.device.submit([encoder.finish()]);
    const size = height * width * 4;
    const bytes = await this.device.read(this.arrays.rgba?.object as GPUBuffer, size * this.init.images.length);
    return this.init.images.map((_, n) => ({ width, height, data: new Uint8ClampedArray(bytes, n * size, size) }));
  }

  /** Writes the pictures of x into a caller's buffer, without reading anything back. */
  copyPixels(target: GPUBuffer, offset: number): void {
    const [, height, width] = this.init.shape;
    const encoder = this.device.gpu.createCommandEncoder();
    this.#encode(encoder, "pixels");
    const size = height * width * 4 * this.init.images.length;
    encoder.copyBufferToBuffer(this.arrays.rgba?.object as GPUBuffer, 0, target, offset, size);
    this.device.submit([encoder.finish()]);
  }

  async #readRows(buffer: GPUBuffer, states = 1): Promise<Float32Array<ArrayBuffer>> {
    if (this.#disposed) throw new UseAfterDisposeError("the state of a run that has ended");
    const [C, H, W] = this.init.shape;
    const count = states * this.init.images.length;
    return fromRows(new Float32Array(await this.device.read(buffer, count * H * W * padded4(C) * 4)), count, C, H * W);
  }

  /** The state, or x0's current estimate, [N, C, H, W]. */
  samples(of: "x" | "x0" = "x"): Promise<Float32Array<ArrayBuffer>> {
    return this.#readRows(of === "x" ? this.init.state : (this.arrays.x0?.object as GPUBuffer));
  }

  /** What the update remembers, [states·N, C, H, W]; empty without memory. */
  async history(): Promise<Float32Array<ArrayBuffer>> {
    const { history } = this.arrays;
    return history ? this.#readRows(history.object as GPUBuffer, planSlots(this.init.plan)) : new Float32Array();
  }

  writeHistory(data: Float32Array): void {
    if (this.arrays.history) this.#writeRows(this.arrays.history, data, planSlots(this.init.plan));
  }

  /** The recorded statistics, or the residuals of an iteration; null where none were asked for. */
  async numbers(): Promise<RowNumbers | null> {
    const { statistics } = this.arrays;
    if (!statistics) return null;
    const count = this.init.images.length;
    const size = this.init.plan.rows.length * count * 16;
    const all = new Float32Array(await this.device.read(statistics.object as GPUBuffer, size));
    return (row, image) => {
      const [a = 0, b = 0, c = 0, d = 0] = all.subarray((row * count + image) * 4, (row * count + image) * 4 + 4);
      return [a, b, c, d];
    };
  }

  /** The first step and image where x0 stopped being finite; undefined where it never did. */
  async failure(): Promise<NonFiniteError | undefined> {
    const first = new Uint32Array(
      await this.device.read(this.arrays.status?.object as GPUBuffer, this.init.images.length * 4),
    );
    const row = first.reduce((a, b) => Math.min(a, b), NEVER);
    if (row === NEVER) return undefined;
    const image = this.init.images[first.indexOf(row)] as number;
    const { step, t } = this.init.plan.rows[row] ?? { step: row, t: -1 };
    const problem = `the predicted x0 of image ${image} is not finite at step ${step} (t = ${t})`;
    return new NonFiniteError(problem, { step, t, image });
  }

  dispose(): void {
    this.#disposed = true;
    for (const program of Object.values(this.programs)) program.dispose();
    for (const { object } of this.owned) this.device.release(object);
  }
}
