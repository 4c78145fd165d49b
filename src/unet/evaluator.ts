/**
 * A UNet ready to run at one size and batch: the program of one evaluation, and the programs of what is the same
 * for all or for many of them. What it reads and writes is its caller's. A batch is images, or twice as many with guidance.
 */
import type { Lowered } from "../kernels/lower.ts";
import type { Weights } from "../network/weights.ts";
import type { Device } from "../runtime/device.ts";
import { frameRecord } from "../runtime/frame.ts";
import { toChannelsLast } from "../runtime/layout.ts";
import { arrayOf, createValueArray, type GpuArray, uploadBuffer } from "../runtime/memory.ts";
import type { Overflow } from "../runtime/overflow.ts";
import { Program } from "../runtime/program.ts";
import type { Value } from "../runtime/values.ts";
import { keptValues, type LoweredNetwork } from "./lowered.ts";
import { paddedVectors, StepEmbeddings } from "./stepEmbeddings.ts";

/** What an evaluation reads and writes. */
export interface NetworkState {
  /** The network's input, or the part of it that is not given by `concat`: f32 [batch, H, W, C]. */
  readonly x: GpuArray;
  /** The network's output, as its value says. */
  readonly output: GpuArray;
  /** The uniform that tells one evaluation from the next, a {@link frameRecord}. */
  readonly frame: GPUBuffer;
}

/** What a single evaluation reads and writes; the caller releases it. */
export function createState(device: Device, { network }: LoweredNetwork, batch: number): NetworkState {
  const { UNIFORM, COPY_SRC } = GPUBufferUsage;
  return {
    x: createValueArray(device, network.sample, batch),
    output: createValueArray(device, network.output, batch),
    frame: uploadBuffer(device, "frame", frameRecord.pack([{}]), UNIFORM | COPY_SRC),
  };
}

export function releaseState(device: Device, { x, output, frame }: NetworkState): void {
  for (const object of [x.object, output.object, frame]) device.release(object);
}

export interface EvaluatorInit {
  readonly batch: number;
  /** One entry per evaluation (the whole batch alike), or per image for a single one; [entries, width]. */
  readonly timesteps: Float32Array;
  readonly evaluations: number;
  /** Class labels per image, or vectors [batch, width]. */
  readonly classes?: Uint32Array<ArrayBuffer> | Float32Array;
  /** Added conditions, [batch, width]. */
  readonly added?: Float32Array;
  /** What is added to the timesteps' sinusoids, [batch, width]; nothing where it is left out. */
  readonly timestepCond?: Float32Array;
  /** [batch, length, width], as long as the network was lowered for. */
  readonly context?: Float32Array;
  /** What the network reads beside the state, [batch, C, H, W], where it was lowered to take that apart. */
  readonly concat?: Float32Array;
  readonly onCompile?: (done: number, of: number) => void;
}

interface Programs {
  /** The evaluation of the whole batch, and that of its first images alone, in the memory of `main`. */
  readonly main: Program;
  leading?: Program;
  readonly embed: Program;
  readonly context?: Program;
}

export class Evaluator {
  #contextRead = false;

  private constructor(
    private readonly device: Device,
    private readonly lowered: LoweredNetwork,
    private readonly frame: GPUBuffer,
    private readonly programs: Programs,
    private readonly embeddings: StepEmbeddings,
    private readonly owned: readonly GpuArray[],
  ) {}

