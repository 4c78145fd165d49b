/** A network's weights on the GPU: matched against the checkpoint, streamed, packed; shared by every size and batch. */
import { loadRecipes, type ParamPiece, type RawDType } from "../kernels/load.ts";
import { locateParams, type Recipe } from "../kernels/recipes.ts";
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
  names: readonly string[],
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

/** The parameters of some recipes, each once. */
function parameterNames(recipes: readonly Recipe[]): string[] {
  const names = new Set<string>();
  for (const recipe of recipes) {
    if (recipe.kind === "table") names.add(recipe.param.name);
    if (recipe.kind === "conv") for (const { param } of recipe.parts) names.add(param.name);
    if (recipe.kind === "vector") for (const { params } of recipe.parts) for (const { name } of params) names.add(name);
  }
  return [...names];
}

/** @throws DeviceError when a layer's weights are larger than what one binding holds: they are not split */
function checkRoom(device: Device, recipes: readonly Recipe[]): void {
  const values = tooLarge(
    device,
    recipes.map(({ value }) => value),
  );
  const [first] = values;
  if (!first) return;
  const others = values.length > 1 ? `, and ${values.length - 1} others` : "";
  throw new DeviceError(
    "out-of-memory",
    `the weights ${first.name} take ${Math.ceil(byteSize(first, 1) / 2 ** 20)} MiB${others}: more than one binding of ${device.name} can hold`,
  );
}

/**
 * Arrays by the name of the value they fill. Graphs of other sizes ask for the same names, or for other forms of the same
 * weights, which are then read from the checkpoint.
 */
export class WeightStore {
  readonly #arrays = new Map<string, GpuArray>();
  #disposed = false;

  private constructor(
    private readonly device: Device,
    private readonly target: Target,
    private readonly checkpoint: Checkpoint,
    private readonly locate: WeightOptions["locate"],
    private readonly judge: Judge,
  ) {}

  /** Bytes of GPU memory held. */
  get bytes(): number {
    return [...this.#arrays.values()].reduce((sum, a) => sum + a.bytes, 0);
  }

  static async load(
    device: Device,
    target: Target,
    recipes: readonly Recipe[],
    checkpoint: Checkpoint,
    options: WeightOptions,
  ): Promise<WeightStore> {
    const store = new WeightStore(device, target, checkpoint, options.locate, options.judge ?? strict);
    try {
      await store.#add(recipes, options);
      return store;
    } catch (error) {
      store.dispose();
      throw error;
    }
  }

  async #add(recipes: readonly Recipe[], options: WeightOptions): Promise<void> {
    // A convolution that runs twice names its weights twice.
    const unique = [...new Map(recipes.map((recipe) => [recipe.value.name, recipe])).values()];
    checkRoom(this.device, unique);
    const located = this.locate ? locateParams(unique, this.locate) : unique;
    const convs = located.filter((recipe) => recipe.kind === "conv");
    const { packed, signal, onProgress } = options;
    const { device, target, checkpoint } = this;
    const packing = packed && (await import("./packed.ts"));
    const kept =
      packed && (await packing?.loadPacked(device, target, convs, checkpoint, packed, { signal, onProgress }));
    const rest = kept ? located.filter(({ kind }) => kind !== "conv") : located;
    const streamed = pieces(checkpoint, parameterNames(rest), options);
    let cut = false;
    const judge: Judge = (failure) => {
      cut ||= failure !== undefined;
      this.judge(failure);
    };
    const made = await loadRecipes(device, target, rest, streamed, decode, judge).catch((error) => {
      for (const { object } of kept?.values() ?? []) device.release(object);
      throw error;
    });
    const arrays = new Map([...made, ...[...(kept ?? [])].map(([{ value }, array]) => [value, array] as const)]);
    for (const [value, array] of arrays) {
      // Somebody else may have loaded it meanwhile, or freed everything.
      if (this.#disposed || this.#arrays.has(value.name)) device.release(array.object);
      else this.#arrays.set(value.name, array);
    }
    // Weights that were cut are judged at every load.
    if (!packed || kept || cut || this.#disposed) return;
    const own = convs.map((recipe) => [recipe, arrays.get(recipe.value) as GpuArray] as const);
    await packing?.savePacked(device, target, new Map(own), checkpoint, packed);
  }

  /** The arrays for a lowering's own values. */
  async resolve(recipes: readonly Recipe[], signal?: AbortSignal): Promise<Map<Value, GpuArray>> {
    const missing = recipes.filter(({ value }) => !this.#arrays.has(value.name));
    if (missing.length > 0) await this.#add(missing, { signal });
    return new Map(recipes.map(({ value }) => [value, this.#arrays.get(value.name) as GpuArray]));
  }

  dispose(): void {
    this.#disposed = true;
    for (const { object } of this.#arrays.values()) this.device.release(object);
  }
}
