/** What writing a node needs. */
import type { BuiltName, BuiltNode } from "../../src/kernels/operations/table.ts";
import type { OnnxBuilder } from "./builder.ts";
import type { Tensors } from "./tensors.ts";

/**
 * How GroupNorm is written: `expanded` as PyTorch's exporter does, by InstanceNormalization over reshaped groups, or
 * `native`, the operation that ONNX has since opset 18 and with scales per channel since 21.
 */
export const normStyles = ["expanded", "native"] as const;
export type NormStyle = (typeof normStyles)[number];

export interface Writing {
  readonly builder: OnnxBuilder;
  readonly tensors: Tensors;
  readonly style: NormStyle;
}

/** Adds the operations of one kind of node, and says what its result is. */
export type Writer<K extends BuiltName> = (w: Writing, node: BuiltNode<K>) => void;
