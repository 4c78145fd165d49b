/** Every kind of node of the engine's graph as ONNX operations, the way PyTorch's exporter writes diffusers' modules. */
import { ConfigError } from "../../src/runtime/errors.ts";
import type { Activation, ConvNode, Node, NormNode } from "../../src/runtime/graph.ts";
import { isParam } from "../../src/runtime/graph.ts";
import type { Value } from "../../src/runtime/values.ts";
import type { OnnxBuilder } from "./builder.ts";
import type { Layout, Tensors } from "./tensors.ts";

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

type Writer<K extends Node["op"]> = (w: Writing, node: Extract<Node, { op: K }>) => void;

/** Several weights on one input become several operations: PyTorch has them as modules of their own. */
const conv2d: Writer<"conv2d"> = ({ builder, tensors }, node) => {
  const linear = node.weights.every(({ weight }) => weight.shape.length === 2);
  const made = tensors.layout(node.x);
  const layout: Layout = !linear ? "image" : made === "vector" ? "vector" : "rows";
  const x = tensors.name(node.x, layout);
  const scope = builder.scope;
  const parts = node.weights.map(({ weight, bias, segments }) => {
    builder.scope = weight.name.replace(/\.weight$/, "");
    const bias1 = bias ? [builder.param(bias)] : [];
    if (layout === "vector")
      return { segments, name: builder.op("Gemm", [x, builder.param(weight), ...bias1], { transB: 1n }) };
    if (layout === "rows") {
      const product = builder.op("MatMul", [x, builder.param(weight, { transposed: true })]);
      return { segments, name: bias1.length ? builder.op("Add", [product, ...bias1]) : product };
    }
    return { segments, name: convolution(builder, node, x, [builder.param(weight), ...bias1]) };
  });
  builder.scope = scope;
  tensors.setParts(node.y, layout, parts);
};

function convolution(builder: OnnxBuilder, { kernel, stride, pad }: ConvNode, x: string, weights: string[]): string {
  return builder.op("Conv", [x, ...weights], {
    kernel_shape: kernel,
    strides: [stride, stride],
    pads: pad,
    dilations: [1, 1],
    group: 1n,
  });
}

const groupNorm: Writer<"groupNorm"> = (w, node) => {
  const { builder, tensors } = w;
  const x = tensors.name(node.x, "image");
  let y = w.style === "native" ? nativeNorm(builder, node, x) : expandedNorm(builder, node, x);
  if (node.emb) {
    const part = tensors.part(node.emb.table, node.emb.group);
    const half = part.channels / 2;
    const both = tensors.partName(part, "image");
    const cut = (from: number, to: number) =>
      builder.op("Slice", [both, builder.ints(from), builder.ints(to), builder.ints(1)]);
    const scale = builder.op("Add", [cut(0, half), builder.floats("one", [1])]);
    y = builder.op("Add", [builder.op("Mul", [y, scale]), cut(half, 2 * half)]);
  }
  tensors.set(node.y, "image", y);
};

const nativeNorm = (builder: OnnxBuilder, { gamma, beta, groups, eps }: NormNode, x: string) =>
  builder.op("GroupNormalization", [x, builder.param(gamma), builder.param(beta)], {
    epsilon: eps,
    num_groups: BigInt(groups),
  });

function expandedNorm(builder: OnnxBuilder, { x: input, gamma, beta, groups, eps }: NormNode, x: string): string {
  const [height, width, channels] = input.shape as [number, number, number];
  const constant = (name: string, value: number) =>
    builder.floats(
      `${name}[${groups}]`,
      Array.from({ length: groups }, () => value),
      [groups],
    );
  const grouped = builder.op("Reshape", [x, builder.ints(0, groups, -1)]);
  const scales = [constant("ones", 1), constant("zeros", 0)];
  const normed = builder.op("InstanceNormalization", [grouped, ...scales], { epsilon: eps });
  const image = builder.op("Reshape", [normed, builder.ints(0, channels, height, width)]);
  const dims = [channels, 1, 1];
  const scaled = builder.op("Mul", [image, builder.param(gamma, { dims })]);
  return builder.op("Add", [scaled, builder.param(beta, { dims })]);
}

