/**
 * Follows recipes: streams a checkpoint's parameters to the GPU and packs them there, once. Convolution weights travel
 * as the file's own bytes and are converted by the packing kernel; only vectors and embedding tables are handled on the
 * host. Raw tensors are packed and freed whenever {@link STAGING_BYTES} have gathered.
 */
import type { Device } from "../runtime/device.ts";
import { type Judge, overflowIn, strict } from "../runtime/finite.ts";
import type { KernelCall, Target } from "../runtime/kernel.ts";
import { arrayOf, createValueArray, type GpuArray, uploadBuffer } from "../runtime/memory.ts";
import { Program } from "../runtime/program.ts";
import { ceilDiv, makeValue, padded4, type Value } from "../runtime/values.ts";
import { packWeights } from "./pack.ts";
import type { ConvPart, ConvRecipe, Recipe } from "./recipes.ts";
import { packWinograd } from "./software/winograd/pack.ts";

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

const rawBuffer = (name: string, words: number): Value =>
  makeValue({ name, shape: [words], batched: false, dtype: "u32", storage: "buffer" });

class Loader {
  readonly arrays = new Map<Value, GpuArray>();
  readonly #convs = new Map<string, { recipe: ConvRecipe; part: ConvPart }[]>();
  readonly #hosted = new Map<string, Float32Array>();
  /** Raw tensors of which more pieces are to come. */
  readonly #open = new Map<string, GPUBuffer>();
  #calls: KernelCall[] = [];
  #staged = new Map<Value, GpuArray>();
  #stagedBytes = 0;

  constructor(
    private readonly device: Device,
    private readonly target: Target,
    private readonly recipes: readonly Recipe[],
    private readonly judge: Judge,
  ) {
    for (const recipe of recipes)
      if (recipe.kind === "conv")
        for (const part of recipe.parts)
          this.#convs.set(part.param.name, [...(this.#convs.get(part.param.name) ?? []), { recipe, part }]);
  }

  /** Storage of everything that kernels fill, in one attempt, so that running out of memory leaves nothing behind. */
  allocate(): Promise<void> {
    return this.device.allocate("the network's weights", () => {
      for (const { kind, value } of this.recipes)
        if (kind === "conv") this.arrays.set(value, createValueArray(this.device, value));
    });
  }

