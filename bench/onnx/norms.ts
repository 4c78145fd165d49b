/** Norms over groups of an image's channels, and over the channels of a token. */
import type { BuiltNode } from "../../src/kernels/operations/table.ts";
import type { OnnxBuilder } from "./builder.ts";
import type { Writer } from "./writing.ts";

export const groupNorm: Writer<"groupNorm"> = ({ builder, tensors, style }, node) => {
  const x = tensors.name(node.x, "image");
  let y = style === "native" ? nativeNorm(builder, node, x) : expandedNorm(builder, node, x);
  if (node.emb) {
    const part = tensors.part(node.emb.table, node.emb.group);
    const both = tensors.partName(part, "image");
    const half = part.channels / 2;
    const scale = builder.op("Add", [builder.slice(both, 1, 0, half), builder.scalar(1)]);
    y = builder.op("Add", [builder.op("Mul", [y, scale]), builder.slice(both, 1, half, 2 * half)]);
  }
  tensors.set(node.y, "image", y);
};

const nativeNorm = (builder: OnnxBuilder, { gamma, beta, groups, eps }: BuiltNode<"groupNorm">, x: string) =>
  builder.op("GroupNormalization", [x, builder.param(gamma), builder.param(beta)], {
    epsilon: eps,
    num_groups: BigInt(groups),
  });

function expandedNorm(
  builder: OnnxBuilder,
  { x: input, gamma, beta, groups, eps }: BuiltNode<"groupNorm">,
  x: string,
): string {
  const [height, width, channels] = input.shape as [number, number, number];
  const constant = (name: string, value: number) =>
    builder.floats(`${name}[${groups}]`, new Array(groups).fill(value), [groups]);
  const grouped = builder.op("Reshape", [x, builder.ints(0, groups, -1)]);
  const scales = [constant("ones", 1), constant("zeros", 0)];
  const normed = builder.op("InstanceNormalization", [grouped, ...scales], { epsilon: eps });
  const image = builder.op("Reshape", [normed, builder.ints(0, channels, height, width)]);
  const dims = [channels, 1, 1];
  const scaled = builder.op("Mul", [image, builder.param(gamma, { dims })]);
  return builder.op("Add", [scaled, builder.param(beta, { dims })]);
}

export const layerNorm: Writer<"layerNorm"> = ({ builder, tensors }, { x, y, gamma, beta, eps }) => {
  const inputs = [tensors.name(x, "tokens"), builder.param(gamma), ...(beta ? [builder.param(beta)] : [])];
  tensors.set(y, "tokens", builder.op("LayerNormalization", inputs, { axis: -1n, epsilon: eps }));
};
