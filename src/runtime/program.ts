/**
 * A compiled list of dispatches at one batch size: pipelines, bind groups and grids are made once; replaying encodes a
 * flat list and allocates nothing.
 */
import type { Device } from "./device.ts";
import { frameRecord } from "./frame.ts";
import type { Cost, KernelCall } from "./kernel.ts";
import { arrayOf, createArray, createValueArray, type GpuArray, partOf, uploadBuffer } from "./memory.ts";
import { NEVER, OVERFLOW, type Overflow } from "./overflow.ts";
import { type Dispatch, encodeParts, LEAST_PART, type Part, rangesOf } from "./parts.ts";
import { type MemoryPlan, planMemory } from "./planner.ts";
import type { Value } from "./values.ts";

export interface ProgramInit {
  readonly label: string;
  readonly calls: readonly KernelCall[];
  readonly batch: number;
  /** Storage that the caller brings and keeps: weights, inputs, outputs. */
  readonly external: ReadonlyMap<Value, GpuArray>;
  /** Other inputs and outputs, which get arrays of their own: `storage` has them, and `dispose` frees them. */
  readonly ends?: readonly Value[];
  /** A frameRecord, for kernels that read it, in a uniform buffer that can be copied from. */
  readonly frame?: GPUBuffer;
  /** Called as pipelines become ready. */
  readonly onCompile?: (done: number, of: number) => void;
  /** Floating point operations of the smallest part of a dispatch; for tests. */
  readonly leastPart?: number;
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

/** A list of work that can be recorded, whole or some of it. */
export interface Replay {
  readonly parts: readonly Part[];
  /** Records parts `from`..`to` (exclusive) in one compute pass. */
  encode(encoder: GPUCommandEncoder, from?: number, to?: number): void;
  /** Layers whose numbers f16 could not hold so far; reads back, where anything is stored as f16. */
  overflows(): Promise<Overflow[]>;
}

/** Programs one after the other, any of them several times, as one list. They stay their owner's. */
export function sequence(programs: readonly Program[]): Replay {
  const parts = programs.flatMap((program) => program.parts);
  return {
    parts,
    encode: (encoder, from = 0, to = parts.length) => encodeParts(encoder, parts, from, to),
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
    readonly parts: readonly Part[],
    readonly plan: MemoryPlan,
    /** Where every value of the calls lives. Bound to it, the same calls at a smaller batch need no memory of their own. */
    readonly storage: ReadonlyMap<Value, GpuArray>,
    owned: GpuArray[],
    private readonly overflow: GPUBuffer | undefined,
    private readonly frame: GPUBuffer | undefined,
  ) {
    this.#owned = owned;
  }

  /**
   * Plans memory, compiles and binds.
   * @throws DeviceError "out-of-memory" when the arenas do not fit; nothing stays allocated
   */
  static async create(device: Device, init: ProgramInit): Promise<Program> {
    const { calls, batch, external, ends = [], label, leastPart = LEAST_PART } = init;
    const pipelines = await compileCalls(device, calls, init.onCompile);
    const plan = planMemory(calls, new Set([...external.keys(), ...ends]), batch);
    return device.allocate(`${label} at batch ${batch} (${Math.ceil(plan.bytes / 2 ** 20)} MiB)`, () => {
      const storage = new Map(external);
      const owned = plan.arenas.map((arena, i) =>
        createArray(device, `${label} arena ${i}`, arena.storage, arena.dtype, arena.bytes),
      );
      for (const [value, { arena, offset }] of plan.places)
        storage.set(value, partOf(owned[arena] as GpuArray, value, offset, batch));
      for (const value of ends) {
        const array = createValueArray(device, value, batch);
        owned.push(array);
        storage.set(value, array);
      }
      const overflow = createOverflow(device, label, calls);
      if (overflow) owned.push(arrayOf(overflow));
      const ranges = calls.map((call) => rangesOf(call, batch, leastPart));
      const params = uploadParams(device, label, calls, ranges, batch, storage);
      if (params) owned.push({ object: params.buffer, resource: { buffer: params.buffer }, bytes: params.buffer.size });
      const parts: Part[] = [];
      const dispatches = calls.map((call, i): Dispatch => {
        const resources = call.bound.map(
          (b): GPUBindingResource =>
            b.value === OVERFLOW
              ? { buffer: overflow as GPUBuffer }
              : (storage.get(b.value)?.resource as GPUBindingResource),
        );
        if (call.frame && !init.frame) throw new TypeError(`internal: ${label}: ${call.kernel} needs a frame buffer`);
        // Bindings for every part: a dynamic offset instead would cost every dispatch, and few are ever parted.
        const bind = (block: number) => {
          const all = [...resources];
          if (params)
            all.push({ buffer: params.buffer, offset: block * params.stride, size: params.sizes[i] as number });
          if (call.frame) all.push({ buffer: init.frame as GPUBuffer });
          return device.gpu.createBindGroup({
            label: call.label,
            layout: device.pipelines.layout(call.kinds),
            entries: all.map((resource, binding) => ({ binding, resource })),
          });
        };
        const own = (ranges[i] as [number, number][]).map(([first, count], k) => {
          return { first, count, bindings: bind(parts.length + k) };
        });
        const pipeline = pipelines[i] as GPUComputePipeline;
        const [grid, cost] = [call.grid(batch), call.cost(batch)];
        const dispatch = { call, pipeline, bindings: (own[0] as (typeof own)[number]).bindings, grid, cost };
        const whole = call.parts === "x" ? grid[0] : grid[1];
        parts.push(...own.map((part) => ({ ...part, dispatch, flops: (cost.flops * part.count) / whole })));
        return dispatch;
      });
      return new Program(device, label, batch, dispatches, parts, plan, storage, owned, overflow, init.frame);
    });
  }

  encode(encoder: GPUCommandEncoder, from = 0, to = this.parts.length): void {
    encodeParts(encoder, this.parts, from, to);
  }

  /** Says which evaluation is under way, by the frame: overflows are recorded under it. */
  encodeStepNumber(encoder: GPUCommandEncoder): void {
    if (this.overflow && this.frame)
      encoder.copyBufferToBuffer(this.frame, frameRecord.offset("row"), this.overflow, 0, 4);
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

  /** Releases arenas, ends and parameters; external storage stays the caller's. */
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

/** The uniforms of all parts of all calls in one buffer, each at an aligned offset; `sizes` by call. */
function uploadParams(
  device: Device,
  label: string,
  calls: readonly KernelCall[],
  ranges: readonly (readonly [number, number][])[],
  batch: number,
  storage: ReadonlyMap<Value, GpuArray>,
) {
  if (calls.length === 0) return undefined;
  const offsetOf = (value: Value) => storage.get(value)?.offset ?? 0;
  const blocksOf = calls.map((call, i) => (ranges[i] ?? []).map(([first]) => call.params(batch, offsetOf, i, first)));
  const sizes = blocksOf.map(([block]) => block?.byteLength ?? 0);
  const blocks = blocksOf.flat();
  const align = device.gpu.limits.minUniformBufferOffsetAlignment;
  const stride = Math.ceil(Math.max(...sizes) / align) * align;
  const words = new Uint32Array((stride / 4) * blocks.length);
  blocks.forEach((block, i) => words.set(block, (stride / 4) * i));
  return { buffer: uploadBuffer(device, `${label} params`, words, GPUBufferUsage.UNIFORM), stride, sizes };
}
