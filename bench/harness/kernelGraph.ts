/**
 * Single operations as tiny networks, the same for every engine: our graph, its ONNX form, and seeded parameters. An
 * operation is chained with itself, so that upload, read-back and changes of layout at the ends are shared among several.
 */

import { Graph } from "../../src/kernels/graph.ts";
import type { ParamRef, WeightSpec } from "../../src/kernels/weights.ts";
import type { Cost } from "../../src/runtime/kernel.ts";
import type { Storage, Value } from "../../src/runtime/values.ts";
import type { EncodableTensor } from "../../src/weights/encode.ts";
import { tensorsOf } from "../../test/reference/inputs.ts";
import { numel, type RefTensor } from "../../test/reference/tensor.ts";
import { OnnxBuilder } from "../onnx/builder.ts";
import { encodeOnnx } from "../onnx/encode.ts";
import { writeNode } from "../onnx/operations.ts";
import { Tensors } from "../onnx/tensors.ts";

export interface KernelSpec {
  readonly op: "conv3x3" | "block" | "groupNorm" | "attention" | "linear";
  /** Of an image; a linear layer and attention have `side` squared tokens. */
  readonly side: number;
  readonly channels: number;
  readonly chain: number;
}

/** Of GroupNorm. */
const [GROUPS, EPS] = [32, 1e-5];

/** How many of an operation are chained: enough work to see, not so much that a slow engine takes seconds. */
const CHAIN_FLOPS = 0.6e9;
const MAX_CHAIN = 8;

/** Of one operation of the chain, f32: operations by definition, and input, parameters and result once. */
export function kernelCost({ op, side, channels: c }: KernelSpec): Cost {
  const pixels = side * side;
  const weights = { conv3x3: 9 * c * c, block: 9 * c * c, linear: c * c, groupNorm: 0, attention: 0 }[op];
  const norm = op === "block" || op === "groupNorm" ? 10 * pixels * c : 0;
  const products = op === "attention" ? 4 * pixels * pixels * c : 2 * pixels * weights;
  return { flops: products + norm, bytes: 4 * (pixels * c * (op === "attention" ? 4 : 2) + weights) };
}

export function chained(spec: Omit<KernelSpec, "chain">): KernelSpec {
  const { flops } = kernelCost({ ...spec, chain: 1 });
  return { ...spec, chain: Math.max(1, Math.min(MAX_CHAIN, Math.round(CHAIN_FLOPS / flops))) };
}

/** [H, W, C] of the input; attention reads q, k and v side by side. */
export const inputShape = ({ op, side, channels }: KernelSpec): [number, number, number] => [
  side,
  side,
  op === "attention" ? 3 * channels : channels,
];

export const kernelInput = (spec: KernelSpec): RefTensor => tensorsOf("x")([1, ...inputShape(spec)]);

/** What the ONNX file of a chain takes, and how a result of ours is spelled there: images [N, C, H, W], tokens [N, L, C]. */
export const hasTokens = ({ op }: KernelSpec): boolean => op === "linear" || op === "attention";

/** Channels `from`..`to` of a tensor [1, H, W, C], in the order of the ONNX file. */
export function asPort(spec: KernelSpec, { shape, data }: RefTensor, from: number, to: number): Float32Array {
  const [, h, w, c] = shape as [number, number, number, number];
  const pixels = h * w;
  const width = to - from;
  const out = new Float32Array(pixels * width);
  for (let p = 0; p < pixels; p++)
    for (let i = 0; i < width; i++)
      out[hasTokens(spec) ? p * width + i : i * pixels + p] = data[p * c + from + i] as number;
  return out;
}

/** The inputs of the ONNX file. */
export function kernelInputs(spec: KernelSpec): Record<string, EncodableTensor> {
  const { side, channels } = spec;
  const x = kernelInput(spec);
  const shape = hasTokens(spec) ? [1, side * side, channels] : [1, channels, side, side];
  return Object.fromEntries(
    inputNames(spec).map((name, i) => {
      const data = asPort(spec, x, i * channels, (i + 1) * channels);
      return [name, { dtype: "F32", shape, data }] as const;
    }),
  );
}

