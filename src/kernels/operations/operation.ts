/**
 * What an operation is: how a network's graph gets one, what it reads, what becomes of it in fusion, which kernels do it.
 * Each has a file beside this one and a line in table.ts; nothing else in `src` names all of them.
 */
import type { DType, Value } from "../../runtime/values.ts";
import type { Context } from "../lowering/context.ts";
import type { ParamRef } from "../recipes.ts";
import type { Fusion } from "./fusion.ts";
import type { NodeBase } from "./node.ts";

/** What operations build on: the graph without their own methods. */
export interface Builder {
  /** A value of the graph's dtype and storage, unless another dtype is asked for. */
  value(name: string, shape: readonly number[], segments?: readonly number[], dtype?: DType): Value;
  /** @returns the node's result */
  push<N extends NodeBase>(node: N): Value;
}

/** Operations without `build` are made by fusion; those without `lower` are gone after it. */
export interface Operation<N extends NodeBase> {
  readonly name: N["op"];
  /**
   * The graph's method of this name: checks sizes, adds the node. Labels are module paths.
   * @throws ShapeError
   */
  build?(graph: Builder, label: string, ...args: never[]): unknown;
  /** The values that it computes with. */
  reads(node: N): readonly (Value | undefined)[];
  /** The checkpoint's tensors that it computes with. */
  params?(node: N): readonly (ParamRef | undefined)[];
  /** What it becomes in a fused graph. Default: what it reads is written out, then the node comes as it is. */
  fuse?(fusion: Fusion, node: N): void;
  /** Adds the kernel calls that compute it. */
  lower?(ctx: Context, node: N): void;
}
