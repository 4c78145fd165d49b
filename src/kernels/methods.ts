/**
 * Operations that a target can do in several ways, and what a choice among them is remembered by. Nothing here depends
 * on the batch, so neither does a choice.
 */
import type { AttentionMethod, ConvMethod, Methods, Target } from "../runtime/kernel.ts";
import { type DType, makeValue } from "../runtime/values.ts";
import type { ConvNode } from "./conv2d/node.ts";
import { Graph } from "./graph.ts";
import { type Lowered, lowerGraph, lowerOps } from "./lower.ts";
import { plain } from "./operations/node.ts";
import type { Node } from "./operations/table.ts";
import { attentionKey, attentionMethod, attentionMethods } from "./software/attentionProducts.ts";
import { canWinograd, convKey, usesWinograd } from "./software/winograd/choice.ts";

/** Methods by the first word of a key. */
export const METHODS = {
  conv2d: ["gather", "winograd"],
  attention: ["products", "broadcast", "direct"],
} as const satisfies { conv2d: readonly ConvMethod[]; attention: readonly AttentionMethod[] };

/** An operation with several possible methods. */
export interface Choice {
  /** The operation and the shape of one image, as in {@link Methods.measured}. */
  readonly key: string;
  readonly methods: readonly string[];
  /** What sizes alone would choose. */
  readonly usual: string;
  /** The operation by itself, by one of the methods. */
  lower(method: string): Lowered;
}

/** A convolution of the same shape on a plain input, nothing added. What it leaves out is the same for all methods. */
function bare(op: ConvNode): ConvNode {
  const { sources, upsample } = op.view;
  const [first] = sources;
  const segments = sources.flatMap((s) => s.segments);
  const shape = [...first.shape.slice(0, 2), segments.reduce((a, b) => a + b, 0)];
  const x = makeValue({ ...first, name: "x", shape, segments, storage: op.y.storage });
  const weights = op.weights.map(({ weight, segments }) => ({ weight, segments }));
  return { ...op, view: { ...plain(x), upsample }, weights, emb: undefined, residual: undefined, scale: 1 };
}

function choiceOf(op: Node, target: Target): Choice | undefined {
  const { methods: forced } = target;
  const free = { ...target, methods: undefined };
  const alone = (node: Node, methods: Methods) =>
    lowerOps([node], { ...target, methods }, node.y.dtype as Exclude<DType, "u32">, [node.y]);
  if (op.op === "conv2d" && !forced?.conv2d && canWinograd(op))
    return {
      key: convKey(op),
      methods: METHODS.conv2d,
      usual: usesWinograd(op, free) ? "winograd" : "gather",
      lower: (method) => alone(bare(op), { conv2d: method as ConvMethod }),
    };
  if (op.op === "attention" && !forced?.attention)
    return {
      key: attentionKey(op),
      methods: attentionMethods(op),
      usual: attentionMethod(op, free),
      lower: (method) => alone(op, { attention: method as AttentionMethod }),
    };
  return undefined;
}

/** What there is to choose among some operations, each shape once; on anything but software adapters nothing yet. */
export function choicesOf(ops: readonly Node[], target: Target): Choice[] {
  if (!target.software || target.lanes === 0) return [];
  const found = new Map<string, Choice>();
  for (const op of ops) {
    const choice = choiceOf(op, target);
    if (choice && choice.methods.length > 1 && !found.has(choice.key)) found.set(choice.key, choice);
  }
  return [...found.values()];
}

/** Source texts of everything that choices are made between: measurements of other sources say nothing about these. */
export function methodSources(target: Target): string[] {
  const graph = new Graph("f32", target.storage);
  const x = graph.value("x", [32, 32, 64]);
  const w = { weight: { name: "w", shape: [64, 64, 3, 3] }, segments: [64] };
  const y = graph.conv2d("conv", x, [w], { kernel: [3, 3], pad: [1, 1, 1, 1] });
  graph.output(graph.attention("attention", { q: y, kv: y, heads: 1, headDim: 16, kGroup: 4, vGroup: 8 }));
  const forced = [
    ...METHODS.conv2d.map((conv2d) => ({ conv2d })),
    ...METHODS.attention.map((attention) => ({ attention })),
  ];
  return [
    ...new Set(forced.flatMap((methods) => lowerGraph(graph, { ...target, methods }).calls.map((c) => c.source))),
  ];
}
