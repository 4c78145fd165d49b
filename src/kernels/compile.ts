/** A network of one's own on the GPU: a graph, its parameters, and arrays in and out. */
import type { Device } from "../runtime/device.ts";
import { UsageError, UseAfterDisposeError, WeightError } from "../runtime/errors.ts";
import { overflowIn, strict } from "../runtime/finite.ts";
import type { GpuArray } from "../runtime/memory.ts";
import { checkOptions, type OptionNames } from "../runtime/options.ts";
import { runPaced } from "../runtime/pacer.ts";
import { Program } from "../runtime/program.ts";
import { channelGroups, channelPositions, unitCount, type Value } from "../runtime/values.ts";
import { inputsOf, loadArrays } from "./arrays.ts";
import type { Graph } from "./graph.ts";
import { lowerGraph } from "./lower.ts";
import { targetFor } from "./target.ts";

/** Arrays by name; of images, `[images, H, W, C]` with the channels last. */
export type Arrays = Readonly<Record<string, Float32Array>>;

export interface CompileOptions {
  /** Images of an evaluation; default 1. */
  readonly images?: number;
}

const OPTIONS: OptionNames<CompileOptions> = { images: "a number" };

const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** @throws UsageError for anything but an f32 array of that many numbers under every one of the names, and no others */
function checkArrays(what: string, arrays: Arrays, sizes: ReadonlyMap<string, number>): void {
  if (typeof arrays !== "object" || arrays === null)
    throw new UsageError(what, `${what} must be an object of Float32Arrays, got ${String(arrays)}`);
  const unknown = Object.keys(arrays).find((name) => !sizes.has(name));
  if (unknown !== undefined)
    throw new UsageError(what, `${what}: the graph has no ${unknown}; it has ${[...sizes.keys()].join(", ")}`);
  for (const [name, size] of sizes) {
    const array = arrays[name];
    if (!(array instanceof Float32Array) || array.length !== size)
      throw new UsageError(what, `${what}: ${name} must be a Float32Array of ${size} numbers`);
  }
}

/** @throws WeightError that names all that is missing, not used, or of another size */
function checkParams(graph: Graph, params: Arrays): void {
  const wanted = graph.params();
  const names = new Set(wanted.map(({ name }) => name));
  const missing = wanted.filter(({ name }) => !(params?.[name] instanceof Float32Array)).map(({ name }) => name);
  const unexpected = Object.keys(params ?? {}).filter((name) => !names.has(name));
  const mismatched = wanted.flatMap(({ name, shape }) => {
    const actual = params?.[name]?.length ?? 0;
    return missing.includes(name) || actual === product(shape) ? [] : [{ name, expected: shape, actual: [actual] }];
  });
  if (missing.length + unexpected.length + mismatched.length > 0)
    throw new WeightError("params", missing, unexpected, mismatched);
}

/** Where the channels of a pixel lie, of how many numbers. */
interface Places {
  readonly at: readonly number[];
  readonly of: number;
}

/** Of a value: one after the other, and as it is stored. */
function places({ segments }: Value): [Places, Places] {
  const stored = channelPositions(segments);
  return [
    { at: [...stored.keys()], of: stored.length },
    { at: stored, of: channelGroups(segments) * 4 },
  ];
}

function moved(data: Float32Array, from: Places, to: Places): Float32Array<ArrayBuffer> {
  const pixels = data.length / from.of;
  const result = new Float32Array(pixels * to.of);
  for (let p = 0; p < pixels; p++)
    for (let c = 0; c < from.at.length; c++)
      result[p * to.of + (to.at[c] as number)] = data[p * from.of + (from.at[c] as number)] as number;
  return result;
}

/** A graph with its weights on a device: {@link compileGraph} makes it. */
export class CompiledGraph {
  #last: Promise<unknown> = Promise.resolve();
  #disposed = false;
  #running = 0;

  /** @internal */
  constructor(
    private readonly device: Device,
    private readonly program: Program,
    private readonly weights: readonly GpuArray[],
    private readonly inputs: readonly Value[],
    private readonly outputs: readonly Value[],
  ) {}

