/** Every kind of node of the engine's graph as ONNX operations, the way PyTorch's exporter writes diffusers' modules. */
import type { ConvNode } from "../../src/kernels/conv2d/node.ts";
import type { BuiltName, Node } from "../../src/kernels/operations/table.ts";
import { isParam } from "../../src/kernels/operations/take.ts";
import type { Activation } from "../../src/kernels/parts/activations.ts";
import { ConfigError } from "../../src/runtime/errors.ts";
import { attention, geglu } from "./attention.ts";
import type { OnnxBuilder } from "./builder.ts";
import { groupNorm, layerNorm } from "./norms.ts";
import * as operationsOfFew from "./rare.ts";
import type { Layout } from "./tensors.ts";
import type { Writer, Writing } from "./writing.ts";

/** Several weights on one input become several operations: PyTorch has them as modules of their own. */
const conv2d: Writer<"conv2d"> = ({ builder, tensors }, node) => {
  const linear = node.weights.every(({ weight }) => weight.shape.length === 2);
  const [input] = node.view.sources;
  const made = tensors.layout(input);
  const layout: Layout = !linear ? "image" : made === "vector" ? "vector" : "tokens";
  const x = tensors.name(input, layout);
  const scope = builder.scope;
  const parts = node.weights.map(({ weight, bias, segments }) => {
    builder.scope = weight.name.replace(/\.weight$/, "");
    const bias1 = bias ? [builder.param(bias)] : [];
    if (layout === "vector")
      return { segments, name: builder.op("Gemm", [x, builder.param(weight), ...bias1], { transB: 1n }) };
    if (layout === "tokens") {
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

const activations: Readonly<Record<Exclude<Activation, "none">, (builder: OnnxBuilder, x: string) => string>> = {
  silu: (builder, x) => builder.op("Mul", [x, builder.op("Sigmoid", [x])]),
  relu: (builder, x) => builder.op("Relu", [x]),
  gelu: (builder, x) => builder.op("Gelu", [x], { approximate: "none" }),
  mish: (builder, x) => builder.op("Mish", [x]),
};

/** Entries of a table, or an input as it is. */
const take: Writer<"take"> = ({ builder, tensors }, { table, order, y }) => {
  if (!isParam(table)) return tensors.share(y, table);
  const ids = tensors.name(order, "vector");
  tensors.set(y, "vector", builder.op("Gather", [builder.param(table), ids], { axis: 0n }));
};

const upsample: Writer<"upsample"> = ({ builder, tensors }, { x, y }) => {
  const scales = builder.floats("scales", [1, 1, 2, 2], [4], "f32");
  let name = builder.op("Resize", [tensors.name(x, "image"), "", scales], {
    coordinate_transformation_mode: "asymmetric",
    mode: "nearest",
    nearest_mode: "floor",
  });
  for (const axis of [0, 1]) {
    const [from, to] = [x.shape[axis], y.shape[axis]] as [number, number];
    if (to < 2 * from) name = builder.slice(name, axis + 2, 0, to);
  }
  tensors.set(y, "image", name);
};

const { rowsOf: _, ...rare } = operationsOfFew;

/** By the names of the table of operations. */
export const writers: { readonly [K in BuiltName]?: Writer<K> } = {
  conv2d,
  groupNorm,
  layerNorm,
  attention,
  geglu,
  take,
  ...rare,
  activation: ({ builder, tensors }, { x, y, act }) => {
    const layout = tensors.layout(x);
    const name = tensors.name(x, layout);
    tensors.set(y, layout, act === "none" ? name : activations[act](builder, name));
  },
  quickGelu: ({ builder, tensors }, { x, y }) => {
    const layout = tensors.layout(x);
    const name = tensors.name(x, layout);
    const gate = builder.op("Sigmoid", [builder.op("Mul", [name, builder.scalar(1.702)])]);
    tensors.set(y, layout, builder.op("Mul", [name, gate]));
  },
  concat: ({ builder, tensors }, { a, b, y }) => {
    if (tensors.layout(a) === "vector") return tensors.join(y, [a, b]);
    const inputs = [a, b].map((value) => tensors.name(value, "image"));
    tensors.set(y, "image", builder.op("Concat", inputs, { axis: 1n }));
  },
  upsample,
  avgPool: ({ builder, tensors }, { x, y }) => {
    const sides = { kernel_shape: [2, 2], strides: [2, 2] };
    tensors.set(y, "image", builder.op("AveragePool", [tensors.name(x, "image")], sides));
  },
  scaleShift: ({ builder, tensors }, { x, y, scale, shift }) => {
    const layout = tensors.layout(x);
    const scaled = builder.op("Mul", [tensors.name(x, layout), builder.scalar(scale)]);
    tensors.set(y, layout, builder.op("Add", [scaled, builder.scalar(shift)]));
  },
  add: ({ builder, tensors }, { a, b, scale, y }) => {
    const layout = tensors.commonLayout(a, b);
    const sum = builder.op("Add", [tensors.name(a, layout), tensors.name(b, layout)]);
    tensors.set(y, layout, scale === 1 ? sum : builder.op("Mul", [sum, builder.scalar(scale)]));
  },
  addEmb: ({ builder, tensors }, { x, y, emb }) => {
    const part = tensors.partName(tensors.part(emb.table, emb.group), "image");
    tensors.set(y, "image", builder.op("Add", [tensors.name(x, "image"), part]));
  },
};

/** @throws ConfigError for a kind of node that has no form in ONNX here */
export function writeNode(w: Writing, node: Node): void {
  const write = writers[node.op as BuiltName] as Writer<BuiltName> | undefined;
  if (!write) throw new ConfigError(node.label, node.op, "this kind of layer cannot be exported to ONNX yet");
  w.builder.scope = node.label;
  write(w, node as never);
}
