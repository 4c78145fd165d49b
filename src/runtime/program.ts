/**
 * A compiled list of dispatches at one batch size: pipelines, bind groups and grids are made once; replaying encodes a
 * flat list and allocates nothing.
 */
import type { Device } from "./device.ts";
import type { Cost, Grid, KernelCall } from "./kernel.ts";
import { arrayOf, createArray, type GpuArray, partOf, uploadBuffer } from "./memory.ts";
import { NEVER, OVERFLOW, type Overflow } from "./overflow.ts";
import { type MemoryPlan, planMemory } from "./planner.ts";
import type { Value } from "./values.ts";

export interface ProgramInit {
  readonly label: string;
  readonly calls: readonly KernelCall[];
  readonly batch: number;
  /** Storage that the caller brings and keeps: weights, inputs, outputs. */
  readonly external: ReadonlyMap<Value, GpuArray>;
  /** Uniform buffer of 16 bytes that holds the step index, for kernels that read it. */
  readonly frame?: GPUBuffer;
  /** Called as pipelines become ready. */
  readonly onCompile?: (done: number, of: number) => void;
}

export interface Dispatch {
  readonly call: KernelCall;
  readonly pipeline: GPUComputePipeline;
  readonly bindings: GPUBindGroup;
  readonly grid: Grid;
  readonly cost: Cost;
}

/** Compiles the pipelines of some calls ahead of need, in parallel. */
export async function compileCalls(
  device: Device,
  calls: readonly KernelCall[],
  onCompile?: (done: number, of: number) => void,
): Promise<GPUComputePipeline[]> {
  const unique = new Set(calls.map((c) => c.source));
  const done = new Set<string>();
  return Promise.all(
    calls.map(async (call) => {
      const pipeline = await device.pipelines.get(`${call.kernel}_${call.variant}`, call.source, call.kinds);
      if (!done.has(call.source)) {
        done.add(call.source);
        onCompile?.(done.size, unique.size);
      }
      return pipeline;
    }),
  );
}

/** A list of dispatches that can be recorded, whole or in part. */
export interface Replay {
  readonly dispatches: readonly Dispatch[];
  /** Records dispatches `from`..`to` (exclusive) in one compute pass. */
  encode(encoder: GPUCommandEncoder, from?: number, to?: number): void;
  /** Layers whose numbers f16 could not hold so far; reads back, where anything is stored as f16. */
  overflows(): Promise<Overflow[]>;
}

function encodeDispatches(encoder: GPUCommandEncoder, dispatches: readonly Dispatch[], from: number, to: number): void {
  const pass = encoder.beginComputePass();
  let current: GPUComputePipeline | undefined;
  for (let i = from; i < to; i++) {
    const { pipeline, bindings, grid } = dispatches[i] as Dispatch;
    if (pipeline !== current) pass.setPipeline(pipeline);
    current = pipeline;
    pass.setBindGroup(0, bindings);
    pass.dispatchWorkgroups(grid[0], grid[1], grid[2]);
  }
  pass.end();
}

/** Programs one after the other, any of them several times, as one list. They stay their owner's. */
export function sequence(programs: readonly Program[]): Replay {
  const dispatches = programs.flatMap((program) => program.dispatches);
  return {
    dispatches,
    encode: (encoder, from = 0, to = dispatches.length) => encodeDispatches(encoder, dispatches, from, to),
    overflows: async () => (await Promise.all([...new Set(programs)].map((program) => program.overflows()))).flat(),
  };
}

export class Program implements Replay {
  readonly #owned: GpuArray[];

  private constructor(
    private readonly device: Device,
    readonly label: string,
    readonly batch: number,
    readonly dispatches: readonly Dispatch[],
    readonly plan: MemoryPlan,
    /** Where every value of the calls lives. Bound to it, the same calls at a smaller batch need no memory of their own. */
    readonly storage: ReadonlyMap<Value, GpuArray>,
    owned: GpuArray[],
    private readonly overflow: GPUBuffer | undefined,
  ) {
    this.#owned = owned;
  }

