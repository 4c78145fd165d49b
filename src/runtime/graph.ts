/**
 * A network as plain operations on symbolic values: what the model's source code says, before any fusion. Models build
 * it, `fold` fuses it, an exporter can write it down. Every operation names the checkpoint's parameters it reads.
 */
import { ShapeError } from "./errors.ts";
import { channelPositions, type DType, makeValue, type Storage, type Value } from "./values.ts";

export type Activation = "none" | "silu" | "relu" | "gelu" | "mish";

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

/** A layer's slice of the time-embedding table: entry `index` of the table's projections. */
export interface EmbRef {
  readonly table: Value;
  /** First vec4 group of the slice. */
  readonly group: number;
}

export type Padding = readonly [top: number, left: number, bottom: number, right: number];

interface NodeBase {
  readonly label: string;
  readonly y: Value;
}
export type ConvNode = NodeBase & {
  op: "conv2d";
  x: Value;
  weights: readonly WeightSpec[];
  kernel: readonly [number, number];
  stride: number;
  pad: Padding;
};
export type NormNode = NodeBase & {
  op: "groupNorm";
  x: Value;
  gamma: ParamRef;
  beta: ParamRef;
  groups: number;
  eps: number;
  /** Scale and shift of a scale-shift norm. */
  emb?: EmbRef;
};
/** LayerNorm over the channels of every pixel. */
export type LayerNormNode = NodeBase & { op: "layerNorm"; x: Value; gamma: ParamRef; beta: ParamRef; eps: number };
/** y = a·gelu(b) with the exact gelu, for the two halves a, b of x's channels. */
export type GegluNode = NodeBase & { op: "geglu"; x: Value };
/** Heads are segments of equal size; `k` starts at channel group `kGroup` of `kv`, `v` at `vGroup`, `q` at 0. */
export type AttentionNode = NodeBase & {
  op: "attention";
  q: Value;
  kv: Value;
  heads: number;
  headDim: number;
  kGroup: number;
  vGroup: number;
};
export type RowsNode = NodeBase & {
  op: "rows";
  by: "step" | "image" | "label";
  table: Value | ParamRef;
  labels?: Value;
};
/** The nearest row of a table to every pixel, and its number. */
export type LookupNode = NodeBase & { op: "lookup"; x: Value; table: ParamRef; indices: Value };
export type Node =
  | ConvNode
  | NormNode
  | LayerNormNode
  | GegluNode
  | AttentionNode
  | RowsNode
  | LookupNode
  | (NodeBase & { op: "activation"; x: Value; act: Activation })
  | (NodeBase & { op: "concat"; a: Value; b: Value })
  /** Nearest ×2; where y is smaller than that, without the last row or column. */
  | (NodeBase & { op: "upsample"; x: Value })
  | (NodeBase & { op: "avgPool"; x: Value })
  | (NodeBase & { op: "scaleShift"; x: Value; scale: number; shift: number })
  | (NodeBase & { op: "add"; a: Value; b: Value; scale: number })
  | (NodeBase & { op: "addEmb"; x: Value; emb: EmbRef });

export const isParam = (table: Value | ParamRef): table is ParamRef => !("storage" in table);

type Hwc = readonly [number, number, number];
const hwc = (v: Value): Hwc => v.shape as unknown as Hwc;

/** Collects nodes; every method returns the value of its result. Values are [H, W, C] with an implicit batch. */
export class Graph {
  readonly nodes: Node[] = [];
  readonly outputs: Value[] = [];

  constructor(
    /** Element type of intermediate values. */
    readonly dtype: Exclude<DType, "u32">,
    readonly storage: Storage,
  ) {}

  value(name: string, shape: readonly number[], segments?: readonly number[], dtype: DType = this.dtype): Value {
    return makeValue({ name, shape, batched: true, dtype, storage: this.storage, segments });
  }

  conv2d(
    label: string,
    x: Value,
    weights: readonly WeightSpec[],
    options: { kernel?: readonly [number, number]; stride?: number; pad?: Padding; dtype?: "f32" } = {},
  ): Value {
    const { kernel = [1, 1], stride = 1, pad = [0, 0, 0, 0], dtype } = options;
    const [h, w, c] = hwc(x);
    for (const { weight } of weights)
      if (weight.shape[1] !== c)
        throw new ShapeError(label, "input", `[H, W, ${weight.shape[1]}] to fit ${weight.name}`, x.shape);
    const size = (n: number, before: number, after: number, k: number) =>
      Math.floor((n + before + after - k) / stride) + 1;
    const ho = size(h, pad[0], pad[2], kernel[0]);
    const wo = size(w, pad[1], pad[3], kernel[1]);
    if (ho < 1 || wo < 1)
      throw new ShapeError(label, "input", `at least ${kernel.join("×")} pixels after padding`, x.shape);
    const segments = weights.flatMap((s) => s.segments);
    const y = this.value(label, [ho, wo, segments.reduce((a, b) => a + b, 0)], segments, dtype);
    this.nodes.push({ op: "conv2d", label, x, weights, kernel, stride, pad, y });
    return y;
  }

  groupNorm(label: string, x: Value, init: Pick<NormNode, "gamma" | "beta" | "groups" | "eps" | "emb">): Value {
    const y = this.value(label, x.shape, x.segments);
    this.nodes.push({ op: "groupNorm", label, x, ...init, y });
    return y;
  }

