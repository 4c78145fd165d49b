/**
 * Weights that lowered kernels read, as recipes: which parameters of the checkpoint make up a stored value and how. The
 * loader follows them once; `Recipes` deduplicates tables that several layers share.
 */
import type { Target } from "../runtime/kernel.ts";
import {
  ceilDiv,
  channelGroups,
  channelPositions,
  type DType,
  makeValue,
  padded4,
  type Value,
} from "../runtime/values.ts";
import { PRODUCTS } from "./software/winograd/transforms.ts";

/** A tensor of the checkpoint with the shape that the configuration implies. */
export interface ParamRef {
  readonly name: string;
  readonly shape: readonly number[];
}

/** One weight of a convolution or linear layer; `segments` cuts its outputs (heads, scale and shift) for storage. */
export interface WeightSpec {
  readonly weight: ParamRef;
  readonly bias?: ParamRef;
  readonly segments: readonly number[];
}

/** Marks a stored position that holds no channel. */
export const NO_CHANNEL = 0xffffffff;

/** A tensor of packed weights: its place on the output axis, and its section of every block. */
export interface ConvPart {
  readonly param: ParamRef;
  readonly group: number;
  /** Row of every stored output position. */
  readonly outputs: Uint32Array<ArrayBuffer>;
  readonly taps: number;
  /** Channel of every stored input position. */
  readonly inputs: Uint32Array<ArrayBuffer>;
  /** First position of the section in a block. */
  readonly at: number;
}
export interface ConvRecipe {
  readonly kind: "conv";
  readonly value: Value;
  /** Whether 3×3 filters are stored as Winograd's 36 products. */
  readonly winograd: boolean;
  /** Output groups per block of the packed layout. */
  readonly lanes: number;
  /** Positions of a block: taps × channels of all sections. */
  readonly span: number;
  readonly parts: readonly ConvPart[];
}
/** Padded vectors, side by side: biases, norm weights. */
export interface VectorRecipe {
  readonly kind: "vector";
  readonly value: Value;
  readonly parts: readonly VectorPart[];
}
/** Several parameters of a part are summed, none are zeros. */
export interface VectorPart {
  /** `rows`: entry of the parameter for every position; absent: all in order. */
  readonly params: readonly (ParamRef & { readonly rows?: readonly number[] })[];
  readonly positions: readonly number[];
  readonly length: number;
}
/** An embedding table [R, C], rows padded to a multiple of four. */
export interface TableRecipe {
  readonly kind: "table";
  readonly value: Value;
  readonly param: ParamRef;
}
/** Indices known without the checkpoint. */
export interface IndexRecipe {
  readonly kind: "indices";
  readonly value: Value;
  readonly data: Uint32Array<ArrayBuffer>;
}
export type Recipe = ConvRecipe | VectorRecipe | TableRecipe | IndexRecipe;

/** Channel of every stored position of some segments that begin at channel `first`, {@link NO_CHANNEL} for padding. */
export function positionChannels(segments: readonly number[], first = 0): Uint32Array<ArrayBuffer> {
  const table = new Uint32Array(channelGroups(segments) * 4).fill(NO_CHANNEL);
  channelPositions(segments).forEach((position, channel) => {
    table[position] = first + channel;
  });
  return table;
}

/** The recipes with each parameter replaced by where it is in a checkpoint: a tensor, or some of its rows. */
export function locateParams(
  recipes: readonly Recipe[],
  locate: (param: ParamRef) => ParamRef & { readonly rows?: readonly number[] },
): Recipe[] {
  return recipes.map((recipe): Recipe => {
    // Copies: rows may be made each time that they are asked for.
    if (recipe.kind === "table") return { ...recipe, param: { ...locate(recipe.param) } };
    if (recipe.kind === "vector") {
      const parts = recipe.parts.map((part) => ({
        ...part,
        params: part.params.map((param) => ({ ...locate(param) })),
      }));
      return { ...recipe, parts };
    }
    if (recipe.kind === "indices") return recipe;
    const parts = recipe.parts.map((part) => {
      const { rows, ...param } = locate(part.param);
      const row = (r: number) => (r === NO_CHANNEL ? r : (rows?.[r] ?? r));
      return { ...part, param, outputs: part.outputs.map(row) };
    });
    return { ...recipe, parts };
  });
}

