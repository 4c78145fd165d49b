/** Evaluates a graph node by node in f64 with the oracles: what fusion and lowering must not change. */
import type { EmbRef } from "../../src/kernels/conv2d/node.ts";
import type { Graph } from "../../src/kernels/graph.ts";
import type { BuiltName, BuiltNode } from "../../src/kernels/operations/table.ts";
import { isParam } from "../../src/kernels/operations/take.ts";
import type { ParamRef } from "../../src/kernels/weights.ts";
import { channelPositions, type Value } from "../../src/runtime/values.ts";
import { activation } from "../reference/activations.ts";
import { attention } from "../reference/attention.ts";
import { avgPool2 } from "../reference/avgPool2.ts";
import { codebook } from "../reference/codebook.ts";
import { concat } from "../reference/concat.ts";
import { conv2d } from "../reference/conv2d.ts";
import { crop } from "../reference/crop.ts";
import { groupNorm } from "../reference/groupNorm.ts";
import { layerNorm } from "../reference/layerNorm.ts";
import { depthwiseConv2d, linearAttention, rmsNorm, transposedConv2d, unitChannels } from "../reference/rare.ts";
import { dim, type RefTensor, tensor } from "../reference/tensor.ts";
import { upsample } from "../reference/upsample.ts";
import { type Pointwise, pointwiseRows } from "./pointwise.ts";

/** What is known when a node is evaluated. */
class Known {
  readonly values: Map<Value, RefTensor>;

  constructor(
    inputs: ReadonlyMap<Value, RefTensor>,
    private readonly params: Readonly<Record<string, RefTensor>>,
  ) {
    this.values = new Map(inputs);
  }

  readonly of = (value: Value): RefTensor => {
    const found = this.values.get(value);
    if (!found) throw new Error(`${value.name} is used before it is computed`);
    return found;
  };

  readonly param = ({ name }: ParamRef): RefTensor => this.params[name] as RefTensor;

  /** `count` channels of a value from a vec4 group on, as [N, pixels, count]. */
  part(value: Value, group: number, count: number): RefTensor {
    return columns(this.of(value), channelPositions(value.segments).indexOf(group * 4), count);
  }

  embedding({ table, group }: EmbRef, count: number): RefTensor {
    const rows = this.part(table, group, count);
    return tensor([dim(rows, 0), count], rows.data);
  }
}

/** `count` columns of a tensor's last axis from `first` on, as [N, rows, count]. */
function columns(t: RefTensor, first: number, count: number): RefTensor {
  const width = t.shape.at(-1) as number;
  const rows = t.data.length / width;
  const n = dim(t, 0);
  return tensor([n, rows / n, count], (i) => t.data[Math.floor(i / count) * width + first + (i % count)] as number);
}

/** Some columns of a matrix. */
function columnsAt(t: RefTensor, positions: readonly number[]): RefTensor {
  const width = dim(t, 1);
  const count = positions.length;
  return tensor(
    [dim(t, 0), count],
    (i) => t.data[Math.floor(i / count) * width + (positions[i % count] as number)] as number,
  );
}

type Oracle<K extends BuiltName> = (known: Known, node: BuiltNode<K>) => RefTensor;

const onOneValue = Object.fromEntries(
  pointwiseRows.map(([op, { f64 }]) => [op, ({ of }: Known, { x }: { x: Value }) => f64(of(x))]),
) as unknown as { readonly [K in Pointwise]: Oracle<K> };

