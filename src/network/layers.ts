/**
 * The layers that UNets and autoencoders share, as graph operations under the checkpoint's names (diffusers
 * models/attention_processor.py, models/downsampling.py, models/upsampling.py).
 */
import type { EmbRef } from "../kernels/conv2d/node.ts";
import type { Graph } from "../kernels/graph.ts";
import type { ParamRef, WeightSpec } from "../kernels/weights.ts";
import { channelGroups, type Value } from "../runtime/values.ts";

const param = (name: string, ...shape: number[]): ParamRef => ({ name, shape });

/** Weight and bias of a layer; `kernel` 0 means a linear layer's matrix. */
export function layer(
  name: string,
  inputs: number,
  outputs: number,
  kernel: number,
  segments: readonly number[] = [outputs],
): WeightSpec {
  const shape = kernel === 0 ? [outputs, inputs] : [outputs, inputs, kernel, kernel];
  return { weight: param(`${name}.weight`, ...shape), bias: param(`${name}.bias`, outputs), segments };
}

/** A convolution that keeps the size; `side` of its kernel is odd. */
export function conv(
  graph: Graph,
  name: string,
  x: Value,
  outputs: number,
  side: number,
  { dtype }: { dtype?: "f32" } = {},
): Value {
  const p = (side - 1) / 2;
  const options = { kernel: [side, side], pad: [p, p, p, p], dtype } as const;
  return graph.conv2d(name, x, [layer(name, channels(x), outputs, side)], options);
}

export const conv3 = (graph: Graph, name: string, x: Value, outputs: number): Value => conv(graph, name, x, outputs, 3);

export const channels = (x: Value): number => x.shape.at(-1) as number;

export function groupNorm(graph: Graph, name: string, x: Value, groups: number, eps: number, emb?: EmbRef): Value {
  const c = channels(x);
  return graph.groupNorm(name, x, {
    gamma: param(`${name}.weight`, c),
    beta: param(`${name}.bias`, c),
    groups,
    eps,
    emb,
  });
}

export interface AttentionInit {
  /** Channels per head; null: one head. */
  readonly headDim: number | null;
  /** null: no norm before the projections. */
  readonly groups: number | null;
  readonly eps: number;
  readonly scaleFactor?: number;
}

/** Attention with the residual connection of the former AttentionBlock: q, k and v in one product. */
export function attention(graph: Graph, name: string, x: Value, init: AttentionInit): Value {
  const c = channels(x);
  const headDim = init.headDim ?? c;
  const heads = Math.floor(c / headDim);
  const inner = heads * headDim;
  const segments = Array.from({ length: heads }, () => headDim);
  const normed = init.groups === null ? x : groupNorm(graph, `${name}.group_norm`, x, init.groups, init.eps);
  const weights = ["to_q", "to_k", "to_v"].map((part) => layer(`${name}.${part}`, c, inner, 0, segments));
  const qkv = graph.conv2d(`${name}.qkv`, normed, weights);
  const groups = channelGroups(segments);
  const y = graph.attention(name, { q: qkv, kv: qkv, heads, headDim, kGroup: groups, vGroup: 2 * groups });
  const out = `${name}.to_out.0`;
  return graph.add(name, x, graph.conv2d(out, y, [layer(out, inner, c, 0)]), 1 / (init.scaleFactor ?? 1));
}

/** Downsample2D by convolution; padding 0 means zeros at the right and bottom only. */
export function downsample(graph: Graph, name: string, x: Value, padding: number): Value {
  const label = `${name}.conv`;
  const pad = padding === 0 ? ([0, 0, 1, 1] as const) : ([padding, padding, padding, padding] as const);
  return graph.conv2d(label, x, [layer(label, channels(x), channels(x), 3)], { kernel: [3, 3], stride: 2, pad });
}

/** Upsample2D: nearest ×2 (or to the size of `like`, at most one less), then a convolution. */
export const upsample = (graph: Graph, name: string, x: Value, like?: Value): Value =>
  conv3(graph, `${name}.conv`, graph.upsample(name, x, like), channels(x));