  /**
   * Plans memory, compiles and binds.
   * @throws DeviceError "out-of-memory" when the arenas do not fit; nothing stays allocated
   */
  static async create(device: Device, init: ProgramInit): Promise<Program> {
    const { calls, batch, external, label } = init;
    const pipelines = await compileCalls(device, calls, init.onCompile);
    const plan = planMemory(calls, new Set(external.keys()), batch);
    return device.allocate(`${label} at batch ${batch} (${Math.ceil(plan.bytes / 2 ** 20)} MiB)`, () => {
      const storage = new Map(external);
      const owned = plan.arenas.map((arena, i) =>
        createArray(device, `${label} arena ${i}`, arena.storage, arena.dtype, arena.bytes),
      );
      for (const [value, { arena, offset }] of plan.places)
        storage.set(value, partOf(owned[arena] as GpuArray, value, offset, batch));
      const overflow = createOverflow(device, label, calls);
      if (overflow) owned.push(arrayOf(overflow));
      const params = uploadParams(device, label, calls, batch, storage);
      if (params) owned.push({ object: params.buffer, resource: { buffer: params.buffer }, bytes: params.buffer.size });
      const dispatches = calls.map((call, i): Dispatch => {
        const resources = call.bound.map(
          (b): GPUBindingResource =>
            b.value === OVERFLOW
              ? { buffer: overflow as GPUBuffer }
              : (storage.get(b.value)?.resource as GPUBindingResource),
        );
        if (params)
          resources.push({ buffer: params.buffer, offset: i * params.stride, size: params.sizes[i] as number });
        if (call.frame) {
          if (!init.frame) throw new TypeError(`internal: ${label}: ${call.kernel} needs a frame buffer`);
          resources.push({ buffer: init.frame });
        }
        const bindings = device.gpu.createBindGroup({
          label: call.label,
          layout: device.pipelines.layout(call.kinds),
          entries: resources.map((resource, binding) => ({ binding, resource })),
        });
        const pipeline = pipelines[i] as GPUComputePipeline;
        return { call, pipeline, bindings, grid: call.grid(batch), cost: call.cost(batch) };
      });
      return new Program(device, label, batch, dispatches, plan, storage, owned, overflow);
    });
  }

  encode(encoder: GPUCommandEncoder, from = 0, to = this.dispatches.length): void {
    encodeDispatches(encoder, this.dispatches, from, to);
  }

  /** Says which step is under way: the fourth word of a frame, as `frames` has it from byte `offset` on. */
  encodeStepNumber(encoder: GPUCommandEncoder, frames: GPUBuffer, offset: number): void {
    if (this.overflow) encoder.copyBufferToBuffer(frames, offset + 12, this.overflow, 0, 4);
  }

  async overflows(): Promise<Overflow[]> {
    if (!this.overflow) return [];
    const words = new Uint32Array(await this.device.read(this.overflow, 4 * (1 + this.dispatches.length)));
    return this.dispatches.flatMap(({ call }, i) => {
      const step = words[i + 1] as number;
      return step === NEVER ? [] : [{ layer: call.label, step }];
    });
  }

  /** Floating point operations and least bytes moved, of one replay. */
  get cost(): Cost {
    return this.dispatches.reduce(
      (sum, { cost }) => ({ flops: sum.flops + cost.flops, bytes: sum.bytes + cost.bytes }),
      { flops: 0, bytes: 0 },
    );
  }

  /** Releases arenas and parameters; external storage stays the caller's. */
  dispose(): void {
    for (const array of this.#owned.splice(0)) this.device.release(array.object);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Where the calls that store f16 record what did not fit; undefined where none does. */
function createOverflow(device: Device, label: string, calls: readonly KernelCall[]): GPUBuffer | undefined {
  if (!calls.some(({ bound }) => bound.some(({ value }) => value === OVERFLOW))) return undefined;
  const words = new Uint32Array(1 + calls.length).fill(NEVER);
  words[0] = 0;
  return uploadBuffer(device, `${label} overflow`, words);
}

/** All calls' uniforms in one buffer, each at an aligned offset. */
function uploadParams(
  device: Device,
  label: string,
  calls: readonly KernelCall[],
  batch: number,
  storage: ReadonlyMap<Value, GpuArray>,
) {
  if (calls.length === 0) return undefined;
  const blocks = calls.map((call, i) => call.params(batch, (value) => storage.get(value)?.offset ?? 0, i));
  const sizes = blocks.map((b) => b.byteLength);
  const align = device.gpu.limits.minUniformBufferOffsetAlignment;
  const stride = Math.ceil(Math.max(...sizes) / align) * align;
  const words = new Uint32Array((stride / 4) * calls.length);
  blocks.forEach((block, i) => words.set(block, (stride / 4) * i));
  return { buffer: uploadBuffer(device, `${label} params`, words, GPUBufferUsage.UNIFORM), stride, sizes };
}
