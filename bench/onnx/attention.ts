/** What transformers are made of, on tokens: attention, and the gate of their feed-forward networks. */
import type { Value } from "../../src/runtime/values.ts";
import { rowsOf } from "./rare.ts";
import type { Writer } from "./writing.ts";

export const attention: Writer<"attention"> = ({ builder, tensors }, node) => {
  const { heads, headDim } = node;
  const tokens = (value: Value, group: number) => rowsOf({ builder, tensors }, value, group, heads * headDim);
  // [N, L, heads · d] to [N, heads, L, d], or with the last axes exchanged.
  const split = (name: string, perm: readonly number[]) =>
    builder.op("Transpose", [builder.op("Reshape", [name, builder.ints(0, -1, heads, headDim)])], { perm });
  const q = split(tokens(node.q, 0), [0, 2, 1, 3]);
  const k = split(tokens(node.kv, node.kGroup), [0, 2, 3, 1]);
  const v = split(tokens(node.kv, node.vGroup), [0, 2, 1, 3]);
  const scale = builder.scalar(1 / Math.sqrt(headDim));
  const scores = builder.op("MatMul", [builder.op("Mul", [q, scale]), k]);
  const mixed = builder.op("MatMul", [builder.op("Softmax", [scores], { axis: -1n }), v]);
  const merged = builder.op("Transpose", [mixed], { perm: [0, 2, 1, 3] });
  tensors.set(node.y, "tokens", builder.op("Reshape", [merged, builder.ints(0, -1, heads * headDim)]));
};

export const geglu: Writer<"geglu"> = ({ builder, tensors }, { x, y }) => {
  const both = tensors.name(x, "tokens");
  const width = y.shape.at(-1) as number;
  const gate = builder.op("Gelu", [builder.slice(both, 2, width, 2 * width)], { approximate: "none" });
  tensors.set(y, "tokens", builder.op("Mul", [builder.slice(both, 2, 0, width), gate]));
};
