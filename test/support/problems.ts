/**
 * Cases of the table (test/cases.ts) as work for a GPU: fused operations, their inputs and parameters, and what the f64
 * oracle expects. Tests check them, `ddim bench kernels` checks and times them.
 */
import type { ConvNode } from "../../src/kernels/conv2d/node.ts";
import { Graph } from "../../src/kernels/graph.ts";
import { fold, lowerGraph } from "../../src/kernels/lower.ts";
import type { Node } from "../../src/kernels/operations/table.ts";
import type { Cost, Target } from "../../src/runtime/kernel.ts";
import { channelGroups, type Value } from "../../src/runtime/values.ts";
import {
  type AttentionCase,
  attentionCases,
  type Conv2dCase,
  caseName,
  conv2dCases,
  type GroupNormCase,
  groupNormCases,
  type LinearCase,
  linearCases,
  type RareCase,
  type ShapeCase,
} from "../cases.ts";
import { activation } from "../reference/activations.ts";
import { type AttentionArgs, attention } from "../reference/attention.ts";
import { conv2d } from "../reference/conv2d.ts";
import { groupNorm } from "../reference/groupNorm.ts";
import { attentionInputs, conv2dInputs, groupNormInputs, linearInputs, tensorsOf } from "../reference/inputs.ts";
import { linear } from "../reference/linear.ts";
import { numel, type RefTensor, tensor } from "../reference/tensor.ts";
import { Inputs, rounded } from "./gpuTensors.ts";
import { interpret } from "./interpreter.ts";
import { type Pointwise, pointwise, pointwiseRows } from "./pointwise.ts";
import { type RareName, rareGraph, rareNames, rareRows } from "./rare.ts";

export type StoredDType = "f32" | "f16";

export interface Problem {
  readonly ops: readonly Node[];
  readonly batch: number;
  readonly inputs: ReadonlyMap<Value, RefTensor>;
  readonly params: Readonly<Record<string, RefTensor | undefined>>;
  readonly output: Value;
  /** Shape of the result, batch first. */
  readonly shape: readonly number[];
  expected(): RefTensor;
  /** Of the algorithm by its definition, whatever an implementation does; bytes: inputs, parameters and result once. */
  readonly cost: Cost;
}

export type MakeProblem<C> = (it: C, target: Target, dtype: StoredDType) => Problem;

type Parts = Omit<Problem, "cost" | "inputs"> & { inputs: Inputs; flops: number; dtype: StoredDType };

function problem({ inputs, flops, dtype, ...parts }: Parts): Problem {
  const tensors = [...inputs.map.values(), ...Object.values(parts.params)];
  const elements = tensors.reduce((sum, t) => sum + (t?.data.length ?? 0), numel(parts.shape));
  return { ...parts, inputs: inputs.map, cost: { flops, bytes: elements * (dtype === "f16" ? 2 : 4) } };
}

export const convProblem: MakeProblem<Conv2dCase> = (it, target, dtype) => {
  const args = conv2dInputs(it);
  const { n, h, w, c, c2 = 0, o, k, stride = 1, pad } = it;
  const grown = it.upsample ? 2 : 1;
  const size = (length: number, padding: number) => Math.floor((length * grown + padding - k) / stride) + 1;
  const shape = [n, size(h, pad[0] + pad[2]), size(w, pad[1] + pad[3]), o];
  const inputs = new Inputs(target, dtype);
  const x = inputs.add("x", args.x);
  const segments = args.x2 ? [c, c2] : [c];
  const { affine, x2, bias, channelAdd, residual } = args;
  const sources: ConvNode["view"]["sources"] = x2 ? [x, inputs.add("x2", x2)] : [x];
  const scaleShift =
    affine &&
    tensor([n, 2, c + c2], (i) => {
      const from = Math.floor(i / (c + c2)) % 2 ? affine.shift : affine.scale;
      return from.data[Math.floor(i / (2 * (c + c2))) * (c + c2) + (i % (c + c2))] as number;
    });
  const y = inputs.output("y", shape.slice(1));
  const op: ConvNode = {
    op: "conv2d",
    label: "test",
    view: {
      sources,
      affine: scaleShift && inputs.add("affine", scaleShift, { dtype: "f32", segments }),
      act: it.act ?? "none",
      upsample: it.upsample ?? false,
    },
    weights: [
      {
        weight: { name: "w", shape: args.weight.shape },
        bias: bias && { name: "b", shape: [o] },
        segments: [o],
      },
    ],
    kernel: [k, k],
    stride,
    pad,
    emb: channelAdd && { table: inputs.add("emb", channelAdd, { dtype: "f32" }), group: 0 },
    residual: residual && inputs.add("residual", residual),
    scale: it.outScale ?? 1,
    y,
  };
  const params = { w: args.weight, b: bias };
  const flops = 2 * numel(shape) * (c + c2) * k * k;
  return problem({ ops: [op], batch: n, inputs, params, output: y, shape, expected: () => conv2d(args), flops, dtype });
};

