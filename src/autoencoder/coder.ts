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
import { arrayOf, type GpuArray } from "../runtime/memory.ts";
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
  readonly input: GPUBuffer;
  readonly output: GpuCoder["output"];
  readonly indices: GpuArray | null;

  private constructor(
    { input, output, indices }: CoderNetwork,
    readonly images: number,
    readonly program: Program,
    /** Of the ends that are its own. */
    private readonly endBytes: number,
  ) {
    const at = (value: Value) => program.storage.get(value) as GpuArray;
    this.input = at(input).object as GPUBuffer;
    this.output = { value: output, array: at(output) };
    this.indices = indices && at(indices);
  }

  /** @throws DeviceError "out-of-memory"; nothing stays allocated */
  static async create(
    device: Device,
    { network, lowered }: LoweredCoder,
    weights: Weights,
    { images, input, onCompile }: CoderInit,
  ): Promise<Coder> {
    const own = ends(network).filter((value) => value !== network.input || !input);
    const given: [Value, GpuArray][] = input ? [[network.input, arrayOf(input)]] : [];
    const program = await Program.create(device, {
      label: network.input.name === "image" ? "encoder" : "decoder",
      calls: lowered.calls,
      batch: images,
      external: new Map([...given, ...(await weights.arrays(lowered.weights))]),
      ends: own,
      onCompile,
    });
    const bytes = own.reduce((sum, value) => sum + byteSize(value, images), 0);
    return new Coder(network, images, program, bytes);
  }

  get bytes(): number {
    return this.endBytes + this.program.plan.bytes;
  }

  dispose(): void {
    this.program.dispose();
  }
}
