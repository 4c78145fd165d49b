/**
 * Weights out of a checkpoint: streams the parameters to the GPU and packs them there, once. Those of convolutions travel
 * as the file's own bytes and are converted by the packing kernel; only vectors and embedding tables are handled on the
 * host. Raw tensors are packed and freed whenever {@link STAGING_BYTES} have gathered.
 */
import type { Device } from "../runtime/device.ts";
import { type Judge, overflowIn, strict } from "../runtime/finite.ts";
import type { Dims, Kernel, KernelCall, Target } from "../runtime/kernel.ts";
import { arrayOf, createValueArray, type GpuArray, uploadBuffer } from "../runtime/memory.ts";
import { Program } from "../runtime/program.ts";
import { ceilDiv, makeValue, type Value } from "../runtime/values.ts";
import { type PackFlags, packScalars, packWeights } from "./pack.ts";
import { packWinograd } from "./software/winograd/pack.ts";
import { contents, isPacked, type PackedForm, type PackedPlace, positionChannels, type Weight } from "./weights.ts";

export type RawDType = "f32" | "f16" | "bf16";

/** Consecutive bytes of one parameter. */
export interface ParamPiece {
  readonly name: string;
  readonly dtype: RawDType;
  /** Byte offset in the parameter; a multiple of 4. */
  readonly offset: number;
  /** Bytes of the whole parameter. */
  readonly total: number;
  readonly bytes: Uint8Array;
}

const STAGING_BYTES = 64 * 2 ** 20;

/** Values of a piece of a small parameter as f32. */
export type Decode = (piece: ParamPiece) => Float32Array;

/** Arrays of packed weights while they are filled, with what their kernels read on the way. */
export class Packing {
  readonly arrays = new Map<Value, GpuArray>();
  #calls: KernelCall[] = [];
  #staged = new Map<Value, GpuArray>();

  constructor(
    private readonly device: Device,
    private readonly target: Target,
    private readonly judge: Judge = strict,
  ) {}

  /** Storage of everything that kernels fill, in one attempt, so that running out of memory leaves nothing behind. */
  allocate(weights: readonly Weight[]): Promise<void> {
    return this.device.allocate("the network's weights", () => {
      for (const { value } of weights.filter(isPacked)) this.arrays.set(value, createValueArray(this.device, value));
    });
  }

  /** A buffer of words that packing reads, and frees. */
  stage(name: string, words: number, buffer: GPUBuffer): Value {
    const value = makeValue({ name, shape: [words], batched: false, dtype: "u32", storage: "buffer" });
    this.#staged.set(value, arrayOf(buffer));
    return value;
  }

  /** @param source of the values in `tensors.raw`; `indices`: the other tensors that the kernel reads */
  add(
    { value }: Weight,
    kernel: Kernel<PackFlags>,
    source: PackFlags["source"],
    raw: Value,
    indices: Readonly<Record<string, Uint32Array>>,
    scalars: Dims,
  ): void {
    const tensors: Record<string, Value> = { raw, w: value };
    for (const [name, data] of Object.entries(indices)) {
      const label = `${raw.name} ${name}`;
      tensors[name] = this.stage(label, data.length, uploadBuffer(this.device, label, data));
    }
    // Shapes in a uniform everywhere: each tensor is packed once, a pipeline for each would cost more than it saves.
    const target: Target = { ...this.target, shapes: "uniform" };
    this.#calls.push(kernel.lower(target, raw.name, tensors, { source }, scalars));
  }

  /** Packs, and frees what was staged. @param others arrays that are read besides */
  async flush(others: Iterable<readonly [Value, GpuArray]> = []): Promise<void> {
    const calls = this.#calls.splice(0);
    const staged = this.#staged;
    this.#staged = new Map();
    try {
      if (calls.length === 0) return;
      const external = new Map([...others, ...staged, ...this.arrays]);
      const program = await Program.create(this.device, { label: "pack weights", calls, batch: 1, external });
      try {
        const encoder = this.device.gpu.createCommandEncoder();
        program.encode(encoder);
        this.device.submit([encoder.finish()]);
        await this.device.done();
        this.judge(overflowIn(await program.overflows()));
      } finally {
        program.dispose();
      }
    } finally {
      for (const { object } of staged.values()) this.device.release(object);
    }
  }