  layerNorm(label: string, x: Value, init: Pick<LayerNormNode, "gamma" | "beta" | "eps">): Value {
    const y = this.value(label, x.shape, x.segments);
    this.nodes.push({ op: "layerNorm", label, x, ...init, y });
    return y;
  }

  /** The halves of x have to be two segments of equal width. */
  geglu(label: string, x: Value): Value {
    const [h, w, c] = hwc(x);
    const y = this.value(`${label}.geglu`, [h, w, c / 2]);
    this.nodes.push({ op: "geglu", label, x, y });
    return y;
  }

  activation(label: string, x: Value, act: Activation): Value {
    if (act === "none") return x;
    const y = this.value(`${label}.act`, x.shape, x.segments);
    this.nodes.push({ op: "activation", label, x, act, y });
    return y;
  }

  concat(label: string, a: Value, b: Value): Value {
    const [h, w, c] = hwc(a);
    const [hb, wb, cb] = hwc(b);
    if (h !== hb || w !== wb)
      throw new ShapeError(label, `skip connection "${b.name}"`, `[${h}, ${w}, C] like "${a.name}"`, b.shape);
    const y = this.value(`${label}.concat`, [h, w, c + cb], [...a.segments, ...b.segments]);
    this.nodes.push({ op: "concat", label, a, b, y });
    return y;
  }

  /** Nearest ×2; with `like`, to its size: the same, or one row or column less. */
  upsample(label: string, x: Value, like?: Value): Value {
    const [h, w, c] = hwc(x);
    const [ho, wo] = like ? hwc(like) : [h * 2, w * 2];
    if (![0, 1].includes(h * 2 - ho) || ![0, 1].includes(w * 2 - wo))
      throw new ShapeError(label, `"${like?.name}"`, `[${h * 2}, ${w * 2}, C] or one less`, [ho, wo, c]);
    const y = this.value(`${label}.upsample`, [ho, wo, c], x.segments);
    this.nodes.push({ op: "upsample", label, x, y });
    return y;
  }

  avgPool(label: string, x: Value): Value {
    const [h, w, c] = hwc(x);
    const y = this.value(`${label}.avgPool`, [Math.floor(h / 2), Math.floor(w / 2), c], x.segments);
    this.nodes.push({ op: "avgPool", label, x, y });
    return y;
  }

  /** x·scale + shift with constants. `dtype`: of the result, where it has to be stored. */
  scaleShift(label: string, x: Value, scale: number, shift: number, dtype?: "f32"): Value {
    const y = this.value(label, x.shape, x.segments, dtype);
    this.nodes.push({ op: "scaleShift", label, x, scale, shift, y });
    return y;
  }

  /** (a + b)·scale */
  add(label: string, a: Value, b: Value, scale = 1): Value {
    if (a.shape.join() !== b.shape.join())
      throw new ShapeError(label, `"${b.name}"`, `[${a.shape.join(", ")}]`, b.shape);
    if (channelPositions(a.segments).join() !== channelPositions(b.segments).join())
      throw new TypeError(`internal: ${label}: "${a.name}" and "${b.name}" store their channels in different places`);
    const y = this.value(label, a.shape, a.segments);
    this.nodes.push({ op: "add", label, a, b, scale, y });
    return y;
  }

  addEmb(label: string, x: Value, emb: EmbRef): Value {
    const y = this.value(`${label}.emb`, x.shape, x.segments);
    this.nodes.push({ op: "addEmb", label, x, emb, y });
    return y;
  }

  attention(label: string, init: Omit<AttentionNode, "op" | "label" | "y">): Value {
    const [h, w] = hwc(init.q);
    const segments = Array.from({ length: init.heads }, () => init.headDim);
    const y = this.value(`${label}.heads`, [h, w, init.heads * init.headDim], segments);
    this.nodes.push({ op: "attention", label, ...init, y });
    return y;
  }

  rows(label: string, by: RowsNode["by"], table: Value | ParamRef, labels?: Value): Value {
    const width = table.shape[1] as number;
    const y = this.value(`${label}.rows`, [1, 1, width]);
    this.nodes.push({ op: "rows", label, by, table, labels, y });
    return y;
  }

  /** The nearest row of `table` (by squared distance, the first of equals) to the channels of every pixel. */
  lookup(label: string, x: Value, table: ParamRef): { y: Value; indices: Value } {
    const [h, w, c] = hwc(x);
    if (table.shape[1] !== c)
      throw new ShapeError(label, "input", `[H, W, ${table.shape[1]}] to fit ${table.name}`, x.shape);
    const y = this.value(label, x.shape);
    const name = `${label}.indices`;
    const indices = makeValue({ name, shape: [h, w], batched: true, dtype: "u32", storage: "buffer" });
    this.nodes.push({ op: "lookup", label, x, table, indices, y });
    return { y, indices };
  }

  output(value: Value): Value {
    this.outputs.push(value);
    return value;
  }

  /** Every parameter that the network reads, in order of first use. */
  params(): ParamRef[] {
    const found = new Map<string, ParamRef>();
    const take = (p?: ParamRef) => p && found.set(p.name, p);
    for (const node of this.nodes) {
      if (node.op === "conv2d")
        for (const spec of node.weights) {
          take(spec.weight);
          take(spec.bias);
        }
      if (node.op === "groupNorm" || node.op === "layerNorm") {
        take(node.gamma);
        take(node.beta);
      }
      if (node.op === "rows" && isParam(node.table)) take(node.table);
      if (node.op === "lookup") take(node.table);
    }
    return [...found.values()];
  }
}
