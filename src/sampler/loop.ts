/**
 * The GPU side of a run: starting noise, one fused dispatch per step, pixels at the end. It owns everything but the state
 * and the network's output, which belong to whoever evaluates the network. Nothing is allocated or read back between
 * the first and the last step.
 */
import { ddimStep, initialNoise, toRgba } from "../kernels/sampling.ts";
import type { Device } from "../runtime/device.ts";
import { NonFiniteError, UseAfterDisposeError } from "../runtime/errors.ts";
import type { Target } from "../runtime/kernel.ts";
import { arrayOf, createValueArray, type GpuArray, uploadBuffer } from "../runtime/memory.ts";
import { Program } from "../runtime/program.ts";
import { makeValue, padded4, type Value } from "../runtime/values.ts";
import type { Schedule } from "./scheduleTypes.ts";

export interface LoopInit {
  /** State's channels, height and width. */
  readonly shape: readonly [C: number, H: number, W: number];
  readonly schedule: Schedule;
  /** The schedule's `coefficientTable`. */
  readonly coefficients: Float32Array;
  readonly seed: bigint;
  /** Number in the whole run of every image of this batch. */
  readonly images: readonly number[];
  /** Classifier-free guidance: the state is stored twice, unconditional half first; undefined without. */
  readonly guidance?: number;
  /** f32 [copies·N, H, W, C], row-padded to vec4. */
  readonly state: GPUBuffer;
  /** The network's output: its value (for storage, dtype and channels) and array. */
  readonly output: { readonly value: Value; readonly array: GpuArray };
  /** Uniform whose fourth word is the step. */
  readonly frame: GPUBuffer;
}

/** RGBA bytes, row-major. */
export interface Pixels {
  width: number;
  height: number;
  data: Uint8ClampedArray<ArrayBuffer>;
}

const NEVER = 0xffffffff;

export class SamplerLoop {
  #disposed = false;

  private constructor(
    private readonly device: Device,
    private readonly init: LoopInit,
    private readonly noise: Program,
    readonly step: Program,
    private readonly pixels: { x: Program; x0: Program },
    private readonly arrays: Readonly<Record<"x0" | "rgba" | "status", GpuArray>>,
    private readonly owned: readonly GpuArray[],
  ) {}

  static async create(device: Device, target: Target, init: LoopInit): Promise<SamplerLoop> {
    const { shape, schedule, seed, images, guidance, state, output, frame } = init;
    const [C, H, W] = shape;
    const batch = images.length;
    const plain = { ...target, storage: "buffer" } as const;
    const value = (name: string, dims: readonly number[], dtype: Value["dtype"] = "f32", batched = true) =>
      makeValue({ name, shape: dims, batched, dtype, storage: "buffer" });
    const x = value("x", [H, W, C]);
    const x0 = value("x0", [H, W, C]);
    const rgba = value("rgba", [H, W], "u32");
    const status = value("status", [1], "u32");
    const run = value("run", [batch + 2], "u32", false);
    const coefficients = value("coefficients", [schedule.steps.length * 8], "f32", false);
    const flags = { guided: guidance !== undefined, noise: schedule.steps.some((s) => s.sigma > 0) };
    const owned: GpuArray[] = [];
    const programs: Program[] = [];
    try {
      const arrays = await device.allocate("the sampler's loop", () => {
        const keep = (array: GpuArray) => {
          owned.push(array);
          return array;
        };
        const table = init.coefficients.slice();
        // The last column is the timestep, which the GPU does not need; guidance takes its place.
        for (let i = 0; i < schedule.steps.length; i++) table[i * 8 + 7] = guidance ?? 1;
        const words = [Number(BigInt.asUintN(32, seed)), Number(BigInt.asUintN(32, seed >> 32n)), ...images];
        return {
          x0: keep(createValueArray(device, x0, batch)),
          rgba: keep(createValueArray(device, rgba, batch)),
          status: keep(arrayOf(uploadBuffer(device, "status", new Uint32Array(batch).fill(NEVER)))),
          run: keep(arrayOf(uploadBuffer(device, "run", Uint32Array.from(words)))),
          coefficients: keep(arrayOf(uploadBuffer(device, "coefficients", table))),
        };
      });
      const external = new Map<Value, GpuArray>([
        [x, arrayOf(state)],
        [x0, arrays.x0],
        [rgba, arrays.rgba],
        [status, arrays.status],
        [run, arrays.run],
        [coefficients, arrays.coefficients],
        [output.value, output.array],
      ]);
      const make = async (label: string, call: ReturnType<typeof toRgba.lower>) => {
        const program = await Program.create(device, { label, calls: [call], batch, external, frame });
        programs.push(program);
        return program;
      };
      const step = { x, m: output.value, coefficients, run, status, x0 };
      const [noise, update, px, px0] = await Promise.all([
        make("initial noise", initialNoise.lower(plain, "x_T", { run, x }, { guided: flags.guided })),
        make("step", ddimStep.lower(plain, "step", step, flags)),
        make("pixels", toRgba.lower(plain, "x", { x, rgba }, {})),
        make("preview", toRgba.lower(plain, "x0", { x: x0, rgba }, {})),
      ]);
      return new SamplerLoop(device, init, noise, update, { x: px, x0: px0 }, arrays, owned);
    } catch (error) {
      for (const program of programs) program.dispose();
      for (const { object } of owned) device.release(object);
      throw error;
    }
  }