/** GroupNorm with its activation, written out. */
export const groupNormProblem: MakeProblem<GroupNormCase> = (it, target, dtype) => {
  const args = groupNormInputs(it);
  const { n, h, w, c, c2 = 0, act = "none", groups, eps } = it;
  const segments = c2 ? [c, c2] : [c];
  const stored = { ...args, x: rounded(args.x, dtype), x2: args.x2 && rounded(args.x2, dtype) };
  const inputs = new Inputs(target, dtype);
  const x = inputs.add("x", stored.x);
  const sources: ConvNode["view"]["sources"] = stored.x2 ? [x, inputs.add("x2", stored.x2)] : [x];
  const affine = inputs.output("affine", [2, c + c2], { dtype: "f32", segments });
  const y = inputs.output("y", [h, w, c + c2], { segments });
  const emb = args.emb && {
    table: inputs.add("emb", args.emb, { dtype: "f32", segments: [...segments, ...segments] }),
    group: 0,
  };
  const param = (name: string) => ({ name, shape: [c + c2] });
  const ops: Node[] = [
    { op: "norm", label: "norm", sources, gamma: param("gamma"), beta: param("beta"), groups, eps, emb, y: affine },
    { op: "apply", label: "apply", view: { sources, affine, act, upsample: false }, pool: false, y },
  ];
  const shape = [n, h, w, c + c2];
  const params = { gamma: args.gamma, beta: args.beta };
  // Two sums, two multiply-adds, and some four operations of an activation, per element.
  const flops = (act === "none" ? 6 : 10) * numel(shape);
  const expected = () => activation(groupNorm(stored), act);
  return problem({ ops, batch: n, inputs, params, output: y, shape, expected, flops, dtype });
};

/** Lengths are laid out as an image where they have a factor, because the network's are. */
const image = (length: number): [number, number] => (length % 5 === 0 ? [length / 5, 5] : [1, length]);

/** Tensors [N, L, C] side by side on the channel axis, as one product writes q, k and v. */
function beside(parts: readonly RefTensor[]): RefTensor {
  const [n, l, c] = (parts[0] as RefTensor).shape as [number, number, number];
  const width = c * parts.length;
  return tensor([n, ...image(l), width], (i) => {
    const column = i % width;
    return (parts[Math.floor(column / c)] as RefTensor).data[Math.floor(i / width) * c + (column % c)] as number;
  });
}

/** @param given instead of the case's own tensors */
export function attentionProblem(
  it: AttentionCase,
  target: Target,
  dtype: StoredDType,
  given: AttentionArgs = attentionInputs(it),
): Problem {
  const { n, l, lk, heads, d } = it;
  const args = { ...given, q: rounded(given.q, dtype), k: rounded(given.k, dtype), v: rounded(given.v, dtype) };
  const inputs = new Inputs(target, dtype);
  const segments = Array.from({ length: heads }, () => d);
  const repeat = (count: number) => Array.from({ length: count }, () => segments).flat();
  const groups = channelGroups(segments);
  const joint = lk === undefined;
  const q = joint
    ? inputs.add("qkv", beside([args.q, args.k, args.v]), { segments: repeat(3) })
    : inputs.add("q", beside([args.q]), { segments });
  const kv = joint ? q : inputs.add("kv", beside([args.k, args.v]), { segments: repeat(2) });
  const shape = [n, ...image(l), heads * d];
  const y = inputs.output("y", shape.slice(1), { segments });
  const first = joint ? groups : 0;
  const op: Node = {
    op: "attention",
    label: "a",
    q,
    kv,
    y,
    heads,
    headDim: d,
    kGroup: first,
    vGroup: first + groups,
  };
  const flops = 4 * n * l * (lk ?? l) * heads * d;
  const expected = () => attention(args);
  return problem({ ops: [op], batch: n, inputs, params: {}, output: y, shape, expected, flops, dtype });
}

