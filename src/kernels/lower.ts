/**
 * From a graph to kernel calls for a target: fusion, then the choice of kernels and the intermediate values they need.
 * Every operation does its own part of both. On software adapters a convolution's view is written out (`normalise`,
 * `apply`), then gathered; on GPUs it is read through the load map. Nothing here depends on the batch size.
 */
import type { KernelCall, Target } from "../runtime/kernel.ts";
import type { DType, Value } from "../runtime/values.ts";
import type { Graph } from "./graph.ts";
import { Lowering } from "./lowering/lowering.ts";
import { Fusion } from "./operations/fusion.ts";
import { type Node, operationOf } from "./operations/table.ts";
import { mergeShortcuts } from "./software/shortcuts.ts";
import type { Weight } from "./weights.ts";

export interface Lowered {
  readonly calls: readonly KernelCall[];
  /** What the calls read beside the values of the graph, each once. */
  readonly weights: readonly Weight[];
}

/** How often every value is read. */
function countReads(nodes: readonly Node[], outputs: Iterable<Value>): Map<Value, number> {
  const reads = new Map<Value, number>();
  for (const value of [...nodes.flatMap((node) => operationOf(node).reads(node)), ...outputs])
    if (value) reads.set(value, (reads.get(value) ?? 0) + 1);
  return reads;
}

/** Fuses a graph; the result computes the same outputs in the same order. */
export function fold({ nodes, outputs, storage }: Graph): Node[] {
  const fusion = new Fusion(storage, countReads(nodes, outputs));
  for (const node of nodes) {
    const operation = operationOf(node);
    if (operation.fuse) operation.fuse(fusion, node);
    else {
      for (const value of operation.reads(node)) if (value) fusion.stored(value);
      fusion.push(node);
    }
  }
  for (const output of outputs) fusion.stored(output);
  return fusion.nodes as Node[];
}

/**
 * Lowers fused operations in order.
 * @param dtype of intermediate values and packed weights
 * @param outputs values that are read from outside
 */
export function lowerOps(
  ops: readonly Node[],
  target: Target,
  dtype: Exclude<DType, "u32">,
  outputs: Iterable<Value> = [],
): Lowered {
  const lowering = new Lowering(target, dtype);
  for (const node of lowering.bySubgroups ? mergeShortcuts(ops, countReads(ops, outputs), target) : ops)
    operationOf(node).lower?.(lowering, node);
  return { calls: lowering.calls, weights: [...lowering.weights.values()] };
}

/** Fuses and lowers a graph. @throws ShapeError when sizes disagree */
export const lowerGraph = (graph: Graph, target: Target): Lowered =>
  lowerOps(fold(graph), target, graph.dtype, graph.outputs);
