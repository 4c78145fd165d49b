/** The building blocks of denoising-diffusion-pytorch and of the Annotated Diffusion post, under their names. */
import type { Graph } from "../../kernels/graph.ts";
import { rare } from "../../kernels/operations/rare.ts";
import { channels, conv, conv3, groupNorm, layer } from "../../network/layers.ts";
import { channelGroups, padded4, type Value } from "../../runtime/values.ts";
import type { EmbeddingTable } from "../blocks.ts";
import type { Traits } from "./traits.ts";

/** Of GroupNorm and LayerNorm; no configuration changes it. */
const EPS = 1e-5;

/** What the blocks of a network share. */
export interface Parts {
  readonly graph: Graph;
  readonly table: EmbeddingTable;
  readonly traits: Traits;
  /** Of the resnets' GroupNorms. */
  readonly groups: number;
  /** Whether a tensor is there: some norms, and LayerNorm's bias, are not in every version. */
  has(name: string): boolean;
  /** Makes a value another module's output too, where outputs of modules are wanted; those without weights have no other. */
  tap(module: string, value: Value): Value;
  /** Whether they are wanted. */
  readonly tapped: boolean;
}

const present = ({ has }: Parts, norm: string): boolean => has(`${norm}.g`) || has(`${norm}.weight`);

type NormKind = Traits["blockNorm"];

/** A norm over all channels, or (GroupNorm of one group) over a whole image. */
function norm({ graph, has }: Parts, kind: NormKind, name: string, x: Value): Value {
  if (kind === "group") return groupNorm(graph, name, x, 1, EPS);
  const whole = graph.append(rare.compact, name, x);
  const param = (part: string) => ({ name: `${name}.${part}`, shape: [channels(x)] });
  if (kind === "rms") return graph.append(rare.rmsNorm, name, whole, param("g"));
  return graph.layerNorm(name, whole, { gamma: param("g"), beta: has(`${name}.b`) ? param("b") : undefined, eps: EPS });
}

/** Convolution, norm (with the scale and shift of the time embedding, if any), SiLU. */
function half(parts: Parts, name: string, x: Value, outputs: number, emb?: ReturnType<EmbeddingTable["add"]>): Value {
  const { graph, traits, groups, tap, tapped } = parts;
  const projected = conv3(graph, `${name}.proj`, x, outputs);
  const label = `${name}.norm`;
  const normed = (own?: typeof emb) =>
    traits.blockNorm === "rms"
      ? graph.append(rare.rmsNorm, label, projected, { name: `${label}.g`, shape: [outputs] }, own)
      : groupNorm(graph, label, projected, groups, EPS, own);
  // The module of that name does not know the time.
  if (emb && tapped) tap(label, normed());
  return tap(`${name}.act`, graph.activation(name, normed(emb), "silu"));
}

function shortcut({ graph, tap }: Parts, name: string, x: Value, outputs: number): Value {
  const label = `${name}.res_conv`;
  return channels(x) === outputs ? tap(label, x) : conv(graph, label, x, outputs, 1);
}

/** ResnetBlock. @param timed whether it knows the time */
export function resnet(parts: Parts, name: string, x: Value, outputs: number, timed = true): Value {
  const { graph, table, traits } = parts;
  const emb = timed ? table.add(`${name}.mlp.1`, traits.scaleShift ? [outputs, outputs] : [outputs]) : undefined;
  let h = half(parts, `${name}.block1`, x, outputs, traits.scaleShift ? emb : undefined);
  if (emb && !traits.scaleShift) h = graph.append(rare.addVector, name, h, emb);
  return graph.add(name, half(parts, `${name}.block2`, h, outputs), shortcut(parts, name, x, outputs));
}

/** ConvNextBlock (Liu et al., "A ConvNet for the 2020s", 2022, as the post has it). @param mult of the width inside */
export function convNext(parts: Parts, name: string, x: Value, outputs: number, mult: number, timed = true): Value {
  const { graph, table, traits, tap } = parts;
  const c = channels(x);
  const label = `${name}.ds_conv`;
  const param = { name: `${label}.weight`, shape: [c, 1, 7, 7] };
  const bias = { name: `${label}.bias`, shape: [c] };
  let h = graph.append(rare.depthwiseConv2d, label, x, { weight: param, bias, segments: [] });
  if (timed) h = graph.append(rare.addVector, name, h, table.add(`${name}.mlp.1`, x.segments));
  const normed = (at: string, value: Value) => (present(parts, at) ? norm(parts, traits.blockNorm, at, value) : value);
  h = conv3(graph, `${name}.net.1`, normed(`${name}.net.0`, h), outputs * mult);
  h = tap(`${name}.net.2`, graph.activation(`${name}.net`, h, "gelu"));
  h = conv3(graph, `${name}.net.4`, normed(`${name}.net.3`, h), outputs);
  tap(`${name}.net`, h);
  return graph.add(name, h, shortcut(parts, name, x, outputs));
}

export interface AttentionInit {
  /** Linear in the number of pixels, or of every pixel to every other. */
  readonly linear: boolean;
  readonly heads: number;
  readonly headDim: number;
  /** Learned keys and values before the pixels' own. */
  readonly memory: number;
}

/** Attention behind a norm, with the residual connection. */
export function attention(parts: Parts, name: string, x: Value, init: AttentionInit): Value {
  const { graph, traits, tap } = parts;
  const { linear, heads, headDim, memory } = init;
  const inside = traits.wrapped ? `${name}.fn.fn` : name;
  const normed = norm(parts, traits.attentionNorm, traits.wrapped ? `${name}.fn.norm` : `${name}.norm`, x);
  const inner = heads * headDim;
  const segments = Array.from({ length: heads }, () => headDim);
  const { weight } = layer(`${inside}.to_qkv`, channels(x), 3 * inner, 1);
  const projected = graph.conv2d(`${inside}.to_qkv`, normed, [
    { weight, segments: [...segments, ...segments, ...segments] },
  ]);
  // softmax(16·q̂·k̂ᵀ): the 16 takes the place of the 1/√d that attention brings.
  const unit = traits.cosine && !linear;
  const qkv = unit ? graph.append(rare.unitChannels, inside, projected, [16 * Math.sqrt(headDim), 1]) : projected;
  const groups = channelGroups(segments);
  let own = { q: qkv, kv: qkv, kGroup: groups, vGroup: 2 * groups };
  if (memory > 0) {
    const rows = { name: `${inside}.mem_kv`, shape: [memory, 2 * heads * padded4(headDim)] };
    own = { ...own, kv: graph.append(rare.prependRows, inside, qkv, rows, heads), kGroup: 0, vGroup: groups };
  }
  const pixels = (x.shape[0] as number) * (x.shape[1] as number);
  const scale = headDim ** -0.5 / (traits.overPixels ? pixels : 1);
  const y = linear
    ? graph.append(rare.linearAttention, inside, { ...own, heads, headDim, scale })
    : graph.attention(inside, { ...own, heads, headDim });
  const out = linear ? `${inside}.to_out.0` : `${inside}.to_out`;
  let h = graph.conv2d(out, y, [layer(out, inner, channels(x), 1)]);
  if (linear && present(parts, `${inside}.to_out.1`)) h = norm(parts, traits.attentionNorm, `${inside}.to_out.1`, h);
  if (traits.wrapped) tap(inside, h);
  // Without modules for norm and residual connection, what the attention's own returns is before the sum.
  return traits.wrapped ? graph.add(name, h, x) : graph.add(`${name}.sum`, tap(name, h), x);
}
