/**
 * A network as plain operations on symbolic values: what the model's source code says, before any fusion. Models build
 * it, `fold` fuses it, an exporter can write it down. Every operation names the checkpoint's parameters it reads.
 */
import { type DType, makeValue, type Storage, type Value } from "../runtime/values.ts";
import type { NodeBase } from "./operations/node.ts";
import type { Builder, BuiltOperation, Operation } from "./operations/operation.ts";
import { type Methods, type Node, operationOf, operations } from "./operations/table.ts";
import type { ParamRef } from "./weights.ts";

class Nodes implements Builder {
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

  /** An input from outside: f32 [H, W, C] per image, in a buffer. */
  input(name: string, shape: readonly number[]): Value {
    return makeValue({ name, shape, batched: true, dtype: "f32", storage: "buffer" });
  }

  /** Adds a node of an operation, which need not be one that has a method. */
  append<Args extends readonly unknown[]>(
    operation: BuiltOperation<string, Args, { y: Value }>,
    label: string,
    ...args: Args
  ): Value {
    const node = { op: operation.name, operation, label, ...operation.build(this, label, ...args) };
    if (!operation.reads(node).includes(node.y)) this.nodes.push(node as NodeBase as Node);
    return node.y;
  }

  output(value: Value): Value {
    this.outputs.push(value);
    return value;
  }

  /** Every parameter that the network reads, in order of first use. */
  params(): ParamRef[] {
    const all = this.nodes.flatMap((node) => operationOf(node).params?.(node) ?? []);
    return [...new Map(all.flatMap((param) => (param ? [[param.name, param] as const] : []))).values()];
  }
}

/** In a function, so that whoever does not import what it makes gets none of the operations. */
function withMethods(graph: typeof Nodes): typeof Nodes {
  for (const op of Object.values(operations) as Operation<NodeBase>[])
    if ("build" in op)
      Object.defineProperty(graph.prototype, op.name, {
        value(this: Nodes, label: string, ...args: unknown[]) {
          return this.append(op as BuiltOperation<string, unknown[], { y: Value }>, label, ...args);
        },
      });
  return graph;
}

/**
 * Collects nodes. It has a method for every operation of the table that can be built, with the label first; it returns
 * the value of the result. Values are [H, W, C] with an implicit batch.
 */
export type Graph = Nodes & Methods;
export const Graph = withMethods(Nodes) as unknown as new (...args: ConstructorParameters<typeof Nodes>) => Graph;