const attention: Writer<"attention"> = ({ builder, tensors }, node) => {
  const { heads, headDim } = node;
  const rows = (value: Value, group: number) => tensors.partName(tensors.part(value, group), "rows");
  // [N, L, heads · d] to [N, heads, L, d], or with the last axes exchanged.
  const split = (name: string, perm: readonly number[]) =>
    builder.op("Transpose", [builder.op("Reshape", [name, builder.ints(0, -1, heads, headDim)])], { perm });
  const q = split(rows(node.q, 0), [0, 2, 1, 3]);
  const k = split(rows(node.kv, node.kGroup), [0, 2, 3, 1]);
  const v = split(rows(node.kv, node.vGroup), [0, 2, 1, 3]);
  const scale = builder.floats(`1/sqrt(${headDim})`, [1 / Math.sqrt(headDim)]);
  const scores = builder.op("MatMul", [builder.op("Mul", [q, scale]), k]);
  const mixed = builder.op("MatMul", [builder.op("Softmax", [scores], { axis: -1n }), v]);
  const merged = builder.op("Transpose", [mixed], { perm: [0, 2, 1, 3] });
  tensors.set(node.y, "rows", builder.op("Reshape", [merged, builder.ints(0, -1, heads * headDim)]));
};

const activations: Readonly<Record<Exclude<Activation, "none">, (builder: OnnxBuilder, x: string) => string>> = {
  silu: (builder, x) => builder.op("Mul", [x, builder.op("Sigmoid", [x])]),
  relu: (builder, x) => builder.op("Relu", [x]),
  gelu: (builder, x) => builder.op("Gelu", [x], { approximate: "none" }),
  mish: (builder, x) => builder.op("Mish", [x]),
};

/** Rows of a table, or an input as it is. */
const rows: Writer<"rows"> = ({ builder, tensors }, { table, labels, y }) => {
  if (!isParam(table)) return tensors.share(y, table);
  const ids = tensors.name(labels as Value, "vector");
  tensors.set(y, "vector", builder.op("Gather", [builder.param(table), ids], { axis: 0n }));
};

/** Of two tensors that are added: images stay images. */
function commonLayout(tensors: Tensors, a: Value, b: Value): Layout {
  const layouts = [tensors.layout(a), tensors.layout(b)] as const;
  return layouts.includes("image") ? "image" : layouts[0];
}

const writers: { readonly [K in Node["op"]]?: Writer<K> } = {
  conv2d,
  groupNorm,
  attention,
  rows,
  activation: ({ builder, tensors }, { x, y, act }) => {
    const layout = tensors.layout(x);
    const name = tensors.name(x, layout);
    tensors.set(y, layout, act === "none" ? name : activations[act](builder, name));
  },
  concat: ({ builder, tensors }, { a, b, y }) => {
    const inputs = [a, b].map((value) => tensors.name(value, "image"));
    tensors.set(y, "image", builder.op("Concat", inputs, { axis: 1n }));
  },
  upsample: ({ builder, tensors }, { x, y }) => {
    const scales = builder.floats("scales", [1, 1, 2, 2], [4], "f32");
    const name = builder.op("Resize", [tensors.name(x, "image"), "", scales], {
      coordinate_transformation_mode: "asymmetric",
      mode: "nearest",
      nearest_mode: "floor",
    });
    tensors.set(y, "image", name);
  },
  avgPool: ({ builder, tensors }, { x, y }) => {
    const sides = { kernel_shape: [2, 2], strides: [2, 2] };
    tensors.set(y, "image", builder.op("AveragePool", [tensors.name(x, "image")], sides));
  },
  scaleShift: ({ builder, tensors }, { x, y, scale, shift }) => {
    const layout = tensors.layout(x);
    const scaled = builder.op("Mul", [tensors.name(x, layout), builder.floats(`${scale}`, [scale])]);
    tensors.set(y, layout, builder.op("Add", [scaled, builder.floats(`${shift}`, [shift])]));
  },
  add: ({ builder, tensors }, { a, b, scale, y }) => {
    const layout = commonLayout(tensors, a, b);
    const sum = builder.op("Add", [tensors.name(a, layout), tensors.name(b, layout)]);
    tensors.set(y, layout, scale === 1 ? sum : builder.op("Mul", [sum, builder.floats(`${scale}`, [scale])]));
  },
  addEmb: ({ builder, tensors }, { x, y, emb }) => {
    const part = tensors.partName(tensors.part(emb.table, emb.group), "image");
    tensors.set(y, "image", builder.op("Add", [tensors.name(x, "image"), part]));
  },
};

/** @throws ConfigError for a kind of node that has no form in ONNX here */
export function writeNode(w: Writing, node: Node): void {
  const write = writers[node.op] as Writer<Node["op"]> | undefined;
  if (!write) throw new ConfigError(node.label, node.op, "this kind of layer cannot be exported to ONNX yet");
  w.builder.scope = node.label;
  write(w, node as never);
}
