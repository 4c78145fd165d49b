/**
 * Fusion: one pass over the plain graph. Concatenation, GroupNorm, activation and upsampling become a *view*, which the
 * consumer reads through; additions of the time embedding, of a residual, and a scale move into the epilogue of the
 * convolution that made the value. Whatever cannot be taken along is materialised by an `apply`.
 */
import type {
  Activation,
  AttentionNode,
  ConvNode,
  EmbRef,
  GegluNode,
  Graph,
  LayerNormNode,
  LookupNode,
  Node,
  NormNode,
  ParamRef,
  RowsNode,
  WeightSpec,
} from "./graph.ts";
import { makeValue, type Value } from "./values.ts";

/** How a consumer reads: act(affine(concat(sources))), then nearest ×2. */
export interface View {
  readonly sources: readonly [Value] | readonly [Value, Value];
  readonly affine?: Value;
  readonly act: Activation;
  readonly upsample: boolean;
}

export interface FusedConv extends Pick<ConvNode, "label" | "weights" | "kernel" | "stride" | "pad"> {
  op: "conv";
  view: View;
  emb?: EmbRef;
  residual?: Value;
  /** A 1×1 convolution of these sources that is added like a residual; lowering puts it here where that pays. */
  shortcut?: { sources: View["sources"]; weights: readonly WeightSpec[] };
  scale: number;
  y: Value;
}
export interface FusedNorm extends Pick<NormNode, "label" | "groups" | "eps" | "emb"> {
  op: "norm";
  sources: View["sources"];
  gamma: ParamRef;
  beta: ParamRef;
  affine: Value;
}
export interface FusedApply {
  op: "apply";
  label: string;
  view: View;
  pool: boolean;
  y: Value;
}
/** Writes the same scale and shift for every channel of every image. */
export interface FusedFill {
  op: "fill";
  label: string;
  scale: number;
  shift: number;
  affine: Value;
}
export interface FusedAdd {
  op: "add";
  label: string;
  a: Value;
  b: Value;
  scale: number;
  y: Value;
}
export type FusedOp =
  | FusedConv
  | FusedNorm
  | FusedApply
  | FusedFill
  | FusedAdd
  | AttentionNode
  | RowsNode
  | LookupNode
  | LayerNormNode
  | GegluNode;

const plain = (value: Value): View => ({ sources: [value], act: "none", upsample: false });

/** Whether a view is just the value itself. */
export const isPlain = (view: View): boolean =>
  view.sources.length === 1 && !view.affine && view.act === "none" && !view.upsample;

function countUses(graph: Graph): Map<Value, number> {
  const uses = new Map<Value, number>();
  const use = (v: Value) => uses.set(v, (uses.get(v) ?? 0) + 1);
  for (const node of graph.nodes) {
    if ("x" in node) use(node.x);
    if ("a" in node) for (const v of [node.a, node.b]) use(v);
    if (node.op === "attention") for (const v of [node.q, node.kv]) use(v);
  }
  for (const v of graph.outputs) use(v);
  return uses;
}

class Folder {
  readonly ops: FusedOp[] = [];
  readonly #views = new Map<Value, View>();
  readonly #convs = new Map<Value, FusedConv>();
  readonly #uses: Map<Value, number>;

  constructor(private readonly graph: Graph) {
    this.#uses = countUses(graph);
  }