  #sizes(values: readonly Value[]): Map<string, number> {
    return new Map(values.map(({ name, shape }) => [name, this.program.batch * product(shape)]));
  }

  /**
   * One evaluation; calls while another is under way wait for it.
   * @param inputs of every input of the graph, by its name, f32 [images, H, W, C]
   * @returns every output of the graph by its name, in the same form
   * @throws UsageError for an input that is missing, unknown or of another size, before anything runs; NonFiniteError where
   *   f16 cannot hold a number; DeviceError; UseAfterDisposeError
   */
  async run(inputs: Arrays): Promise<Record<string, Float32Array>> {
    if (this.#disposed) throw new UseAfterDisposeError("the compiled graph");
    checkArrays("inputs", inputs, this.#sizes(this.inputs));
    this.#running++;
    const result = this.#last
      .then(() => this.#run(inputs))
      .finally(() => {
        if (--this.#running === 0 && this.#disposed) this.#free();
      });
    this.#last = result.catch(() => {});
    return result;
  }

  async #run(inputs: Arrays): Promise<Record<string, Float32Array>> {
    const { device, program } = this;
    const arrayOf = (value: Value) => (program.storage.get(value) as GpuArray).object;
    for (const value of this.inputs) {
      const [own, stored] = places(value);
      device.gpu.queue.writeBuffer(
        arrayOf(value) as GPUBuffer,
        0,
        moved(inputs[value.name] as Float32Array, own, stored),
      );
    }
    await runPaced(device, program);
    strict(overflowIn(await program.overflows()));
    const results: Record<string, Float32Array> = {};
    for (const value of this.outputs) {
      const [own, stored] = places(value);
      const data = new Float32Array(await device.read(arrayOf(value), 16 * unitCount(value, program.batch)));
      results[value.name] = moved(data, stored, own);
    }
    return results;
  }

  /** Frees everything but the device, as soon as no evaluation is under way. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    if (this.#running === 0) this.#free();
  }

  #free(): void {
    this.program.dispose();
    for (const { object } of this.weights) this.device.release(object);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/**
 * Puts a network of one's own on the GPU: fuses the graph, chooses kernels for the device, compiles them, packs the
 * parameters.
 * @param graph its outputs f32 (`{ dtype: "f32" }` of the last convolution, where the graph is f16)
 * @param params every parameter that the graph reads, by name, in PyTorch's order: convolutions [out, in, height, width],
 *   linear layers [out, in], the rest [C]
 * @throws UsageError for an output or input that is not f32, or no output; WeightError for parameters that are missing, not
 *   used, or of another size; ShapeError where sizes do not fit; DeviceError
 */
export async function compileGraph(
  device: Device,
  graph: Graph,
  params: Arrays,
  options: CompileOptions = {},
): Promise<CompiledGraph> {
  checkOptions("compileGraph", options, OPTIONS);
  const { images = 1 } = options;
  if (!Number.isInteger(images) || images < 1 || images > 65535)
    throw new UsageError("images", `images must be a whole number from 1 to 65535, got ${images}`);
  const outputs = [...new Set(graph.outputs)];
  if (outputs.length === 0) throw new UsageError("graph", "the graph has no output: graph.output(value) names one");
  const target = targetFor(device);
  const lowered = lowerGraph(graph, target);
  // An output that no operation makes is an input as well.
  const made = new Set(graph.nodes.map((node) => node.y));
  const inputs = [...new Set([...inputsOf(lowered), ...outputs.filter((value) => !made.has(value))])];
  for (const { name, dtype } of [...inputs, ...outputs])
    if ([inputs, outputs].some((values) => values.filter((value) => value.name === name).length > 1))
      throw new UsageError("graph", `two inputs, or two outputs, of the graph are called ${name}`);
    else if (dtype !== "f32")
      throw new UsageError("graph", `${name} is ${dtype}; inputs and outputs of a graph must be f32`);
  checkParams(graph, params);
  const { calls, weights } = lowered;
  const loaded = await loadArrays(device, target, weights, Object.entries(params));
  try {
    const ends = [...new Set([...inputs, ...outputs])];
    const program = await Program.create(device, { label: "graph", calls, batch: images, external: loaded, ends });
    return new CompiledGraph(device, program, [...loaded.values()], inputs, outputs);
  } catch (error) {
    for (const { object } of loaded.values()) device.release(object);
    throw error;
  }
}
