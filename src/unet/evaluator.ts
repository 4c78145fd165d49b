/**
 * A UNet ready to run at one size and number of rows: the state's buffer, the program of one evaluation, and the program
 * that fills the time-embedding table for a stretch of steps. Rows are images, or twice that with guidance.
 */
import { type Lowered, lowerGraph } from "../kernels/lower.ts";
import type { Recipe } from "../kernels/recipes.ts";
import { maxBatch } from "../network/limits.ts";
import { pinValues } from "../network/taps.ts";
import type { WeightStore } from "../network/weights.ts";
import type { Device } from "../runtime/device.ts";
import { frameRecord } from "../runtime/frame.ts";
import type { KernelCall, Target } from "../runtime/kernel.ts";
import { toRows } from "../runtime/layout.ts";
import { arrayOf, createValueArray, type GpuArray, uploadBuffer } from "../runtime/memory.ts";
import type { Overflow } from "../runtime/overflow.ts";
import { planMemory } from "../runtime/planner.ts";
import { Program } from "../runtime/program.ts";
import { byteSize, type Value } from "../runtime/values.ts";
import { buildUNet, type Network, type NetworkInit } from "./build.ts";
import type { UNetSpec } from "./spec.ts";
import { paddedRows, StepEmbeddings } from "./stepEmbeddings.ts";

/** A network lowered for a target: independent of batch and steps. */
export interface LoweredNetwork {
  readonly network: Network;
  readonly main: Lowered;
  readonly embed: Lowered;
  /** Keys and values of attention to the context, once per run. */
  readonly context: Lowered | null;
  /** Of all parts together. */
  readonly calls: readonly KernelCall[];
  readonly recipes: readonly Recipe[];
}

/** @param pin values inside the network that shall be outputs too, and so be there after an evaluation */
export function lowerNetwork(
  spec: UNetSpec,
  target: Target,
  init: Omit<NetworkInit, "storage">,
  pin?: (network: Network) => readonly Value[],
): LoweredNetwork {
  const network = buildUNet(spec, { ...init, storage: target.storage });
  if (pin) pinValues([network.main, network.embed], pin(network));
  const [main, embed] = [network.main, network.embed].map((graph) => lowerGraph(graph, target)) as [Lowered, Lowered];
  const context = network.context && lowerGraph(network.context.graph, target);
  const parts = [main, embed, ...(context ? [context] : [])];
  const [calls, recipes] = [parts.flatMap((part) => part.calls), parts.flatMap((part) => part.recipes)];
  return { network, main, embed, context, calls, recipes };
}

/** Values that an evaluator keeps for all its steps, beside the table; a row of each per image. */
function keptValues({ sample, concat, main, embed, projections, context }: Network): Value[] {
  const embedded = embed.outputs.filter((value) => value !== projections);
  const given = [sample, ...(concat ? [concat] : [])];
  return [...given, ...main.outputs, ...embedded, ...(context ? [context.input, ...context.graph.outputs] : [])];
}

/** Bytes that an evaluator of so many rows allocates beside the weights. */
export function plannedBytes({ network, main }: LoweredNetwork, rows: number): { bytes: number; lowerBound: number } {
  const kept = keptValues(network);
  const external = new Set([...kept, network.table, ...main.recipes.map((r) => r.value)]);
  const plan = planMemory(main.calls, external, rows);
  const state = kept.reduce((sum, value) => sum + byteSize(value, rows), 0);
  return { bytes: plan.bytes + state, lowerBound: plan.lowerBound + state };
}

/** Most rows that the device's bindings allow for any one value of the network. */
export function maxRows(device: Device, { main, context }: LoweredNetwork): number {
  return maxBatch(device, [...main.calls, ...(context?.calls ?? [])]);
}

export interface EvaluatorInit {
  readonly rows: number;
  /** How many of the first rows can also be evaluated without the others. */
  readonly leading?: number;
  /** One entry per step of a loop (all rows alike), or per row for a single evaluation; [entries, width]. */
  readonly timesteps: Float32Array;
  readonly steps: number;
  /** Class labels per row, or vectors [rows, width]. */
  readonly classes?: Uint32Array<ArrayBuffer> | Float32Array;
  /** Added conditions, [rows, width]. */
  readonly added?: Float32Array;
  /** What is added to the timesteps' sinusoids, [rows, width]; nothing where it is left out. */
  readonly timestepCond?: Float32Array;
  /** [rows, length, width], as long as the network was lowered for. */
  readonly context?: Float32Array;
  /** What the network reads beside the state, [rows, C, H, W], where it was lowered to take that apart. */
  readonly concat?: Float32Array;
  readonly onCompile?: (done: number, of: number) => void;
}

export class Evaluator {
  #contextRead = false;

  private constructor(
    private readonly device: Device,
    readonly lowered: LoweredNetwork,
    readonly rows: number,
    /** The state, f32 [rows, H, W, C]. */
    readonly state: GPUBuffer,
    readonly output: GpuArray,
    readonly main: Program,
    /** The evaluation of the leading rows alone, in the memory of `main`. */
    readonly leading: Program | undefined,
    private readonly embed: Program,
    private readonly context: Program | undefined,
    private readonly embeddings: StepEmbeddings,
    private readonly frame: GPUBuffer,
    private readonly frames: GPUBuffer,
    private readonly owned: readonly GpuArray[],
  ) {}

