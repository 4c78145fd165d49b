/** The building blocks of diffusers' 2-D UNets as graph operations, under the checkpoint's names (models/resnet.py). */

import type { EmbRef } from "../kernels/conv2d/node.ts";
import type { Graph } from "../kernels/graph.ts";
import type { Activation } from "../kernels/parts/activations.ts";
import type { WeightSpec } from "../kernels/weights.ts";
import { channels, conv3, groupNorm, layer } from "../network/layers.ts";
import { channelGroups, makeValue, type Storage, type Value } from "../runtime/values.ts";

const segmentsOf = (specs: readonly WeightSpec[]) => specs.flatMap((s) => s.segments);

/**
 * All resnets' projections of the time embedding, gathered into one table with an entry per (step, image): one matrix
 * product instead of one per resnet and step; two where some take the embedding without its activation.
 */
export class EmbeddingTable {
  /** Projections of the activated embedding, and, after them in an entry, of the embedding as it is. */
  readonly activated: WeightSpec[] = [];
  readonly plain: WeightSpec[] = [];
  #value: Value | undefined;

  constructor(
    private readonly width: number,
    private readonly storage: Storage,
  ) {}

  /**
   * The reference is complete only after the last call.
   * @param segments of what it is added to; twice, for scale and shift. @param plain of the embedding without its activation
   */
  add(name: string, segments: readonly number[], plain = false): EmbRef {
    const outputs = segments.reduce((a, b) => a + b, 0);
    const own = plain ? this.plain : this.activated;
    const before = channelGroups(segmentsOf(own));
    own.push(layer(name, this.width, outputs, 0, segments));
    const group = () => before + (plain ? channelGroups(segmentsOf(this.activated)) : 0);
    const table = () => this.value;
    return {
      get group() {
        return group();
      },
      get table() {
        return table();
      },
    };
  }

  /** The table as the network's input; complete only after the last {@link add}. */
  get value(): Value {
    const segments = segmentsOf([...this.activated, ...this.plain]);
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
  /** The projection takes the time embedding without the activation before it. */
  readonly skipTimeAct?: boolean;
  /** Resamples both branches: nearest ×2, or the mean of 2×2 pixels. */
  readonly resample?: "up" | "down";
}

/** ResnetBlock2D. */
export function resnet(graph: Graph, table: EmbeddingTable, name: string, x: Value, init: ResnetInit): Value {
  const { outputs, groups, eps, act, scaleShift, resample, scaleFactor = 1 } = init;
  const emb = table.add(`${name}.time_emb_proj`, scaleShift ? [outputs, outputs] : [outputs], init.skipTimeAct);
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
