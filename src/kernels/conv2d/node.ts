/** A convolution or linear layer, before fusion and after it. */
import type { Value } from "../../runtime/values.ts";
import type { NodeBase, View } from "../operations/node.ts";
import type { WeightSpec } from "../weights.ts";

export type Padding = readonly [top: number, left: number, bottom: number, right: number];

/** A layer's slice of the time-embedding table: entry `index` of the table's projections. */
export interface EmbRef {
  readonly table: Value;
  /** First vec4 group of the slice. */
  readonly group: number;
}

/** y = (conv(view) + bias + emb + residual + conv1×1(shortcut))·scale */
export interface ConvFields {
  /** In a graph that is not fused yet: plainly the input. */
  readonly view: View;
  readonly weights: readonly WeightSpec[];
  readonly kernel: readonly [number, number];
  readonly stride: number;
  readonly pad: Padding;
  emb?: EmbRef;
  residual?: Value;
  /** A 1×1 convolution of these sources that is added like a residual; lowering puts it here where that pays. */
  readonly shortcut?: { readonly sources: View["sources"]; readonly weights: readonly WeightSpec[] };
  scale: number;
  y: Value;
}
export type ConvNode = NodeBase & ConvFields & { readonly op: "conv2d" };