  /** x = x_T from the seed. */
  encodeNoise(encoder: GPUCommandEncoder): void {
    this.noise.encode(encoder);
  }

  /** x = x_T as given, [N, C, H, W]. */
  writeNoise(data: Float32Array): void {
    const [C, H, W] = this.init.shape;
    const stride = padded4(C);
    const count = this.init.images.length;
    const rows = new Float32Array(count * H * W * stride);
    for (let n = 0; n < count; n++)
      for (let c = 0; c < C; c++)
        for (let p = 0; p < H * W; p++) rows[(n * H * W + p) * stride + c] = data[(n * C + c) * H * W + p] as number;
    for (let copy = 0; copy < (this.init.guidance === undefined ? 1 : 2); copy++)
      this.device.gpu.queue.writeBuffer(this.init.state, copy * rows.byteLength, rows);
  }

  /** x → x_prev and x0, from the network's output. */
  encodeStep(encoder: GPUCommandEncoder): void {
    this.step.encode(encoder);
  }

  /** Pictures of x0's current estimate, or of x. @throws UseAfterDisposeError when the run has ended */
  async images(of: "x" | "x0"): Promise<Pixels[]> {
    if (this.#disposed) throw new UseAfterDisposeError("the preview of a run that has ended");
    const [, height, width] = this.init.shape;
    const encoder = this.device.gpu.createCommandEncoder();
    this.pixels[of].encode(encoder);
    this.device.submit([encoder.finish()]);
    const size = height * width * 4;
    const bytes = await this.device.read(this.arrays.rgba.object as GPUBuffer, size * this.init.images.length);
    return this.init.images.map((_, n) => ({ width, height, data: new Uint8ClampedArray(bytes, n * size, size) }));
  }

  /** Writes the pictures of x into a caller's buffer, without reading anything back. */
  copyPixels(target: GPUBuffer, offset: number): void {
    const [, height, width] = this.init.shape;
    const encoder = this.device.gpu.createCommandEncoder();
    this.pixels.x.encode(encoder);
    const size = height * width * 4 * this.init.images.length;
    encoder.copyBufferToBuffer(this.arrays.rgba.object as GPUBuffer, 0, target, offset, size);
    this.device.submit([encoder.finish()]);
  }

  /** The state, [N, C, H, W]. */
  async samples(): Promise<Float32Array> {
    const [C, H, W] = this.init.shape;
    const stride = padded4(C);
    const count = this.init.images.length;
    const rows = new Float32Array(await this.device.read(this.init.state, count * H * W * stride * 4));
    const out = new Float32Array(count * C * H * W);
    for (let n = 0; n < count; n++)
      for (let c = 0; c < C; c++)
        for (let p = 0; p < H * W; p++) out[(n * C + c) * H * W + p] = rows[(n * H * W + p) * stride + c] as number;
    return out;
  }

  /** @throws NonFiniteError naming the first step and image where x0 stopped being finite */
  async check(): Promise<void> {
    const first = new Uint32Array(
      await this.device.read(this.arrays.status.object as GPUBuffer, this.init.images.length * 4),
    );
    const step = first.reduce((a, b) => Math.min(a, b), NEVER);
    if (step === NEVER) return;
    const image = this.init.images[first.indexOf(step)] as number;
    throw new NonFiniteError(step, this.init.schedule.steps[step]?.t ?? -1, image, "the predicted x0");
  }

  dispose(): void {
    this.#disposed = true;
    for (const program of [this.noise, this.step, this.pixels.x, this.pixels.x0]) program.dispose();
    for (const { object } of this.owned) this.device.release(object);
  }
}
