/**
 * Half of an autoencoder on a device, at one size and number of images: it reads a buffer and leaves its result on the
 * GPU. `Coder` takes images whole; tiled.ts takes them in pieces behind the same interface.
 */
import { type Lowered, lowerGraph } from "../kernels/lower.ts";
import { distinct, type Weight } from "../kernels/weights.ts";
import { maxBatch } from "../network/limits.ts";
import { pinValues } from "../network/taps.ts";
import type { Weights } from "../network/weights.ts";
import type { Device } from "../runtime/device.ts";
import type { Target } from "../runtime/kernel.ts";
import { arrayOf, createValueArray, type GpuArray } from "../runtime/memory.ts";
import { Pacer } from "../runtime/pacer.ts";
import { planMemory } from "../runtime/planner.ts";
import { Program, type Replay } from "../runtime/program.ts";
import { byteSize, type DType, type Value } from "../runtime/values.ts";
import { buildDecoder, buildEncoder, type CoderNetwork } from "./network.ts";
import { type AutoencoderSpec, latentScale, ownLatents } from "./spec.ts";

/** A half lowered for a target: independent of how many images. */
export interface LoweredCoder {
  readonly network: CoderNetwork;
  readonly lowered: Lowered;
}

/** What of a half's work is a choice. `height`, `width`: of the input. */
export interface CoderChoices {
  readonly height: number;
  readonly width: number;
  readonly dtype: Exclude<DType, "u32">;
}

export interface DecoderChoices extends CoderChoices {
  readonly quantize: boolean;
  readonly scale: number;
  readonly shift: number;
}

/** Values inside the network that shall be outputs too, and so be there after an evaluation. */
export type PinValues = (network: CoderNetwork) => readonly Value[];

function lower(network: CoderNetwork, target: Target, pin?: PinValues): LoweredCoder {
  if (pin) pinValues([network.graph], pin(network));
  return { network, lowered: lowerGraph(network.graph, target) };
}

export const lowerEncoder = (
  spec: AutoencoderSpec,
  target: Target,
  choices: CoderChoices,
  pin?: PinValues,
): LoweredCoder => lower(buildEncoder(spec, { ...choices, storage: target.storage }), target, pin);

export const lowerDecoder = (
  spec: AutoencoderSpec,
  target: Target,
  choices: DecoderChoices,
  pin?: PinValues,
): LoweredCoder => lower(buildDecoder(spec, { ...choices, storage: target.storage }), target, pin);

export type Half = "encode" | "decode";

/** What each half reads, in the forms that the autoencoder's own size wants. */
export function ownWeights(
  spec: AutoencoderSpec,
  target: Target,
  dtype: CoderChoices["dtype"],
): Readonly<Record<Half, ReadonlyMap<string, Weight>>> {
  const { height, width } = ownLatents(spec);
  const image = { height: height * latentScale(spec), width: width * latentScale(spec), dtype };
  const latents = { height, width, dtype, quantize: spec.kind === "vq", scale: 1, shift: 0 };
  return {
    encode: distinct(lowerEncoder(spec, target, image).lowered.weights),
    decode: distinct(lowerDecoder(spec, target, latents).lowered.weights),
  };
}

/** What a coder binds beside its weights: input, results, indices. */
function ends({ graph, input, output, indices }: CoderNetwork): Value[] {
  return [...new Set([input, output, ...(indices ? [indices] : []), ...graph.outputs])];
}

/** Bytes of GPU memory that so many images take beside the weights. */
export function coderBytes({ network, lowered }: LoweredCoder, images: number): number {
  const external = new Set([...ends(network), ...lowered.weights.map(({ value }) => value)]);
  const own = ends(network).reduce((sum, value) => sum + byteSize(value, images), 0);
  return planMemory(lowered.calls, external, images).bytes + own;
}

/** Most images that the device's bindings allow; 0 where not even one fits. */
export const coderImages = (device: Device, { lowered }: LoweredCoder): number => maxBatch(device, lowered.calls);

export interface CoderInit {
  readonly images: number;
  /** The input, brought and kept by the caller; else the coder has its own. May hold more images than are taken. */
  readonly input?: GPUBuffer;
  readonly onCompile?: (done: number, of: number) => void;
}

/** Work on the GPU from a buffer to an array, replayed at will. */
export interface GpuCoder {
  readonly images: number;
  /** f32 [images, H, W, C padded to vec4], the padding zero. */
  readonly input: GPUBuffer;
  /** f32 [images, H, W, C]; stored as `output.value` says. */
  readonly output: { readonly value: Value; readonly array: GpuArray };
  /** u32 [images, H, W]: entries of the codebook, where a decoder quantises. */
  readonly indices: GpuArray | null;
  /** The work: `Pacer.segments` cuts it into submissions. */
  readonly program: Replay;
  /** Bytes of GPU memory held, what the caller brought aside. */
  readonly bytes: number;
  dispose(): void;
}

export class Coder implements GpuCoder {
  private constructor(
    private readonly device: Device,
    readonly images: number,
    readonly input: GPUBuffer,
    readonly output: GpuCoder["output"],
    readonly indices: GpuArray | null,
    readonly program: Program,
    private readonly owned: readonly GpuArray[],
  ) {}

  /** @throws DeviceError "out-of-memory"; nothing stays allocated */
  static async create(
    device: Device,
    { network, lowered }: LoweredCoder,
    weights: Weights,
    { images, input, onCompile }: CoderInit,
  ): Promise<Coder> {
    const owned: GpuArray[] = [];
    try {
      const external = await device.allocate("an autoencoder's input and output", () => {
        const arrays = ends(network).map((value): [Value, GpuArray] => {
          if (value === network.input && input) return [value, arrayOf(input)];
          const array = createValueArray(device, value, images);
          owned.push(array);
          return [value, array];
        });
        return new Map(arrays);
      });
      const program = await Program.create(device, {
        label: network.input.name === "image" ? "encoder" : "decoder",
        calls: lowered.calls,
        batch: images,
        external: new Map([...external, ...(await weights.arrays(lowered.weights))]),
        onCompile,
      });
      const arrayAt = (value: Value) => external.get(value) as GpuArray;
      const output = { value: network.output, array: arrayAt(network.output) };
      const indices = network.indices && arrayAt(network.indices);
      return new Coder(device, images, arrayAt(network.input).object as GPUBuffer, output, indices, program, owned);
    } catch (error) {
      for (const { object } of owned) device.release(object);
      throw error;
    }
  }

  get bytes(): number {
    return this.owned.reduce((sum, array) => sum + array.bytes, 0) + this.program.plan.bytes;
  }

  dispose(): void {
    this.program.dispose();
    for (const { object } of this.owned) this.device.release(object);
  }
}

/**
 * Runs a coder on the GPU to its end.
 * @param check throws when the work shall stop
 */
export async function runCoder(device: Device, { program }: GpuCoder, check: () => void): Promise<void> {
  const pacer = new Pacer(device);
  try {
    for (const { from, to, flops } of pacer.segments(program)) {
      const encoder = device.gpu.createCommandEncoder();
      program.encode(encoder, from, to);
      await pacer.room();
      check();
      pacer.submit(encoder.finish(), flops);
    }
    await pacer.drain();
  } finally {
    await pacer.drain().catch(() => {});
  }
}
