/** Cases of the operations that few networks have: graphs of one of them, with seeded inputs and parameters. */
import type { Graph } from "../../src/kernels/graph.ts";
import type { rare } from "../../src/kernels/operations/rare.ts";
import { rare as operations } from "../../src/kernels/operations/rare.ts";
import { channelGroups, padded4, type Value } from "../../src/runtime/values.ts";
import type { RareCase } from "../cases.ts";
import * as cases from "../cases.ts";

export type RareName = keyof typeof rare;

/** What a case is made of: the segments of its input, what is added to the graph, the shapes of its parameters. */
interface Made {
  readonly segments: readonly number[];
  readonly params?: Readonly<Record<string, readonly number[]>>;
  /** Segments of a table of embeddings, where one is read. */
  readonly table?: readonly number[];
  add(graph: Graph, x: Value, table: Value): Value;
}

interface Row {
  readonly cases: readonly RareCase[];
  made(it: RareCase): Made;
}

const parts = ({ c, c2 }: RareCase) => (c2 ? [c, c2] : [c]);
const sum = (widths: readonly number[]) => widths.reduce((a, b) => a + b, 0);
const param = (name: string, shape: readonly number[] = []) => ({ name, shape });
/** Behind a part that belongs to another layer. */
const behind = (table: Value) => ({ table, group: channelGroups([5]) });
const heads = ({ c, heads = 1 }: RareCase, times: number) => Array.from({ length: heads * times }, () => c);

function convolved(op: "depthwiseConv2d" | "transposedConv2d", it: RareCase): Made {
  const { o = 0, k = 0 } = it;
  const c = sum(parts(it));
  const shape = op === "depthwiseConv2d" ? [c, 1, k, k] : [o, c, k, k];
  const outputs = shape[0] as number;
  const weights = { weight: param("w", shape), bias: param("b", [outputs]), segments: [outputs] };
  return {
    segments: parts(it),
    params: { w: shape, b: [outputs] },
    add: (graph, x) =>
      op === "depthwiseConv2d"
        ? graph.append(operations.depthwiseConv2d, "test", x, weights)
        : graph.append(operations.transposedConv2d, "test", x, weights, { stride: 2, pad: k === 4 ? 1 : 0 }),
  };
}

/** By the names of the operations. */
export const rareRows: { readonly [K in RareName]: Row } = {
  depthwiseConv2d: { cases: cases.depthwiseConv2dCases, made: (it) => convolved("depthwiseConv2d", it) },
  transposedConv2d: { cases: cases.transposedConv2dCases, made: (it) => convolved("transposedConv2d", it) },
  linearAttention: {
    cases: cases.linearAttentionCases,
    made(it) {
      const { c, heads: count = 1, memory } = it;
      const groups = channelGroups(heads(it, 1));
      const rows = [memory ?? 0, 2 * count * padded4(c)];
      return {
        segments: heads(it, 3),
        params: (memory ? { rows } : {}) as Record<string, number[]>,
        add(graph, x) {
          const init = { q: x, heads: count, headDim: c, scale: 0.25 };
          if (!memory)
            return graph.append(operations.linearAttention, "test", {
              ...init,
              kv: x,
              kGroup: groups,
              vGroup: 2 * groups,
            });
          const kv = graph.append(operations.prependRows, "test", x, param("rows", rows), count);
          return graph.append(operations.linearAttention, "test", { ...init, kv, kGroup: 0, vGroup: groups });
        },
      };
    },
  },
  rmsNorm: {
    cases: cases.rmsNormCases,
    made: ({ c, emb }) => ({
      segments: [c],
      params: { g: [c] },
      table: [5, c, c],
      add: (graph, x, table) =>
        graph.append(operations.rmsNorm, "test", x, param("g", [c]), emb ? behind(table) : undefined),
    }),
  },
  addVector: {
    cases: cases.addVectorCases,
    made: (it) => ({
      segments: parts(it),
      table: [5, ...parts(it)],
      add: (graph, x, table) => graph.append(operations.addVector, "test", x, behind(table)),
    }),
  },
  compact: {
    cases: cases.compactCases,
    made: (it) => ({ segments: parts(it), add: (graph, x) => graph.append(operations.compact, "test", x) }),
  },
  prependRows: {
    cases: cases.prependRowsCases,
    made(it) {
      const rows = [it.memory ?? 0, 2 * (it.heads ?? 1) * padded4(it.c)];
      return {
        segments: heads(it, 3),
        params: { rows },
        add: (graph, x) => graph.append(operations.prependRows, "test", x, param("rows", rows), it.heads ?? 1),
      };
    },
  },
  takeSegments: {
    cases: cases.takeSegmentsCases,
    made: (it) => ({
      segments: [5, ...parts(it), 3],
      add: (graph, x) => graph.append(operations.takeSegments, "test", x, 1, 2),
    }),
  },
  unitChannels: {
    cases: cases.unitChannelsCases,
    made: (it) => ({
      segments: heads(it, 3),
      add: (graph, x) => graph.append(operations.unitChannels, "test", x, [3, 1]),
    }),
  },
};

export const rareNames = Object.keys(rareRows) as RareName[];

/** A row's case as a graph. @param inputs makes the values that the graph reads */
export function rareGraph(
  name: RareName,
  it: RareCase,
  graph: Graph,
  inputs: { image(segments: readonly number[]): Value; table(segments: readonly number[]): Value },
) {
  const made = rareRows[name].made(it);
  const x = inputs.image(made.segments);
  const table = inputs.table(made.table ?? [1]);
  return { output: graph.output(made.add(graph, x, table)), params: made.params ?? {} };
}
