/**
 * The sampler's state on the GPU, and all that happens to it: x, what the network makes of it, x0, the memory of the
 * update, what was found out about them, and the frame that says which evaluation is under way. It is handed to a network
 * for every evaluation. Nothing is allocated or read back between the first and the last row.
 */
import type { Device } from "../runtime/device.ts";
import { NonFiniteError, UseAfterDisposeError } from "../runtime/errors.ts";
import { frameRecord } from "../runtime/frame.ts";
import type { Target } from "../runtime/kernel.ts";
import { toChannelsFirst, toChannelsLast } from "../runtime/layout.ts";
import { createArray, type GpuArray } from "../runtime/memory.ts";
import { NEVER } from "../runtime/overflow.ts";
import { Program } from "../runtime/program.ts";
import { padded4 } from "../runtime/values.ts";
import {
  allocateState,
  planSlots,
  runTable,
  type StateArrays,
  type StateInit,
  stateKernels,
  stateValues,
} from "./stateKernels.ts";

/** RGBA bytes, row-major. */
export interface Pixels {
  width: number;
  height: number;
  data: Uint8ClampedArray<ArrayBuffer>;
}

/** Four numbers per row and image. */
export type RowNumbers = (row: number, image: number) => readonly [number, number, number, number];

type Stage = keyof ReturnType<typeof stateKernels>;

export class SamplerState {
  #disposed = false;

  private constructor(
    private readonly device: Device,
    private readonly init: StateInit,
    private readonly arrays: StateArrays,
    /** f32 [N, H, W, C padded to vec4], with guidance twice. */
    readonly x: GpuArray,
    /** Where the network writes. */
    readonly output: GpuArray,
    readonly frame: GPUBuffer,
    private readonly frames: GPUBuffer,
    private readonly programs: Readonly<Record<Stage, Program>>,
    private readonly owned: readonly GpuArray[],
  ) {}

  /** @throws DeviceError "out-of-memory"; nothing stays allocated */
  static async create(device: Device, target: Target, init: StateInit): Promise<SamplerState> {
    const { plan, start, history } = init;
    const batch = init.images.length;
    const values = stateValues(init);
    const kernels = stateKernels({ ...target, storage: "buffer" }, init, values, init.output);
    const used = new Set(
      Object.values(kernels).flatMap((list) => list.flatMap(({ bound }) => bound.map((b) => b.value))),
    );
    const owned: GpuArray[] = [];
    const programs: Program[] = [];
    try {
      const allocate = () => allocateState(device, init, values, used, owned);
      const { external, arrays, output, frame, frames } = await device.allocate("the sampler's state", allocate);
      const make = async (label: string, calls: (typeof kernels)[Stage]) => {
        const program = await Program.create(device, { label, calls, batch, external, frame });
        programs.push(program);
        return [label, program] as const;
      };
      const byName = await Promise.all(Object.entries(kernels).map(([label, calls]) => make(label, calls)));
      const stages = Object.fromEntries(byName) as Record<Stage, Program>;
      const x = arrays.x as GpuArray;
      const state = new SamplerState(device, init, arrays, x, output, frame, frames, stages, owned);
      if (start) state.write(start);
      if (history && arrays.history) state.#write(arrays.history, history, planSlots(plan));
      return state;
    } catch (error) {
      for (const program of programs) program.dispose();
      for (const { object } of owned) device.release(object);
      throw error;
    }
  }