/** Weights over some input channels: `segments` of the input, which are channels `first` and on of the tensors. */
export interface ConvSection {
  readonly weights: readonly WeightSpec[];
  readonly kernel: readonly [number, number];
  readonly segments: readonly number[];
  readonly first?: number;
}

export class Recipes {
  readonly list: Recipe[] = [];
  readonly #shared = new Map<string, Value>();

  constructor(
    private readonly target: Target,
    /** Element type of packed convolution weights. */
    private readonly dtype: Exclude<DType, "u32">,
  ) {}

  #constant(name: string, shape: readonly number[], dtype: DType, segments?: readonly number[]): Value {
    return makeValue({ name, shape, batched: false, dtype, storage: "buffer", segments });
  }

  /**
   * Packed weights of sections that follow each other in every block, all with the same outputs. Winograd's are f32
   * always: their transforms would enlarge the rounding of f16.
   */
  conv(label: string, sections: readonly ConvSection[], lanes: number, winograd = false): Value {
    let span = 0;
    let groups = 0;
    const parts = sections.flatMap(({ weights, kernel, segments: own, first = 0 }) => {
      const at = span;
      const taps = winograd ? PRODUCTS : kernel[0] * kernel[1];
      const inputs = positionChannels(own, first);
      span += taps * inputs.length;
      groups = 0;
      return weights.map(({ weight, segments }): ConvPart => {
        const group = groups;
        groups += channelGroups(segments);
        return { param: weight, group, outputs: positionChannels(segments), taps, inputs, at };
      });
    });
    const texels = ceilDiv(groups, lanes) * lanes * span;
    const value = makeValue({
      // Names are by content: other sizes of the same network may want other forms.
      name: `${label}.${winograd ? "winograd" : "packed"}${sections.length > 1 ? "+shortcut" : ""}`,
      shape: [texels * 4],
      batched: false,
      dtype: winograd ? "f32" : this.dtype,
      storage: this.target.storage,
    });
    this.list.push({ kind: "conv", value, winograd, lanes, span, parts });
    return value;
  }

  /** Biases of a convolution, in stored positions; those of `added`, a convolution into the same outputs, on top. */
  bias(label: string, weights: readonly WeightSpec[], added: readonly WeightSpec[] = []): Value {
    const segments = weights.flatMap((w) => w.segments);
    const value = this.#constant(
      `${label}.bias${added.length > 0 ? "+shortcut" : ""}`,
      [segments.reduce((a, b) => a + b, 0)],
      "f32",
      segments,
    );
    const parts = weights.map(({ bias, segments: own }, i) => ({
      params: [bias, added[i]?.bias].filter((p) => p !== undefined),
      positions: channelPositions(own),
      length: channelGroups(own) * 4,
    }));
    this.list.push({ kind: "vector", value, parts });
    return value;
  }

  /** A vector in channel order. */
  vector(param: ParamRef): Value {
    const count = param.shape[0] as number;
    return this.#once(param.name, () => {
      const value = this.#constant(param.name, [count], "f32");
      this.list.push({
        kind: "vector",
        value,
        parts: [{ params: [param], positions: channelPositions([count]), length: padded4(count) }],
      });
      return value;
    });
  }

  table(param: ParamRef): Value {
    return this.#once(param.name, () => {
      const value = this.#constant(param.name, param.shape, "f32");
      this.list.push({ kind: "table", value, param });
      return value;
    });
  }

  /** For GroupNorm: channel of every position, then position of every channel. */
  positions(segments: readonly number[]): Value {
    return this.#once(`positions ${segments.join()}`, () => {
      const data = new Uint32Array([...positionChannels(segments), ...channelPositions(segments)]);
      const value = this.#constant(`positions ${segments.join()}`, [data.length], "u32");
      this.list.push({ kind: "indices", value, data });
      return value;
    });
  }

  #once(key: string, make: () => Value): Value {
    const found = this.#shared.get(key);
    if (found) return found;
    const value = make();
    this.#shared.set(key, value);
    return value;
  }
}
