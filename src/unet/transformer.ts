/**
 * Transformer2DModel (diffusers models/transformers/transformer_2d.py, models/attention.py; SpatialTransformer in
 * latent-diffusion): over the pixels of an image as tokens, blocks of attention among them, attention to a context, and
 * a gated feed-forward network, each behind a LayerNorm and with a residual connection.
 */
import { Graph } from "../kernels/graph.ts";
import type { WeightSpec } from "../kernels/weights.ts";
import { channels, groupNorm, layer } from "../network/layers.ts";
import { channelGroups, type DType, makeValue, type Storage, type Value } from "../runtime/values.ts";
import type { Transformer } from "./spec.ts";

/** Of the GroupNorm before the blocks, and of the LayerNorms in them; no configuration changes them. */
const GROUP_EPS = 1e-6;
const LAYER_EPS = 1e-5;

/** Projections without bias; their outputs are heads. */
function heads(name: string, inputs: number, { heads, head_dim }: Transformer): WeightSpec {
  const segments = Array.from({ length: heads }, () => head_dim);
  return { weight: layer(name, inputs, heads * head_dim, 0).weight, segments };
}

/**
 * The keys and values that every layer makes of the context. They depend on nothing else, so a graph of their own makes
 * them once, and each evaluation reads them.
 */
export class Context {
  readonly graph: Graph;
  /** f32 [1, length, width] in a buffer. */
  readonly input: Value;

  constructor(length: number, width: number, dtype: Exclude<DType, "u32">, storage: Storage) {
    this.graph = new Graph(dtype, storage);
    this.input = makeValue({
      name: "context",
      shape: [1, length, width],
      batched: true,
      dtype: "f32",
      storage: "buffer",
    });
  }

  /** Keys, then values of the attention `name`, [1, length, 2·inner]. */
  keysValues(name: string, init: Transformer): Value {
    const weights = ["to_k", "to_v"].map((part) => heads(`${name}.${part}`, channels(this.input), init));
    return this.graph.output(this.graph.conv2d(`${name}.kv`, this.input, weights));
  }
}

/** Attention of `x`, already normed, to itself or to the context; without the residual connection. */
function attend(graph: Graph, name: string, x: Value, init: Transformer, context?: Context): Value {
  const inner = channels(x);
  const { heads: count, head_dim: headDim } = init;
  const project = (part: string) => heads(`${name}.${part}`, inner, init);
  const groups = channelGroups(project("to_q").segments);
  const out = `${name}.to_out.0`;
  let q: Value;
  let kv: Value;
  if (context) {
    q = graph.conv2d(`${name}.to_q`, x, [project("to_q")]);
    kv = context.keysValues(name, init);
  } else {
    q = graph.conv2d(`${name}.qkv`, x, ["to_q", "to_k", "to_v"].map(project));
    kv = q;
  }
  const kGroup = context ? 0 : groups;
  const y = graph.attention(name, { q, kv, heads: count, headDim, kGroup, vGroup: kGroup + groups });
  return graph.conv2d(out, y, [layer(out, inner, inner, 0)]);
}

function layerNorm(graph: Graph, name: string, x: Value): Value {
  const param = (part: string) => ({ name: `${name}.${part}`, shape: [channels(x)] });
  return graph.layerNorm(name, x, { gamma: param("weight"), beta: param("bias"), eps: LAYER_EPS });
}

/** BasicTransformerBlock. */
function block(graph: Graph, name: string, x: Value, init: Transformer, context: Context): Value {
  const inner = channels(x);
  const self = attend(
    graph,
    `${name}.attn1`,
    layerNorm(graph, `${name}.norm1`, x),
    init,
    init.only_cross ? context : undefined,
  );
  let h = graph.add(`${name}.attn1.sum`, x, self);
  const cross = attend(graph, `${name}.attn2`, layerNorm(graph, `${name}.norm2`, h), init, context);
  h = graph.add(`${name}.attn2.sum`, h, cross);
  const [gate, out] = [`${name}.ff.net.0.proj`, `${name}.ff.net.2`];
  const wide = 4 * inner;
  const gated = graph.conv2d(gate, layerNorm(graph, `${name}.norm3`, h), [
    layer(gate, inner, 2 * wide, 0, [wide, wide]),
  ]);
  const forward = graph.conv2d(out, graph.geglu(`${name}.ff`, gated), [layer(out, wide, inner, 0)]);
  return graph.add(name, h, forward);
}

/** @param groups of the norm before the blocks. @param depth number of blocks */
export function transformer(
  graph: Graph,
  context: Context,
  name: string,
  x: Value,
  init: Transformer & { groups: number; depth: number },
): Value {
  const c = channels(x);
  const inner = init.heads * init.head_dim;
  const kernel = init.linear_projection ? 0 : 1;
  const normed = groupNorm(graph, `${name}.norm`, x, init.groups, GROUP_EPS);
  let h = graph.conv2d(`${name}.proj_in`, normed, [layer(`${name}.proj_in`, c, inner, kernel)]);
  for (let i = 0; i < init.depth; i++) h = block(graph, `${name}.transformer_blocks.${i}`, h, init, context);
  return graph.add(name, x, graph.conv2d(`${name}.proj_out`, h, [layer(`${name}.proj_out`, inner, c, kernel)]));
}