/** Every operation in f64, by its name. */
export const oracles: { readonly [K in BuiltName]: Oracle<K> } = {
  ...onOneValue,
  conv2d({ of, param }, { view, weights, kernel, stride, pad, y }) {
    const x = of(view.sources[0]);
    const joined = weights.flatMap(({ weight }) => [...param(weight).data]);
    const bias = weights.flatMap(({ weight, bias }) =>
      bias ? [...param(bias).data] : Array.from({ length: weight.shape[0] as number }, () => 0),
    );
    const outputs = y.shape[2] as number;
    const weight = tensor([outputs, dim(x, 3), ...kernel], joined);
    return conv2d({ x, weight, bias: tensor([outputs], bias), stride, pad });
  },
  groupNorm(known, { x, gamma, beta, groups, eps, emb }) {
    const { of, param } = known;
    const row = emb && known.embedding(emb, 2 * (x.shape[2] as number));
    return groupNorm({ x: of(x), gamma: param(gamma), beta: param(beta), groups, eps, emb: row });
  },
  activation: ({ of }, { x, act }) => activation(of(x), act),
  concat: ({ of }, { a, b }) => concat(of(a), of(b)),
  upsample: ({ of }, { x, y: { shape } }) => crop(upsample(of(x)), shape[0] as number, shape[1] as number),
  avgPool: ({ of }, { x }) => avgPool2(of(x)),
  scaleShift({ of }, { x: value, scale, shift }) {
    const x = of(value);
    return tensor(x.shape, (i) => (x.data[i] as number) * scale + shift);
  },
  add({ of }, node) {
    const [a, b] = [of(node.a), of(node.b)];
    return tensor(a.shape, (i) => ((a.data[i] as number) + (b.data[i] as number)) * node.scale);
  },
  addEmb(known, node) {
    const x = known.of(node.x);
    const [c, perImage] = [dim(x, 3), x.data.length / dim(x, 0)];
    const row = known.embedding(node.emb, c).data;
    return tensor(x.shape, (i) => (x.data[i] as number) + (row[Math.floor(i / perImage) * c + (i % c)] as number));
  },
  layerNorm({ of, param }, { x, gamma, beta, eps }) {
    const zeros = tensor([x.shape[2] as number], 0);
    return layerNorm({ x: of(x), gamma: param(gamma), beta: beta ? param(beta) : zeros, eps });
  },
  attention(known, { q, kv, heads, headDim, kGroup, vGroup, y }) {
    const part = (value: Value, group: number) => known.part(value, group, heads * headDim);
    const out = attention({ q: part(q, 0), k: part(kv, kGroup), v: part(kv, vGroup), heads });
    return tensor([dim(out, 0), ...y.shape], out.data);
  },
  depthwiseConv2d: ({ of, param }, { x, weights: { weight, bias } }) =>
    depthwiseConv2d(of(x), param(weight), param(bias as ParamRef)),
  transposedConv2d: ({ of, param }, { x, weights: { weight, bias }, stride, pad }) =>
    transposedConv2d({ x: of(x), weight: param(weight), bias: param(bias as ParamRef), stride, pad }),
  linearAttention(known, { q, kv, heads, headDim, kGroup, vGroup, scale, y }) {
    const part = (value: Value, group: number) => known.part(value, group, heads * headDim);
    const out = linearAttention({ q: part(q, 0), k: part(kv, kGroup), v: part(kv, vGroup), heads, scale });
    return tensor([dim(out, 0), ...y.shape], out.data);
  },
  rmsNorm(known, { x, gamma, emb }) {
    const row = emb && known.embedding(emb, 2 * (x.shape[2] as number));
    return rmsNorm(known.of(x), known.param(gamma), row);
  },
  addVector(known, node) {
    const x = known.of(node.x);
    const [c, perImage] = [dim(x, 3), x.data.length / dim(x, 0)];
    const row = known.embedding(node.emb, c).data;
    return tensor(x.shape, (i) => (x.data[i] as number) + (row[Math.floor(i / perImage) * c + (i % c)] as number));
  },
  compact: ({ of }, { x }) => of(x),
  takeSegments(known, { x, first, y }) {
    const from = x.segments.slice(0, first).reduce((a, b) => a + b, 0);
    const taken = columns(known.of(x), from, y.shape[2] as number);
    return tensor([dim(taken, 0), ...y.shape], taken.data);
  },
  unitChannels: ({ of }, { x, scales }) => unitChannels(of(x), scales),
  prependRows(known, { x, rows, first, y }) {
    const value = known.of(x);
    const [tokens, width] = y.shape.slice(1) as [number, number];
    const from = x.segments.slice(0, first).reduce((a, b) => a + b, 0);
    const learned = columnsAt(known.param(rows), channelPositions(y.segments));
    const count = dim(learned, 0);
    const stride = dim(value, 3);
    return tensor([dim(value, 0), ...y.shape], (i) => {
      const [c, token, n] = [i % width, Math.floor(i / width) % tokens, Math.floor(i / (width * tokens))];
      if (token < count) return learned.data[token * width + c] as number;
      return value.data[(n * (tokens - count) + token - count) * stride + from + c] as number;
    });
  },
  lookup(known, { x, table, indices }) {
    const found = codebook({ x: known.of(x), table: known.param(table) });
    known.values.set(indices, found.indices);
    return found.y;
  },
  take({ of, param }, { table, order, y }) {
    const values = isParam(table) ? param(table) : of(table);
    const [picked, width] = [of(order).data, dim(values, 1)];
    return tensor(
      [picked.length, ...y.shape],
      (i) => values.data[(picked[Math.floor(i / width)] as number) * width + (i % width)] as number,
    );
  },
};

export function interpret(
  graph: Graph,
  inputs: ReadonlyMap<Value, RefTensor>,
  params: Readonly<Record<string, RefTensor>>,
): Map<Value, RefTensor> {
  const known = new Known(inputs, params);
  for (const node of graph.nodes) known.values.set(node.y, oracles[node.op as BuiltName](known, node as never));
  return known.values;
}