  #stage(value: Value, buffer: GPUBuffer): Value {
    this.#staged.set(value, arrayOf(buffer));
    return value;
  }

  #stageIndices(name: string, data: Uint32Array): Value {
    return this.#stage(rawBuffer(name, data.length), uploadBuffer(this.device, name, data));
  }

  async take(pieces: AsyncIterable<ParamPiece>, decode: Decode): Promise<void> {
    for await (const piece of pieces) {
      const { name, offset, total, bytes, dtype } = piece;
      const whole = this.#convs.get(name);
      if (!whole) {
        const size = dtype === "f32" ? 4 : 2;
        const values = this.#hosted.get(name) ?? new Float32Array(total / size);
        values.set(decode(piece), offset / size);
        this.#hosted.set(name, values);
        continue;
      }
      const size = ceilDiv(total, 4) * 4;
      const buffer =
        this.#open.get(name) ??
        this.device.createBuffer({
          label: name,
          size: Math.max(16, size),
          usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST,
        });
      this.#open.set(name, buffer);
      this.device.gpu.queue.writeBuffer(buffer, offset, wholeWords(bytes));
      if (offset + bytes.byteLength < total) continue;
      this.#open.delete(name);
      const raw = this.#stage(rawBuffer(name, size / 4), buffer);
      for (const { recipe, part } of whole) this.#pack(recipe, part, raw, dtype);
      this.#stagedBytes += size;
      if (this.#stagedBytes > STAGING_BYTES) await this.flush();
    }
  }

  #pack(recipe: ConvRecipe, part: ConvPart, raw: Value, source: RawDType): void {
    const { lanes, span, value, winograd } = recipe;
    const kernel = winograd ? packWinograd : packWeights;
    const { param, group, outputs, inputs, taps, at } = part;
    const tensors = {
      raw,
      inputs: this.#stageIndices(`${param.name} inputs`, inputs),
      outputs: this.#stageIndices(`${param.name} outputs`, outputs),
      w: value,
    };
    const scalars = {
      TAPS: taps,
      CI: param.shape[1] as number,
      CP: inputs.length,
      L: lanes,
      OC: outputs.length / 4,
      O0: group,
      SPAN: span,
      AT: at,
    };
    // Shapes in a uniform everywhere: each tensor is packed once, a pipeline for each would cost more than it saves.
    this.#calls.push(kernel.lower({ ...this.target, shapes: "uniform" }, param.name, tensors, { source }, scalars));
  }

  /** Packs what is staged and frees the raw tensors. */
  async flush(): Promise<void> {
    const calls = this.#calls.splice(0);
    const staged = this.#staged;
    this.#staged = new Map();
    this.#stagedBytes = 0;
    try {
      if (calls.length === 0) return;
      const external = new Map([...staged, ...this.arrays]);
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

  /** Uploads vectors, tables and indices. */
  finish(): void {
    for (const recipe of this.recipes) {
      if (recipe.kind === "conv") continue;
      this.arrays.set(recipe.value, arrayOf(uploadBuffer(this.device, recipe.value.name, this.#data(recipe))));
    }
  }

  #data(recipe: Exclude<Recipe, ConvRecipe>): ArrayBufferView {
    if (recipe.kind === "indices") return recipe.data;
    if (recipe.kind === "table") {
      const [rows, width] = recipe.param.shape as [number, number];
      const values = this.#param(recipe.param.name);
      const stride = padded4(width);
      const out = new Float32Array(rows * stride);
      for (let r = 0; r < rows; r++) out.set(values.subarray(r * width, (r + 1) * width), r * stride);
      return out;
    }
    const out = new Float32Array(recipe.parts.reduce((sum, p) => sum + p.length, 0));
    let base = 0;
    for (const { params, positions, length } of recipe.parts) {
      for (const { name, rows } of params) {
        const values = this.#param(name);
        positions.forEach((p, i) => {
          out[base + p] = (out[base + p] as number) + (values[rows?.[i] ?? i] as number);
        });
      }
      base += length;
    }
    return out;
  }

  #param(name: string): Float32Array {
    const values = this.#hosted.get(name);
    if (!values) throw new TypeError(`internal: parameter ${name} was not streamed`);
    return values;
  }

  dispose(): void {
    for (const { object } of [...this.#staged.values(), ...this.arrays.values()]) this.device.release(object);
    for (const buffer of this.#open.values()) this.device.release(buffer);
  }
}

function wholeWords(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const aligned = bytes as Uint8Array<ArrayBuffer>;
  if (bytes.byteLength % 4 === 0) return aligned;
  const padded = new Uint8Array(ceilDiv(bytes.byteLength, 4) * 4);
  padded.set(bytes);
  return padded;
}

/**
 * Loads what lowered kernels need. The caller owns the arrays.
 * @param pieces every parameter that the recipes name, each complete, pieces in order
 * @param judge hears of weights that f16 cannot hold
 * @throws DeviceError "out-of-memory"; nothing stays allocated
 */
export async function loadRecipes(
  device: Device,
  target: Target,
  recipes: readonly Recipe[],
  pieces: AsyncIterable<ParamPiece>,
  decode: Decode,
  judge: Judge = strict,
): Promise<Map<Value, GpuArray>> {
  const loader = new Loader(device, target, recipes, judge);
  try {
    await loader.allocate();
    await loader.take(pieces, decode);
    await loader.flush();
    loader.finish();
    return loader.arrays;
  } catch (error) {
    loader.dispose();
    throw error;
  }
}