  /** @param state what all evaluations read and write; it stays the caller's */
  static async create(
    device: Device,
    lowered: LoweredNetwork,
    weights: Weights,
    { x, output, frame }: NetworkState,
    init: EvaluatorInit,
  ): Promise<Evaluator> {
    const { network, main, embed } = lowered;
    const { batch, evaluations: steps, timesteps } = init;
    const owned: GpuArray[] = [];
    const programs: Program[] = [];
    try {
      const { external, embeddings } = await device.allocate("the network's inputs", () => {
        const keep = <T extends GpuArray>(array: T): T => {
          owned.push(array);
          return array;
        };
        const upload = (name: string, data: ArrayBufferView) => keep(arrayOf(uploadBuffer(device, name, data)));
        const make = (value: Value, n: number) => keep(createValueArray(device, value, n));
        const labels = init.classes instanceof Uint32Array ? init.classes : undefined;
        const embeddings = new StepEmbeddings(network, { batch, steps, timesteps, labels, create: make, upload });
        const others = [network.sample, network.output, network.context?.input, network.concat];
        const external = new Map<Value, GpuArray>([
          [network.sample, x],
          [network.output, output],
          ...keptValues(network)
            .filter((value) => !others.includes(value))
            .map((value) => [value, make(value, batch)] as const),
          ...embeddings.arrays,
        ]);
        const { classes, added, timestepCond, context, concat } = network;
        const input = <T extends ArrayBufferView>(
          value: Value,
          data: T | undefined,
          stored: (data: T) => ArrayBufferView,
        ) => {
          if (!data) throw new TypeError(`internal: a network that takes ${value.name} was given none`);
          external.set(value, upload(value.name, stored(data)));
        };
        if (classes?.kind === "vectors")
          input(classes.vectors, init.classes as Float32Array, (data) => paddedVectors(classes.vectors, data, 1));
        if (added) input(added, init.added, (data) => paddedVectors(added, data, 1));
        if (timestepCond) {
          const none = () => new Float32Array(batch * (timestepCond.shape[1] as number));
          input(timestepCond, init.timestepCond ?? none(), (data) => paddedVectors(timestepCond, data, 1));
        }
        if (concat) {
          const [height, width, channels] = concat.shape as [number, number, number];
          input(concat, init.concat, (data) => toChannelsLast(data, batch, channels, height * width));
        }
        if (context) input(context.input, init.context, (data) => paddedVectors(context.input, data, 1));
        return { external, embeddings };
      });
      const ready = new Map<string, [number, number]>();
      const report = (label: string) => (done: number, of: number) => {
        ready.set(label, [done, of]);
        const sums = [...ready.values()].reduce(([d, o], [d2, o2]) => [d + d2, o + o2], [0, 0] as [number, number]);
        init.onCompile?.(...sums);
      };
      const create = async (label: string, calls: Lowered["calls"], n: number, all: Program["storage"]) => {
        const onCompile = report(label);
        const program = await Program.create(device, { label, calls, batch: n, external: all, frame, onCompile });
        programs.push(program);
        return program;
      };
      const compile = async (label: string, part: Lowered, n: number) =>
        create(label, part.calls, n, new Map([...external, ...(await weights.arrays(part.weights))]));
      const [whole, embedding, context] = await Promise.all([
        compile("unet", main, batch),
        compile("time embedding", embed, embeddings.entries),
        lowered.context ? compile("context", lowered.context, batch) : undefined,
      ]);
      const all = { main: whole, embed: embedding, context };
      return new Evaluator(device, lowered, frame, all, embeddings, owned);
    } catch (error) {
      for (const program of programs) program.dispose();
      for (const { object } of owned) device.release(object);
      throw error;
    }
  }

  /** The evaluation of the whole batch. */
  get main(): Program {
    return this.programs.main;
  }

  /** That of the first `images` alone, always as many; made when it is first asked for. */
  async leading(images: number): Promise<Program> {
    const { lowered, frame, programs } = this;
    const { label, storage: external } = programs.main;
    const init = { label: `${label}, first images`, calls: lowered.main.calls, batch: images, external, frame };
    programs.leading ??= await Program.create(this.device, init);
    return programs.leading;
  }

  /**
   * Records what precedes an evaluation, whose frame is written: its time embeddings, and what is not there yet of the
   * context's keys and values.
   */
  begin(encoder: GPUCommandEncoder, evaluation: number): void {
    for (const program of this.#all) program.encodeStepNumber(encoder);
    if (!this.#contextRead) this.programs.context?.encode(encoder);
    this.#contextRead = true;
    this.embeddings.begin(encoder, evaluation, this.programs.embed);
  }

  get #all(): Program[] {
    return Object.values(this.programs as unknown as Record<string, Program | undefined>).filter(
      (p) => p !== undefined,
    );
  }

  /** Layers whose numbers f16 could not hold so far; reads back, where anything is stored as f16. */
  async overflows(): Promise<Overflow[]> {
    return (await Promise.all(this.#all.map((program) => program.overflows()))).flat();
  }

  /** Lets the next evaluation make everything anew, as for other inputs. */
  forget(): void {
    this.embeddings.forget();
    this.#contextRead = false;
  }

  dispose(): void {
    for (const program of this.#all) program.dispose();
    for (const { object } of this.owned) this.device.release(object);
  }
}
