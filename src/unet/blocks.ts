/**
 * The building blocks of diffusers' 2-D UNets as graph operations, under the checkpoint's names
 * (models/resnet.py, models/attention_processor.py, models/downsampling.py, models/upsampling.py).
 */
import type { Activation, EmbRef, Graph, ParamRef, WeightSpec } from "../runtime/graph.ts";
import { channelGroups, makeValue, type Storage, type Value } from "../runtime/values.ts";

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

export const conv3 = (graph: Graph, name: string, x: Value, outputs: number): Value =>
  graph.conv2d(name, x, [layer(name, channels(x), outputs, 3)], { kernel: [3, 3], pad: [1, 1, 1, 1] });

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

/**
 * All resnets' projections of the time embedding, gathered into one table with a row per (step, image): one matrix
 * product instead of one per resnet and step.
 */
export class EmbeddingTable {
  readonly specs: WeightSpec[] = [];
  #value: Value | undefined;

  constructor(
    private readonly width: number,
    private readonly storage: Storage,
  ) {}

  /** @param parts 1, or 2 for scale and shift */
  add(name: string, outputs: number, parts: number): EmbRef {
    const segments = Array.from({ length: parts }, () => outputs);
    const group = this.specs.reduce((sum, s) => sum + channelGroups(s.segments), 0);
    this.specs.push(layer(name, this.width, outputs * parts, 0, segments));
    const table = () => this.value;
    return {
      group,
      get table() {
        return table();
      },
    };
  }

  /** The table as the network's input; complete only after the last {@link add}. */
  get value(): Value {
    const segments = this.specs.flatMap((s) => s.segments);
    this.#value ??= makeValue({
      name: "time_embedding.projections",
      shape: [1, 1, segments.reduce((a, b) => a + b, 0)],
      batched: true,
      dtype: "f32",
      storage: this.storage,
      segments,
    });
    return this.#value;
  }
}

export interface ResnetInit {
  readonly outputs: number;
  readonly groups: number;
  readonly eps: number;
  readonly act: Activation;
  readonly scaleShift: boolean;
  /** Divides the sum of both branches. */
  readonly scaleFactor?: number;
  /** Resamples both branches: nearest ×2, or the mean of 2×2 pixels. */
  readonly resample?: "up" | "down";
}

/** ResnetBlock2D. */
export function resnet(graph: Graph, table: EmbeddingTable, name: string, x: Value, init: ResnetInit): Value {
  const { outputs, groups, eps, act, scaleShift, resample, scaleFactor = 1 } = init;
  const emb = table.add(`${name}.time_emb_proj`, outputs, scaleShift ? 2 : 1);
  let h = graph.activation(`${name}.norm1`, groupNorm(graph, `${name}.norm1`, x, groups, eps), act);
  let shortcut = x;
  if (resample === "up") {
    h = graph.upsample(name, h);
    shortcut = graph.upsample(`${name}.shortcut`, x);
  } else if (resample === "down") {
    h = graph.avgPool(name, h);
    shortcut = graph.avgPool(`${name}.shortcut`, x);
  }
  h = conv3(graph, `${name}.conv1`, h, outputs);
  if (!scaleShift) h = graph.addEmb(`${name}.conv1`, h, emb);
  h = groupNorm(graph, `${name}.norm2`, h, groups, eps, scaleShift ? emb : undefined);
  h = graph.activation(`${name}.norm2`, h, act);
  if (channels(x) !== outputs) {
    const label = `${name}.conv_shortcut`;
    shortcut = graph.conv2d(label, shortcut, [layer(label, channels(x), outputs, 1)]);
  }
  return graph.add(name, shortcut, conv3(graph, `${name}.conv2`, h, outputs), 1 / scaleFactor);
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

/** Upsample2D: nearest ×2, then a convolution. */
export const upsample = (graph: Graph, name: string, x: Value): Value =>
  conv3(graph, `${name}.conv`, graph.upsample(name, x), channels(x));