  #view(value: Value): View {
    return this.#views.get(value) ?? plain(value);
  }

  /** The value itself, written by an `apply` first if it is still a view. `at`: where in the list to put that. */
  #stored(value: Value, at = this.ops.length): Value {
    const view = this.#views.get(value);
    if (!view) return value;
    this.#views.delete(value);
    this.ops.splice(at, 0, { op: "apply", label: value.name, view, pool: false, y: value });
    return value;
  }

  /** The convolution that made a value and may still change its epilogue: nobody else reads the value. */
  #open(value: Value): FusedConv | undefined {
    const conv = this.#convs.get(value);
    return conv && this.#uses.get(value) === 1 && conv.scale === 1 ? conv : undefined;
  }

  /** A second run of the convolution that made a value, for a value that is an output besides. */
  #again(value: Value): FusedConv | undefined {
    const conv = this.#convs.get(value);
    if (!conv) return undefined;
    const again = { ...conv };
    this.ops.push(again);
    return again;
  }

  #close(conv: FusedConv, y: Value): void {
    this.#convs.delete(conv.y);
    conv.y = y;
    this.#convs.set(y, conv);
  }

  #add(node: Extract<Node, { op: "add" }>): void {
    const order = (conv: FusedConv | undefined) => (conv && !conv.residual ? this.ops.indexOf(conv) : -1);
    const [ca, cb] = [this.#open(node.a), this.#open(node.b)];
    const intoB = order(cb) > order(ca);
    const conv = intoB ? cb : ca;
    const at = order(conv);
    const other = intoB ? node.a : node.b;
    const known = (v: Value) => this.ops.findIndex((op) => ("y" in op ? op.y : op.affine) === v) < at;
    const ready = this.#view(other);
    if (conv && at >= 0 && node.a !== node.b && [...ready.sources, ready.affine].every((v) => !v || known(v))) {
      conv.residual = this.#stored(other, at);
      conv.scale = node.scale;
      this.#close(conv, node.y);
      return;
    }
    this.ops.push({
      op: "add",
      label: node.label,
      a: this.#stored(node.a),
      b: this.#stored(node.b),
      scale: node.scale,
      y: node.y,
    });
  }

  /** The view of `node.x` with an affine map on it, and the value that will hold the map. */
  #mapped(node: Extract<Node, { op: "groupNorm" | "scaleShift" }>): View & { affine: Value } {
    let view = this.#view(node.x);
    if (view.affine || view.act !== "none" || view.upsample) view = plain(this.#stored(node.x));
    const affine = makeValue({
      name: `${node.label}.affine`,
      shape: [2, node.x.shape.at(-1) as number],
      batched: true,
      dtype: "f32",
      storage: this.graph.storage,
      segments: node.x.segments,
    });
    const mapped = { ...view, affine };
    this.#views.set(node.y, mapped);
    return mapped;
  }

  #visit(node: Node): void {
    switch (node.op) {
      case "concat": {
        this.#views.set(node.y, {
          sources: [this.#stored(node.a), this.#stored(node.b)],
          act: "none",
          upsample: false,
        });
        return;
      }
      case "groupNorm": {
        const { label, groups, eps, emb, gamma, beta } = node;
        const { sources, affine } = this.#mapped(node);
        this.ops.push({ op: "norm", label, sources, gamma, beta, groups, eps, emb, affine });
        return;
      }
      case "scaleShift": {
        const { label, scale, shift } = node;
        this.ops.push({ op: "fill", label, scale, shift, affine: this.#mapped(node).affine });
        return;
      }
      case "activation": {
        let view = this.#view(node.x);
        if (view.act !== "none" || view.upsample) view = plain(this.#stored(node.x));
        this.#views.set(node.y, { ...view, act: node.act });
        return;
      }
      case "upsample": {
        let view = this.#view(node.x);
        if (view.upsample) view = plain(this.#stored(node.x));
        const [h = 0, w = 0] = node.x.shape;
        if (node.y.shape[0] !== h * 2 || node.y.shape[1] !== w * 2) {
          // Whoever reads a view knows its size by that of the sources.
          this.ops.push({ op: "apply", label: node.label, view: { ...view, upsample: true }, pool: false, y: node.y });
          return;
        }
        this.#views.set(node.y, { ...view, upsample: true });
        return;
      }
      case "avgPool": {
        let view = this.#view(node.x);
        if (view.upsample) view = plain(this.#stored(node.x));
        this.ops.push({ op: "apply", label: node.label, view, pool: true, y: node.y });
        return;
      }
      case "conv2d": {
        const { label, weights, kernel, stride, pad, y } = node;
        const conv: FusedConv = {
          op: "conv",
          label,
          view: this.#view(node.x),
          weights,
          kernel,
          stride,
          pad,
          scale: 1,
          y,
        };
        this.ops.push(conv);
        this.#convs.set(y, conv);
        return;
      }
      case "addEmb": {
        const conv = this.#open(node.x) ?? this.#again(node.x);
        if (!conv || conv.emb) throw new TypeError(`internal: ${node.label}: an embedding is added to no convolution`);
        conv.emb = node.emb;
        return this.#close(conv, node.y);
      }
      case "add":
        return this.#add(node);
      case "layerNorm":
      case "geglu":
        this.ops.push({ ...node, x: this.#stored(node.x) });
        return;
      case "attention":
        this.ops.push({ ...node, q: this.#stored(node.q), kv: this.#stored(node.kv) });
        return;
      case "lookup":
        this.ops.push({ ...node, x: this.#stored(node.x) });
        return;
      case "rows":
        this.ops.push(node);
    }
  }

  run(): FusedOp[] {
    for (const node of this.graph.nodes) this.#visit(node);
    for (const output of this.graph.outputs) this.#stored(output);
    return this.ops;
  }
}

/** Fuses a graph; the result computes the same outputs in the same order. */
export const fold = (graph: Graph): FusedOp[] => new Folder(graph).run();