  #encode(encoder: GPUCommandEncoder, stage: Stage): void {
    if (this.programs[stage].dispatches.length > 0) this.programs[stage].encode(encoder);
  }

  /**
   * Records what precedes an evaluation: its frame, x_T from the seed before the first one, and where the row is one of a
   * new step, a jump back and known pixels.
   */
  begin(encoder: GPUCommandEncoder, row: number): void {
    encoder.copyBufferToBuffer(this.frames, row * frameRecord.size, this.frame, 0, frameRecord.size);
    if (row === 0 && !this.init.start) this.#encode(encoder, "start");
    if (!this.init.plan.rows[row]?.within) this.#encode(encoder, "prepare");
  }

  /** Records what follows it: x → x_prev and x0, from the network's output. */
  step(encoder: GPUCommandEncoder, row: number): void {
    this.#encode(encoder, "step");
    if (this.init.plan.rows[row]?.residual) this.#encode(encoder, "residual");
  }

  /** Records that the kept pixels become what was given. */
  paste(encoder: GPUCommandEncoder): void {
    this.#encode(encoder, "paste");
  }

  /** The dispatches after an evaluation. */
  get stepProgram(): Program {
    return this.programs.step;
  }

  #checkOpen(what: "preview" | "state"): void {
    if (this.#disposed) throw new UseAfterDisposeError(`the ${what} of a run that has ended`);
  }

  /** Replaces x, [N, C, H, W]. */
  write(data: Float32Array): void {
    this.#checkOpen("state");
    for (let copy = 0; copy < (this.init.guidance === undefined ? 1 : 2); copy++) this.#write(this.x, data, 1, copy);
  }

  /** From now on images have these guidance scales; only with guidance. */
  guide(scales: readonly number[]): void {
    this.#checkOpen("state");
    const guidance = this.init.guidance && { ...this.init.guidance, scales };
    this.device.gpu.queue.writeBuffer(this.arrays.run?.object as GPUBuffer, 0, runTable({ ...this.init, guidance }));
  }

  /** Noise for the next row, [N, C, H, W]; only with `noise` or `stepNoise` "given". */
  writeNoise(data: Float32Array): void {
    if (this.arrays.z) this.#write(this.arrays.z, data, 1);
  }

  /** What a network elsewhere made of x, [N, channels, H, W], f32. */
  writeOutput(data: ArrayLike<number>): void {
    const [H, W, channels] = this.init.output.shape as [number, number, number];
    const values = toChannelsLast(data, this.init.images.length, channels, H * W);
    this.device.gpu.queue.writeBuffer(this.output.object as GPUBuffer, 0, values);
  }

  /** @param copy behind how many whole ones */
  #write({ object }: GpuArray, data: Float32Array, states: number, copy = 0): void {
    const [C, H, W] = this.init.shape;
    const values = toChannelsLast(data, states * this.init.images.length, C, H * W);
    this.device.gpu.queue.writeBuffer(object as GPUBuffer, copy * values.byteLength, values);
  }

  /** Pictures of x0's current estimate, or of x. @throws UseAfterDisposeError when the run has ended */
  async images(of: "x" | "x0"): Promise<Pixels[]> {
    this.#checkOpen("preview");
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

  /** x in a buffer of the caller's, [N, H, W, C padded to vec4], which outlives the state. */
  async copy(): Promise<GPUBuffer> {
    const [C, H, W] = this.init.shape;
    const bytes = this.init.images.length * H * W * padded4(C) * 4;
    const make = () => createArray(this.device, "latents", "buffer", "f32", bytes).object as GPUBuffer;
    const buffer = await this.device.allocate("latents", make);
    const encoder = this.device.gpu.createCommandEncoder();
    encoder.copyBufferToBuffer(this.x.object as GPUBuffer, 0, buffer, 0, bytes);
    this.device.submit([encoder.finish()]);
    return buffer;
  }

  async #read({ object }: GpuArray, states = 1): Promise<Float32Array<ArrayBuffer>> {
    this.#checkOpen("state");
    const [C, H, W] = this.init.shape;
    const count = states * this.init.images.length;
    return toChannelsFirst(
      new Float32Array(await this.device.read(object, count * H * W * padded4(C) * 4)),
      count,
      C,
      H * W,
    );
  }

  /** x, or x0's current estimate, [N, C, H, W]. */
  samples(of: "x" | "x0" = "x"): Promise<Float32Array<ArrayBuffer>> {
    return this.#read(this.arrays[of] as GpuArray);
  }

  /** What the update remembers, [slots·N, C, H, W]; empty without memory. */
  async history(): Promise<Float32Array<ArrayBuffer>> {
    const { history } = this.arrays;
    return history ? this.#read(history, planSlots(this.init.plan)) : new Float32Array();
  }

  /** The recorded statistics, or the residuals of an iteration; null where none were asked for. */
  async numbers(): Promise<RowNumbers | null> {
    const { statistics } = this.arrays;
    if (!statistics) return null;
    const count = this.init.images.length;
    const all = new Float32Array(await this.device.read(statistics.object, this.init.plan.rows.length * count * 16));
    return (row, image) => {
      const [a = 0, b = 0, c = 0, d = 0] = all.subarray((row * count + image) * 4, (row * count + image) * 4 + 4);
      return [a, b, c, d];
    };
  }

  /** The first step and image where x0 stopped being finite; undefined where it never did. */
  async failure(): Promise<NonFiniteError | undefined> {
    const { images, plan } = this.init;
    const first = new Uint32Array(await this.device.read((this.arrays.status as GpuArray).object, images.length * 4));
    const row = first.reduce((a, b) => Math.min(a, b), NEVER);
    if (row === NEVER) return undefined;
    const image = images[first.indexOf(row)] as number;
    const { step, t } = plan.rows[row] ?? { step: row, t: -1 };
    const problem = `the predicted x0 of image ${image} is not finite at step ${step} (t = ${t})`;
    return new NonFiniteError(problem, { step, t, image });
  }

  dispose(): void {
    this.#disposed = true;
    for (const program of Object.values(this.programs)) program.dispose();
    for (const { object } of this.owned) this.device.release(object);
  }
}