  static async create(
    device: Device,
    lowered: LoweredNetwork,
    weights: WeightStore,
    init: EvaluatorInit,
  ): Promise<Evaluator> {
    const { network, main, embed } = lowered;
    const { rows, steps, timesteps } = init;
    const owned: GpuArray[] = [];
    const programs: Program[] = [];
    try {
      const made = await device.allocate("the sampler's state", () => {
        const keep = <T extends GpuArray>(array: T): T => {
          owned.push(array);
          return array;
        };
        const upload = (name: string, data: ArrayBufferView, usage?: number) =>
          keep(arrayOf(uploadBuffer(device, name, data, usage)));
        const create = (value: Value, batch: number) => keep(createValueArray(device, value, batch));
        const frames = frameRecord.pack(Array.from({ length: steps }, (_, row) => ({ row })));
        const { UNIFORM, COPY_DST, COPY_SRC } = GPUBufferUsage;
        const labels = init.classes instanceof Uint32Array ? init.classes : undefined;
        const embeddings = new StepEmbeddings(network, { rows, steps, timesteps, labels, create, upload });
        const uploaded = [network.context?.input, network.concat];
        const kept = keptValues(network).filter((value) => !uploaded.includes(value));
        const external = new Map<Value, GpuArray>([
          ...kept.map((value) => [value, create(value, rows)] as const),
          ...embeddings.arrays,
        ]);
        const { classes, added, timestepCond, context } = network;
        const input = <T extends ArrayBufferView>(
          value: Value,
          data: T | undefined,
          rows: (data: T) => ArrayBufferView,
        ) => {
          if (!data) throw new TypeError(`internal: a network that takes ${value.name} was given none`);
          external.set(value, upload(value.name, rows(data)));
        };
        if (classes?.kind === "vectors")
          input(classes.vectors, init.classes as Float32Array, (data) => paddedRows(classes.vectors, data, 1));
        if (added) input(added, init.added, (data) => paddedRows(added, data, 1));
        if (timestepCond) {
          const none = () => new Float32Array(rows * (timestepCond.shape[1] as number));
          input(timestepCond, init.timestepCond ?? none(), (data) => paddedRows(timestepCond, data, 1));
        }
        const { concat } = network;
        if (concat) {
          const [height, width, channels] = concat.shape as [number, number, number];
          input(concat, init.concat, (data) => toRows(data, rows, channels, height * width));
        }
        if (context) input(context.input, init.context, (data) => paddedRows(context.input, data, 1));
        return {
          external,
          embeddings,
          frame: upload("frame", new Uint32Array(4), UNIFORM | COPY_DST).object as GPUBuffer,
          frames: upload("frames", frames, COPY_SRC).object as GPUBuffer,
        };
      });
      const { external, embeddings, frame } = made;
      const ready = new Map<string, [number, number]>();
      const report = (label: string) => (done: number, of: number) => {
        ready.set(label, [done, of]);
        const sums = [...ready.values()].reduce(([d, o], [d2, o2]) => [d + d2, o + o2], [0, 0] as [number, number]);
        init.onCompile?.(...sums);
      };
      const create = async (label: string, calls: Lowered["calls"], batch: number, all: Program["storage"]) => {
        const onCompile = report(label);
        const program = await Program.create(device, { label, calls, batch, external: all, frame, onCompile });
        programs.push(program);
        return program;
      };
      const compile = async (label: string, { calls, recipes }: Lowered, batch: number) =>
        create(label, calls, batch, new Map([...external, ...(await weights.resolve(recipes))]));
      const [mainProgram, embedProgram, contextProgram] = await Promise.all([
        compile("unet", main, rows),
        compile("time embedding", embed, embeddings.batch),
        lowered.context ? compile("context", lowered.context, rows) : undefined,
      ]);
      const { leading } = init;
      const part =
        leading && (await create(`${mainProgram.label}, leading rows`, main.calls, leading, mainProgram.storage));
      const state = external.get(network.sample)?.object as GPUBuffer;
      const output = external.get(network.output) as GpuArray;
      return new Evaluator(
        device,
        lowered,
        rows,
        state,
        output,
        mainProgram,
        part || undefined,
        embedProgram,
        contextProgram,
        embeddings,
        frame,
        made.frames,
        owned,
      );
    } catch (error) {
      for (const program of programs) program.dispose();
      for (const { object } of owned) device.release(object);
      throw error;
    }
  }

  /** The uniform that kernels of a step read. */
  get frameBuffer(): GPUBuffer {
    return this.frame;
  }

  /**
   * Records what a step needs before its evaluation: its frame, its time embeddings, and what is not there yet of the
   * context's keys and values.
   */
  begin(encoder: GPUCommandEncoder, step: number): void {
    encoder.copyBufferToBuffer(this.frames, step * 16, this.frame, 0, 16);
    for (const program of this.#programs) program.encodeStepNumber(encoder, this.frames, step * 16);
    if (!this.#contextRead) this.context?.encode(encoder);
    this.#contextRead = true;
    this.embeddings.begin(encoder, step, this.embed);
  }

  get #programs(): Program[] {
    return [this.main, this.embed, this.leading, this.context].filter((program) => program !== undefined);
  }

  /** Layers whose numbers f16 could not hold so far; reads back, where anything is stored as f16. */
  async overflows(): Promise<Overflow[]> {
    return (await Promise.all(this.#programs.map((program) => program.overflows()))).flat();
  }

  /** Lets the next step compute everything anew, as evaluations outside of a loop have to. */
  forget(): void {
    this.embeddings.forget();
    this.#contextRead = false;
  }

  /** Bytes of GPU memory held beside the weights. */
  get bytes(): number {
    const plans = [this.main, this.embed, this.context].reduce((sum, program) => sum + (program?.plan.bytes ?? 0), 0);
    return this.owned.reduce((sum, a) => sum + a.bytes, 0) + plans;
  }

  dispose(): void {
    for (const program of this.#programs) program.dispose();
    for (const { object } of this.owned) this.device.release(object);
  }
}