  dispose(): void {
    for (const { object } of [...this.#staged.values(), ...this.arrays.values()]) this.device.release(object);
  }
}

function wholeWords(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const aligned = bytes as Uint8Array<ArrayBuffer>;
  if (bytes.byteLength % 4 === 0) return aligned;
  const padded = new Uint8Array(ceilDiv(bytes.byteLength, 4) * 4);
  padded.set(bytes);
  return padded;
}

/** The weights that each parameter of packed ones is for, and which of their parameters it is. */
function usesOf(weights: readonly Weight[]): Map<string, (readonly [Weight<PackedForm>, number])[]> {
  const uses = new Map<string, (readonly [Weight<PackedForm>, number])[]>();
  for (const weight of weights.filter(isPacked))
    for (const [i, { name }] of weight.params.entries()) uses.set(name, [...(uses.get(name) ?? []), [weight, i]]);
  return uses;
}

/**
 * Loads what lowered kernels need. The caller owns the arrays.
 * @param pieces every parameter of the weights, each complete, pieces in order
 * @param judge hears of weights that f16 cannot hold
 * @param hosted values of parameters that are not packed, to which those of the pieces are added
 * @throws DeviceError "out-of-memory"; nothing stays allocated
 */
export async function loadWeights(
  device: Device,
  target: Target,
  weights: readonly Weight[],
  pieces: AsyncIterable<ParamPiece>,
  decode: Decode,
  judge: Judge = strict,
  hosted = new Map<string, Float32Array>(),
): Promise<Map<Value, GpuArray>> {
  const packing = new Packing(device, target, judge);
  /** Raw tensors of which more pieces are to come. */
  const open = new Map<string, GPUBuffer>();
  const uses = usesOf(weights);
  let stagedBytes = 0;
  try {
    await packing.allocate(weights);
    for await (const piece of pieces) {
      const { name, offset, total, bytes, dtype } = piece;
      const own = uses.get(name);
      if (!own) {
        const size = dtype === "f32" ? 4 : 2;
        const values = hosted.get(name) ?? new Float32Array(total / size);
        values.set(decode(piece), offset / size);
        hosted.set(name, values);
        continue;
      }
      const size = ceilDiv(total, 4) * 4;
      const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST;
      const buffer = open.get(name) ?? device.createBuffer({ label: name, size: Math.max(16, size), usage });
      open.set(name, buffer);
      device.gpu.queue.writeBuffer(buffer, offset, wholeWords(bytes));
      if (offset + bytes.byteLength < total) continue;
      open.delete(name);
      const raw = packing.stage(name, size / 4, buffer);
      for (const [weight, i] of own) {
        const { shape, channels } = weight.params[i] as Weight["params"][number];
        const { inputs, first, outputs } = weight.form.places[i] as PackedPlace;
        const indices = {
          inputs: positionChannels(inputs, first),
          outputs: positionChannels(outputs).map((channel) => channels?.[channel] ?? channel),
        };
        const kernel = weight.form.kind === "winograd" ? packWinograd : packWeights;
        packing.add(weight, kernel, dtype, raw, indices, { ...packScalars(weight.form, i), CI: shape[1] as number });
      }
      stagedBytes += size;
      if (stagedBytes <= STAGING_BYTES) continue;
      await packing.flush();
      stagedBytes = 0;
    }
    await packing.flush();
    for (const weight of weights) {
      if (isPacked(weight)) continue;
      const data = contents(weight, (name) => {
        const values = hosted.get(name);
        if (!values) throw new TypeError(`internal: parameter ${name} was not streamed`);
        return values;
      });
      packing.arrays.set(weight.value, arrayOf(uploadBuffer(device, weight.value.name, data)));
    }
    return packing.arrays;
  } catch (error) {
    for (const buffer of open.values()) device.release(buffer);
    packing.dispose();
    throw error;
  }
}
