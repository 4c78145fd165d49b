/**
 * The names of OpenAI's UNetModel (improved- and guided-diffusion unet.py, latent-diffusion openaimodel.py):
 * `input_blocks.i.j` and `output_blocks.i.j` count blocks across levels; self-attention has q, k and v in one tensor.
 */

import type { Naming } from "../../network/naming.ts";
import { joinModule, type Place, placeOf, splitParam } from "../../network/places.ts";
import type { ExpectedTensor, TensorSource } from "../../weights/match.ts";
import type { Attention, Level, UNetSpec } from "../spec.ts";

const OUTSIDE: Readonly<Record<string, string>> = {
  "time_embedding.linear_1": "time_embed.0",
  "time_embedding.linear_2": "time_embed.2",
  class_embedding: "label_emb",
  time_proj: "timestep_embedding",
  conv_in: "input_blocks.0.0",
  conv_norm_out: "out.0",
  conv_out: "out.2",
};

const RESNET: Readonly<Record<string, string>> = {
  norm1: "in_layers.0",
  conv1: "in_layers.2",
  time_emb_proj: "emb_layers.1",
  norm2: "out_layers.0",
  conv2: "out_layers.3",
  conv_shortcut: "skip_connection",
};

const ATTENTION: Readonly<Record<string, string>> = {
  group_norm: "norm",
  to_q: "qkv",
  to_k: "qkv",
  to_v: "qkv",
  "to_out.0": "proj_out",
};

const QKV = ["to_q", "to_k", "to_v"];

/**
 * How the channels of a `qkv` tensor follow each other. legacy: head by head, each with its q, k and v. new: all of q, all of
 * k, all of v (guided-diffusion's use_new_attention_order).
 */
export type QkvOrder = "legacy" | "new";

function qkvChannels(order: QkvOrder, part: number, channels: number, headDim: number): number[] {
  const legacy = (i: number) => (3 * Math.floor(i / headDim) + part) * headDim + (i % headDim);
  return Array.from({ length: channels }, (_, i) => (order === "legacy" ? legacy(i) : part * channels + i));
}

const levelOf = (spec: UNetSpec, { block, level }: Place): Level =>
  (block === "down" ? spec.down : spec.up)[level] as Level;

function attentionOf(spec: UNetSpec, place: Place): Attention | null {
  return place.block === "mid" ? (spec.mid?.attention ?? null) : levelOf(spec, place).attention;
}

/** The index of a block counts the blocks of all levels before it. */
function base(spec: UNetSpec, place: Place): string {
  const { block, level, part, index } = place;
  if (block === "mid") return `middle_block.${part === "attentions" ? 1 : 2 * index}`;
  const own = levelOf(spec, place);
  if (block === "down") {
    const first = 1 + level * (own.resnets + 1);
    return part === "samplers"
      ? `input_blocks.${first + own.resnets}.0`
      : `input_blocks.${first + index}.${place.part === "attentions" ? 1 : 0}`;
  }
  const first = level * own.resnets;
  if (part === "samplers") return `output_blocks.${first + own.resnets - 1}.${own.attention ? 2 : 1}`;
  return `output_blocks.${first + index}.${part === "attentions" ? 1 : 0}`;
}

function inside(spec: UNetSpec, place: Place): string {
  const { block, part, rest } = place;
  if (part === "attentions") return attentionOf(spec, place)?.kind === "self" ? (ATTENTION[rest] ?? rest) : rest;
  if (part === "samplers" && rest === "conv") return block === "down" ? "op" : "conv";
  return RESNET[rest] ?? rest;
}

export function openaiNaming(spec: UNetSpec, order: QkvOrder): Naming {
  const module = (path: string): string => {
    const place = placeOf(path);
    return place ? joinModule(base(spec, place), inside(spec, place)) : (OUTSIDE[path] ?? path);
  };
  const locate = ({ name, shape }: ExpectedTensor): TensorSource => {
    const [path, leaf] = splitParam(name);
    const own = `${module(path)}.${leaf}`;
    const place = placeOf(path);
    const attention = place?.part === "attentions" ? attentionOf(spec, place) : null;
    if (!place || attention?.kind !== "self" || place.rest === "group_norm") return { name: own, shape };
    // Projections are Conv1d: a matrix with one tap.
    const tail = leaf === "weight" ? [...shape.slice(1), 1] : [];
    const channels = shape[0] as number;
    const part = QKV.indexOf(place.rest);
    if (part < 0) return { name: own, shape: [channels, ...tail] };
    return {
      name: own,
      shape: [3 * channels, ...tail],
      // Only where they are asked for: a table of names alone has no use for them.
      get channels() {
        return qkvChannels(order, part, channels, attention.head_dim);
      },
    };
  };
  return { module, locate };
}