/** A linear layer is a 1×1 convolution of one pixel per row. */
export const linearProblem: MakeProblem<LinearCase> = (it, target, dtype) => {
  const { m, k, o } = it;
  const args = linearInputs(it);
  const x = rounded(args.x, dtype);
  const weight = rounded(args.weight, dtype);
  const inputs = new Inputs(target, dtype);
  const y = inputs.output("y", [1, 1, o]);
  const op: ConvNode = {
    op: "conv2d",
    label: "linear",
    view: { sources: [inputs.add("x", tensor([m, 1, 1, k], x.data))], act: "none", upsample: false },
    // The matrix as checkpoints store it, [O, K].
    weights: [{ weight: { name: "w", shape: [o, k] }, bias: args.bias && { name: "b", shape: [o] }, segments: [o] }],
    kernel: [1, 1],
    stride: 1,
    pad: [0, 0, 0, 0],
    scale: 1,
    y,
  };
  const params = { w: weight, b: args.bias };
  const expected = () => linear({ x, weight, bias: args.bias });
  const shape = [m, 1, 1, o];
  return problem({ ops: [op], batch: m, inputs, params, output: y, shape, expected, flops: 2 * m * k * o, dtype });
};

/** An operation on one value, built and fused as in a network. @param it `scale`: standard deviation of its input */
export function pointwiseProblem(op: Pointwise): MakeProblem<ShapeCase & { scale?: number }> {
  const { f64, parts } = pointwise[op];
  return ({ n, h, w, c, scale = 1 }, target, dtype) => {
    const x = rounded(tensorsOf(caseName(op, { n, h, w, c }))([n, h, w, parts * c], { scale }), dtype);
    const graph = new Graph(dtype, target.storage);
    const inputs = new Inputs(target, dtype);
    const output = graph.output(graph[op]("test", inputs.add("x", x, { segments: new Array(parts).fill(c) })));
    const flops = lowerGraph(graph, target).calls.reduce((sum, call) => sum + call.cost(n).flops, 0);
    const expected = () => f64(x);
    const shape = [n, ...output.shape];
    return problem({ ops: fold(graph), batch: n, inputs, params: {}, output, shape, expected, flops, dtype });
  };
}

/** An operation that few networks have, built and fused as in a network; the f64 interpreter has the oracle. */
export function rareProblem(op: RareName): MakeProblem<RareCase> {
  return (it, target, dtype) => {
    const { n, h, w } = it;
    const seeded = tensorsOf(caseName(op, it));
    const inputs = new Inputs(target, dtype);
    const graph = new Graph(dtype, target.storage);
    const given = (name: string, shape: readonly number[], segments: readonly number[], own: StoredDType) => {
      const width = segments.reduce((a, b) => a + b, 0);
      return inputs.add(name, rounded(seeded([...shape, width]), own), { segments, dtype: own });
    };
    const { output, params: shapes } = rareGraph(op, it, graph, {
      image: (segments) => given("x", [n, h, w], segments, dtype),
      table: (segments) => given("table", [n, 1, 1], segments, "f32"),
    });
    const convolved = (name: string) => (name === "w" ? dtype : "f32");
    const params = Object.fromEntries(
      Object.entries(shapes).map(([name, shape]) => [name, rounded(seeded(shape), convolved(name))]),
    );
    const flops = lowerGraph(graph, target).calls.reduce((sum, call) => sum + call.cost(n).flops, 0);
    const expected = () => interpret(graph, inputs.map, params).get(output) as RefTensor;
    const shape = [n, ...output.shape];
    return problem({ ops: fold(graph), batch: n, inputs, params, output, shape, expected, flops, dtype });
  };
}

/** An operation of the table: its cases, and how one becomes a problem. */
export interface CaseTable<C extends object = object> {
  readonly cases: readonly C[];
  readonly make: MakeProblem<C>;
}

const table = <C extends object>(cases: readonly C[], make: MakeProblem<C>) =>
  ({ cases, make }) as unknown as CaseTable;

export const caseTables: Readonly<Record<string, CaseTable>> = {
  conv2d: table(conv2dCases, convProblem),
  groupNorm: table(groupNormCases, groupNormProblem),
  attention: table<AttentionCase>(attentionCases, (it, target, dtype) => attentionProblem(it, target, dtype)),
  linear: table(linearCases, linearProblem),
  ...Object.fromEntries(rareNames.map((op) => [op, table(rareRows[op].cases, rareProblem(op))])),
  ...Object.fromEntries(pointwiseRows.map(([op, { cases }]) => [op, table(cases, pointwiseProblem(op))])),
};