const inputNames = ({ op }: KernelSpec) => (op === "attention" ? ["q", "k", "v"] : ["x"]);

/** A parameter's numbers, from its name: every process makes the same. */
export function kernelParam({ name, shape }: ParamRef): RefTensor {
  const fanIn = numel(shape.slice(1));
  const statistics = name.endsWith("gamma")
    ? { mean: 1, scale: 0.2 }
    : { scale: shape.length > 1 ? fanIn ** -0.5 : 0.1 };
  return tensorsOf(name)(shape, statistics);
}

/** Every parameter of a chain by its name. */
export function kernelParams(spec: KernelSpec): Record<string, EncodableTensor> {
  const { graph } = buildKernelGraph(spec, "buffer");
  return Object.fromEntries(
    graph.params().map((param) => {
      const { shape, data } = kernelParam(param);
      return [param.name, { dtype: "F32", shape, data: Float32Array.from(data) }] as const;
    }),
  );
}

export function buildKernelGraph(spec: KernelSpec, storage: Storage): { graph: Graph; input: Value; output: Value } {
  const { op, channels: c, chain } = spec;
  const graph = new Graph("f32", storage);
  const input = graph.value("x", inputShape(spec), op === "attention" ? [c, c, c] : [c]);
  const weight = (name: string, shape: number[]): WeightSpec => ({
    weight: { name: `${name}.weight`, shape },
    bias: { name: `${name}.bias`, shape: [c] },
    segments: [c],
  });
  const conv = (i: number, x: Value) =>
    graph.conv2d(`conv${i}`, x, [weight(`conv${i}`, [c, c, 3, 3])], { kernel: [3, 3], pad: [1, 1, 1, 1] });
  const norm = (i: number, x: Value) => {
    const param = (name: string) => ({ name: `norm${i}.${name}`, shape: [c] });
    const y = graph.groupNorm(`norm${i}`, x, { gamma: param("gamma"), beta: param("beta"), groups: GROUPS, eps: EPS });
    return graph.activation(`norm${i}`, y, "silu");
  };
  const attend = { kv: input, heads: 1, headDim: c, kGroup: Math.ceil(c / 4), vGroup: 2 * Math.ceil(c / 4) };
  let x = input;
  for (let i = 0; i < chain; i++) {
    if (op === "conv3x3") x = conv(i, x);
    else if (op === "block") x = norm(i, conv(i, x));
    else if (op === "groupNorm") x = norm(i, x);
    else if (op === "linear") x = graph.conv2d(`linear${i}`, x, [weight(`linear${i}`, [c, c])]);
    else x = graph.attention(`attention${i}`, { q: x, ...attend });
  }
  return { graph, input, output: graph.output(x) };
}

/** The same chain as the bytes of an ONNX file: inputs x, or q, k and v; output `output`. */
export async function kernelOnnx(spec: KernelSpec): Promise<Uint8Array> {
  const { side, channels } = spec;
  const { graph, input, output } = buildKernelGraph(spec, "buffer");
  const builder = new OnnxBuilder("f32");
  const tensors = new Tensors(builder);
  const layout = hasTokens(spec) ? "tokens" : "image";
  const shape = hasTokens(spec) ? [side * side, channels] : [channels, side, side];
  const names = inputNames(spec);
  const segments = input.segments.slice(0, input.segments.length / names.length);
  tensors.setParts(
    input,
    layout,
    names.map((name) => ({ name, segments })),
  );
  for (const node of graph.nodes) writeNode({ builder, tensors, style: "expanded" }, node);
  builder.rename(tensors.name(output, layout), "output");
  const port = (name: string) => ({ name, type: "f32", shape }) as const;
  const described = { builder, batch: 1, inputs: names.map(port), outputs: [port("output")] };
  return encodeOnnx(described, async (param) => Float32Array.from(kernelParam(param).data));
}
