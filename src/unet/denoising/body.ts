/** The networks of denoising-diffusion-pytorch and of the Annotated Diffusion post, from the input to the output. */
import { rare } from "../../kernels/operations/rare.ts";
import { channels, conv, conv3, layer } from "../../network/layers.ts";
import type { Value } from "../../runtime/values.ts";
import type { BodyParts, EmbeddingParts } from "../spec.ts";
import { type AttentionInit, attention, convNext, type Parts, resnet } from "./blocks.ts";
import type { Traits } from "./traits.ts";

/** How a level changes the size at its end. */
export type Change = "none" | "strided" | "space" | "transposed" | "nearest";

export interface DenoisingLevel {
  /** Of its blocks going down, where there are two skip connections, and what its change makes of them. */
  readonly inputs: number;
  readonly outputs: number;
  readonly attention: AttentionInit;
}

export interface Denoising {
  readonly traits: Traits;
  readonly groups: number;
  /** Of a ConvNeXt block's width, inside. */
  readonly mult: number;
  readonly levels: readonly DenoisingLevel[];
  readonly middle: AttentionInit;
  /** Attention going up, by the place of the level. */
  readonly up: readonly AttentionInit[];
  /** Channels of the last blocks. */
  readonly dim: number;
  readonly initDim: number;
  readonly initKernel: number;
  readonly outputs: number;
  readonly down: "strided" | "space";
  readonly upsample: "transposed" | "nearest";
  has(name: string): boolean;
}

function changed(parts: Parts, name: string, x: Value, outputs: number, change: Change): Value {
  const { graph, tap } = parts;
  const c = channels(x);
  if (change === "none") return tap(name, x);
  if (change === "strided")
    return graph.conv2d(name, x, [layer(name, c, outputs, 4)], { kernel: [4, 4], stride: 2, pad: [1, 1, 1, 1] });
  // Four pixels as channels and a 1×1 convolution: the weights are those of a 2×2 convolution, in the same order.
  if (change === "space")
    return graph.conv2d(`${name}.1`, x, [layer(`${name}.1`, c, outputs, 2)], { kernel: [2, 2], stride: 2 });
  if (change === "nearest") return conv3(graph, `${name}.1`, graph.upsample(`${name}.0`, x), outputs);
  return graph.append(rare.transposedConv2d, name, x, layer(name, c, outputs, 4), { stride: 2, pad: 1 });
}

/** One skip connection a level; blocks change the width. The skip of the first level has no partner. */
function single(parts: Parts, network: Denoising, first: Value): Value {
  const { graph } = parts;
  const { levels, mult, down, traits } = network;
  const block = (name: string, x: Value, outputs: number, timed = true) =>
    traits.convnext ? convNext(parts, name, x, outputs, mult, timed) : resnet(parts, name, x, outputs, timed);
  const skips: Value[] = [];
  let x = first;
  levels.forEach(({ outputs, attention: init }, i) => {
    const name = `downs.${i}`;
    x = block(`${name}.1`, block(`${name}.0`, x, outputs), outputs);
    x = attention(parts, `${name}.2`, x, init);
    skips.push(x);
    x = changed(parts, `${name}.3`, x, outputs, i < levels.length - 1 ? down : "none");
  });
  x = block("mid_block1", x, channels(x));
  x = block("mid_block2", attention(parts, "mid_attn", x, network.middle), channels(x));
  for (let level = levels.length - 1; level > 0; level--) {
    const { inputs } = levels[level] as DenoisingLevel;
    const name = `ups.${levels.length - 1 - level}`;
    const joined = graph.concat(name, x, skips.pop() as Value);
    x = block(`${name}.1`, block(`${name}.0`, joined, inputs), inputs);
    x = attention(parts, `${name}.2`, x, network.up[level] as AttentionInit);
    x = changed(parts, `${name}.3`, x, inputs, network.upsample);
  }
  return block("final_conv.0", x, network.dim, false);
}

/** Two skip connections a level, and the first feature map joined at the end. */
function double(parts: Parts, network: Denoising, first: Value): Value {
  const { graph } = parts;
  const { levels, down } = network;
  const skips: Value[] = [];
  const keep = (value: Value) => {
    skips.push(value);
    return value;
  };
  const last = levels.length - 1;
  const same = (name: string, x: Value, outputs: number) => conv3(graph, name, x, outputs);
  let x = first;
  levels.forEach(({ inputs, outputs, attention: init }, i) => {
    const name = `downs.${i}`;
    x = keep(resnet(parts, `${name}.0`, x, inputs));
    x = keep(attention(parts, `${name}.2`, resnet(parts, `${name}.1`, x, inputs), init));
    x = i < last ? changed(parts, `${name}.3`, x, outputs, down) : same(`${name}.3`, x, outputs);
  });
  x = resnet(parts, "mid_block1", x, channels(x));
  x = resnet(parts, "mid_block2", attention(parts, "mid_attn", x, network.middle), channels(x));
  for (let level = last; level >= 0; level--) {
    const { inputs, outputs } = levels[level] as DenoisingLevel;
    const name = `ups.${last - level}`;
    for (const j of [0, 1])
      x = resnet(parts, `${name}.${j}`, graph.concat(`${name}.${j}`, x, skips.pop() as Value), outputs);
    x = attention(parts, `${name}.2`, x, network.up[level] as AttentionInit);
    x = level > 0 ? changed(parts, `${name}.3`, x, inputs, network.upsample) : same(`${name}.3`, x, inputs);
  }
  return resnet(parts, "final_res_block", graph.concat("final_res_block", x, first), network.dim);
}

/** What {@link Denoising} computes of its input, [H, W, out_channels] in f32. */
export function denoisingBody(network: Denoising, { graph, table, x, tapped, modules }: BodyParts): Value {
  const { traits, groups, has } = network;
  const tap = (module: string, value: Value): Value => {
    if (tapped) {
      modules.add(module);
      graph.scaleShift(module, value, 1, 0);
    }
    return value;
  };
  const parts: Parts = { graph, table, traits, groups, has, tap, tapped };
  const first = conv(graph, "init_conv", x, network.initDim, network.initKernel);
  const [build, out] = traits.skips === 1 ? [single, "final_conv.1"] : [double, "final_conv"];
  return conv(graph, out, build(parts, network, first), network.outputs, 1, { dtype: "f32" });
}

/** Every block's own embedding, which is a part of one product for all of them. */
export function tapProjections({ graph, activated, projections, table, modules }: EmbeddingParts): void {
  let first = 0;
  for (const { weight, segments } of table.activated) {
    const name = weight.name.replace(/\.1\.weight$/, "");
    for (const module of [`${name}.0`, `${name}.1`]) modules.add(module);
    graph.scaleShift(`${name}.0`, activated, 1, 0);
    graph.append(rare.takeSegments, `${name}.1`, projections, first, segments.length);
    first += segments.length;
  }
}
