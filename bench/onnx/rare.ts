/** Operations that few networks have (src/kernels/operations/rare.ts). */
import type { ParamRef } from "../../src/kernels/weights.ts";
import { channelGroups } from "../../src/runtime/values.ts";
import type { OnnxBuilder } from "./builder.ts";
import type { Tensors } from "./tensors.ts";
import type { Writer } from "./writing.ts";

const bias = (builder: OnnxBuilder, param: ParamRef | undefined): string[] => (param ? [builder.param(param)] : []);

export const depthwiseConv2d: Writer<"depthwiseConv2d"> = ({ builder, tensors }, { x, weights, y }) => {
  const [group = 1, , side = 1] = weights.weight.shape;
  const inputs = [tensors.name(x, "image"), builder.param(weights.weight), ...bias(builder, weights.bias)];
  const pads = new Array(4).fill((side - 1) / 2);
  tensors.set(y, "image", builder.op("Conv", inputs, { kernel_shape: [side, side], pads, group: BigInt(group) }));
};

export const transposedConv2d: Writer<"transposedConv2d"> = ({ builder, tensors }, { x, weights, stride, pad, y }) => {
  const [, , side = 1] = weights.weight.shape;
  // Inputs first, as torch has them.
  const weight = builder.op("Transpose", [builder.param(weights.weight)], { perm: [1, 0, 2, 3] });
  const inputs = [tensors.name(x, "image"), weight, ...bias(builder, weights.bias)];
  const sides = { kernel_shape: [side, side], strides: [stride, stride], pads: new Array(4).fill(pad) };
  tensors.set(y, "image", builder.op("ConvTranspose", inputs, sides));
};

/** Rows [N, L, C] of some of a value's channels, which begin at a vec4 group. */
export function rowsOf(
  { builder, tensors }: { builder: OnnxBuilder; tensors: Tensors },
  value: Parameters<Tensors["name"]>[0],
  group: number,
  count: number,
): string {
  const part = tensors.partAt(value, group);
  if (part?.channels === count) return tensors.partName(part, "tokens");
  let first = 0;
  for (let groups = 0, i = 0; groups < group; i++) {
    first += value.segments[i] as number;
    groups += channelGroups([value.segments[i] as number]);
  }
  const all = tensors.name(value, "tokens");
  return first === 0 && count === value.shape.at(-1) ? all : builder.slice(all, 2, first, first + count);
}

export const linearAttention: Writer<"linearAttention"> = (w, node) => {
  const { builder, tensors } = w;
  const { heads, headDim, scale } = node;
  const inner = heads * headDim;
  const split = (name: string, perm: readonly number[]) =>
    builder.op("Transpose", [builder.op("Reshape", [name, builder.ints(0, -1, heads, headDim)])], { perm });
  const q = builder.op("Softmax", [split(rowsOf(w, node.q, 0, inner), [0, 2, 1, 3])], { axis: -1n });
  const k = builder.op("Softmax", [split(rowsOf(w, node.kv, node.kGroup, inner), [0, 2, 3, 1])], { axis: -1n });
  const v = split(rowsOf(w, node.kv, node.vGroup, inner), [0, 2, 1, 3]);
  const context = builder.op("Mul", [builder.op("MatMul", [k, v]), builder.scalar(scale)]);
  const merged = builder.op("Transpose", [builder.op("MatMul", [q, context])], { perm: [0, 2, 1, 3] });
  tensors.set(node.y, "tokens", builder.op("Reshape", [merged, builder.ints(0, -1, inner)]));
};

export const rmsNorm: Writer<"rmsNorm"> = ({ builder, tensors }, { x, gamma, emb, y }) => {
  const image = tensors.name(x, "image");
  const channels = x.shape[2] as number;
  const length = builder.op("ReduceL2", [image, builder.ints(1)], { keepdims: 1n });
  const least = builder.op("Max", [length, builder.scalar(1e-12)]);
  const scaled = builder.op("Mul", [builder.op("Div", [image, least]), builder.scalar(Math.sqrt(channels))]);
  let normed = builder.op("Mul", [scaled, builder.param(gamma, { dims: [channels, 1, 1] })]);
  if (emb) {
    const both = tensors.partName(tensors.part(emb.table, emb.group), "image");
    const scale = builder.op("Add", [builder.slice(both, 1, 0, channels), builder.scalar(1)]);
    normed = builder.op("Add", [builder.op("Mul", [normed, scale]), builder.slice(both, 1, channels, 2 * channels)]);
  }
  tensors.set(y, "image", normed);
};

export const prependRows: Writer<"prependRows"> = (w, { x, rows, first, y }) => {
  const { builder, tensors } = w;
  const [count = 0, stored = 0] = rows.shape;
  const width = y.shape[2] as number;
  if (stored !== width) throw new TypeError("internal: learned tokens of heads that are padded are not exported");
  const own = rowsOf(w, x, channelGroups(x.segments.slice(0, first)), width);
  const learned = builder.param(rows, { dims: [1, count, width] });
  // As many images as x has.
  const shape = builder.op(
    "Concat",
    [
      builder.op("Slice", [builder.op("Shape", [own]), builder.ints(0), builder.ints(1), builder.ints(0)]),
      builder.ints(count, width),
    ],
    { axis: 0n },
  );
  tensors.set(y, "tokens", builder.op("Concat", [builder.op("Expand", [learned, shape]), own], { axis: 1n }));
};

export const unitChannels: Writer<"unitChannels"> = (w, { x, scales, y }) => {
  const { builder, tensors } = w;
  const third = (x.shape[2] as number) / 3;
  const groups = channelGroups(x.segments) / 3;
  const parts = scales.map((scale, i) => {
    const rows = rowsOf(w, x, i * groups, third);
    const length = builder.op("ReduceL2", [rows, builder.ints(1)], { keepdims: 1n });
    const least = builder.op("Max", [length, builder.scalar(1e-12)]);
    return builder.op("Mul", [builder.op("Div", [rows, least]), builder.scalar(scale)]);
  });
  const all = [...parts, rowsOf(w, x, 2 * groups, third)];
  tensors.set(y, "tokens", builder.op("Concat", all, { axis: 2n }));
};

export const addVector: Writer<"addVector"> = ({ builder, tensors }, { x, emb, y }) => {
  const part = tensors.partName(tensors.part(emb.table, emb.group), "image");
  tensors.set(y, "image", builder.op("Add", [tensors.name(x, "image"), part]));
};

export const takeSegments: Writer<"takeSegments"> = (w, { x, first, y }) => {
  const rows = rowsOf(w, x, channelGroups(x.segments.slice(0, first)), y.shape[2] as number);
  w.tensors.set(y, "tokens", rows);
};

export const compact: Writer<"compact"> = ({ tensors }, { x, y }) => tensors.share(y, x);
