/**
 * What an operation is: how a network's graph gets one, what it reads, what becomes of it in fusion, which kernels do it.
 * Each has a file beside this one and a line in table.ts; nothing else in `src` names all of them.
 */
import type { DType, Value } from "../../runtime/values.ts";
import type { Lowering } from "../lowering/lowering.ts";
import type { ParamRef } from "../weights.ts";
import type { Fusion } from "./fusion.ts";
import type { NodeBase } from "./node.ts";

/** What an operation needs of the graph that it is added to. */
export interface Builder {
  /** A value of the graph's dtype and storage, unless another dtype is asked for. */
  value(name: string, shape: readonly number[], segments?: readonly number[], dtype?: DType): Value;
}

/** Operations without `lower` are gone after fusion. */
export interface Operation<N extends NodeBase> {
  readonly name: string;
  /** The values that it computes with. */
  reads(node: N): readonly (Value | undefined)[];
  /** The checkpoint's tensors that it computes with. */
  params?(node: N): readonly (ParamRef | undefined)[];
  /** What it becomes in a fused graph. Default: what it reads is written out, then the node comes as it is. */
  fuse?(fusion: Fusion, node: N): void;
  /** Adds the kernel calls that compute it. */
  lower?(lowering: Lowering, node: N): void;
}

/** An operation that graphs have a method for; the others are made by fusion. */
export interface BuiltOperation<Name extends string, Args extends readonly unknown[], Fields extends { y: Value }>
  extends Operation<Fields & NodeBase & { readonly op: Name }> {
  readonly name: Name;
  /**
   * What a node holds besides its name and label, for the arguments of the graph's method of this name. Labels are module
   * paths. A node whose result is one of the values that it reads does nothing, and is left out.
   * @throws ShapeError
   */
  build(graph: Builder, label: string, ...args: Args): Fields;
}

export const defineOp = <Name extends string, Args extends readonly unknown[], Fields extends { y: Value }>(
  op: BuiltOperation<Name, Args, Fields>,
) => op;
