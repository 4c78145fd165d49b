/**
 * A network's weights on the GPU: matched against the checkpoint, streamed and packed once, in the forms that the network's
 * own size wants; what other sizes want otherwise is made of these.
 */
import { deriveWeights } from "../kernels/derive.ts";
import { loadWeights, type ParamPiece, type RawDType } from "../kernels/load.ts";
import { distinct, isPacked, keyOf, type Weight } from "../kernels/weights.ts";
import type { Device } from "../runtime/device.ts";
import { DeviceError } from "../runtime/errors.ts";
import { type Judge, strict } from "../runtime/finite.ts";
import type { Target } from "../runtime/kernel.ts";
import type { GpuArray } from "../runtime/memory.ts";
import { byteSize, type Value } from "../runtime/values.ts";
import type { Checkpoint } from "../weights/checkpoint.ts";
import { decodeFloats } from "../weights/convert.ts";
import type { LocateTensor } from "../weights/match.ts";
import type { LoadProgress } from "../weights/stream.ts";
import { tooLarge } from "./limits.ts";
import type { PackedWeights } from "./packed.ts";

export interface WeightOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: LoadProgress) => void;
  /** Where the parameters are in the checkpoint; default: in tensors of their names. */
  readonly locate?: LocateTensor;
  /** Packed weights of earlier loads. */
  readonly packed?: PackedWeights;
  /** Hears of weights that f16 cannot hold; default: they are errors. */
  readonly judge?: Judge;
}

const RAW: Readonly<Record<string, RawDType>> = { F32: "f32", F16: "f16", BF16: "bf16" };

/** The checkpoint's bytes as the packing kernel takes them; F64 is converted here, everything else on the GPU. */
async function* pieces(
  checkpoint: Checkpoint,
  names: Iterable<string>,
  options: WeightOptions,
): AsyncGenerator<ParamPiece> {
  for await (const { name, tensor, offset, bytes } of checkpoint.pieces(names, options)) {
    const raw = RAW[tensor.dtype];
    const total = tensor.end - tensor.start;
    if (raw) {
      yield { name, dtype: raw, offset, total, bytes };
      continue;
    }
    const values = decodeFloats(tensor.dtype, bytes, new Float32Array(bytes.byteLength / 8));
    yield { name, dtype: "f32", offset: offset / 2, total: total / 2, bytes: new Uint8Array(values.buffer) };
  }
}

const FILE_DTYPE = { f32: "F32", f16: "F16", bf16: "BF16" } as const;

function decode({ dtype, bytes }: ParamPiece): Float32Array {
  return decodeFloats(FILE_DTYPE[dtype], bytes, new Float32Array(bytes.byteLength / (dtype === "f32" ? 4 : 2)));
}

/** @throws DeviceError when a layer's weights are larger than what one binding holds: they are not split */
function checkRoom(device: Device, weights: readonly Weight[]): void {
  const values = tooLarge(
    device,
    weights.map(({ value }) => value),
  );
  const [first] = values;
  if (!first) return;
  const others = values.length > 1 ? `, and ${values.length - 1} others` : "";
  throw new DeviceError(
    "out-of-memory",
    `the weights ${first.name} take ${Math.ceil(byteSize(first, 1) / 2 ** 20)} MiB${others}: more than one binding of ${device.name} can hold`,
  );
}

export class Weights {
  #disposed = false;
  readonly #owned: GpuArray[] = [];

  private constructor(
    private readonly device: Device,
    private readonly target: Target,
    /** By {@link keyOf}. */
    private readonly held: Map<string, { readonly weight: Weight; readonly array: GpuArray }>,
  ) {}

  /** Bytes of GPU memory held. */
  get bytes(): number {
    return this.#owned.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /**
   * @param wanted of the network at its own size
   * @throws DeviceError "out-of-memory"; FileError; the signal's reason; nothing stays allocated
   */
  static async load(
    device: Device,
    target: Target,
    wanted: Iterable<Weight>,
    checkpoint: Checkpoint,
    options: WeightOptions,
  ): Promise<Weights> {
    const { packed, signal, onProgress, locate = (param) => param, judge = strict } = options;
    const weights = [...distinct(wanted).values()];
    checkRoom(device, weights);
    // Copies: channels may be made each time that they are asked for.
    const located: Weight[] = weights.map((weight) => ({
      ...weight,
      // Shapes stay: a tensor may have its inputs and taps on one axis.
      params: weight.params.map((param) => ({ ...locate(param), shape: param.shape })),
    }));
    const convs = located.filter(isPacked);
    const packing = packed && (await import("./packed.ts"));
    const kept =
      packed && (await packing?.loadPacked(device, target, convs, checkpoint, packed, { signal, onProgress }));
    const rest = kept ? located.filter((weight) => !isPacked(weight)) : located;
    const others = new Map(packed?.others);
    const names = new Set(rest.flatMap(({ params }) => params.map(({ name }) => name)));
    for (const name of others.keys()) names.delete(name);
    let cut = false;
    const heard: Judge = (failure) => {
      cut ||= failure !== undefined;
      judge(failure);
    };
    const loaded = new Weights(device, target, new Map());
    loaded.#add(weights, kept ?? new Map());
    try {
      const streamed = pieces(checkpoint, names, options);
      const made = await loadWeights(device, target, rest, streamed, decode, heard, others);
      for (const [name, values] of others) packed?.others.set(name, values);
      loaded.#add(weights, made);
      // Weights that were cut are judged at every load.
      if (packed && !kept && !cut) {
        const arrays = new Map(convs.map((weight) => [weight, made.get(weight.value) as GpuArray]));
        await packing?.savePacked(device, target, arrays, checkpoint, packed);
      }
      return loaded;
    } catch (error) {
      loaded.dispose();
      throw error;
    }
  }

  /** Takes arrays of some weights; somebody else may have made the same meanwhile, or freed everything. */
  #add(weights: readonly Weight[], arrays: ReadonlyMap<Value, GpuArray>): void {
    for (const weight of weights) {
      const array = arrays.get(weight.value);
      if (!array) continue;
      if (this.#disposed || this.held.has(keyOf(weight))) this.device.release(array.object);
      else {
        this.held.set(keyOf(weight), { weight, array });
        this.#owned.push(array);
      }
    }
  }

  /** The arrays for a lowering's own values. Nothing is read but what is here. @throws DeviceError "out-of-memory" */
  async arrays(wanted: readonly Weight[]): Promise<Map<Value, GpuArray>> {
    const missing = wanted.filter((weight) => !this.held.has(keyOf(weight)));
    if (missing.length > 0) {
      checkRoom(this.device, missing);
      const there = [...this.held.values()].flatMap(({ weight, array }) =>
        isPacked(weight) ? [[weight, array] as const] : [],
      );
      const [convs, others] = [missing.filter(isPacked), missing.filter((weight) => !isPacked(weight))];
      this.#add(convs, await deriveWeights(this.device, this.target, convs, new Map(there)));
      // Zeros, and positions of channels.
      this.#add(others, await loadWeights(this.device, this.target, others, nothing(), decode));
    }
    return new Map(wanted.map((weight) => [weight.value, this.held.get(keyOf(weight))?.array as GpuArray]));
  }

  /** These, for a while: what is made of them for this one is freed with it, what is here stays. */
  borrow(): Weights {
    return new Weights(this.device, this.target, new Map(this.held));
  }

  dispose(): void {
    this.#disposed = true;
    for (const { object } of this.#owned.splice(0)) this.device.release(object);
  }
}

async function* nothing(): AsyncGenerator<never> {}
