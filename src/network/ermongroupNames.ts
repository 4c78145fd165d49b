/**
 * The names of ermongroup/ddim's UNet (models/diffusion.py, class Model), which taming-transformers and latent-diffusion
 * took over for their encoders and decoders: `down.i.block.j`, `up.i.block.j` with i counted from the finest level,
 * projections as 1×1 convolutions.
 */
import type { ExpectedTensor, TensorSource } from "../weights/match.ts";
import type { Naming } from "./naming.ts";
import { joinModule, type Place, placeOf, splitParam } from "./places.ts";

const OUTSIDE: Readonly<Record<string, string>> = {
  "time_embedding.linear_1": "temb.dense.0",
  "time_embedding.linear_2": "temb.dense.1",
  conv_norm_out: "norm_out",
  time_proj: "timestep_embedding",
};

const INSIDE: Readonly<Record<Place["part"], Readonly<Record<string, string>>>> = {
  resnets: { time_emb_proj: "temb_proj", conv_shortcut: "nin_shortcut" },
  attentions: { group_norm: "norm", to_q: "q", to_k: "k", to_v: "v", "to_out.0": "proj_out" },
  samplers: {},
};

const PROJECTION = /\.(q|k|v|proj_out)$/;

/** @param ups levels going up */
export function ermongroupNaming(ups: number): Naming {
  const module = (path: string): string => {
    const place = placeOf(path);
    if (!place) return OUTSIDE[path] ?? path;
    const { block, level, part, index, rest } = place;
    const inside = INSIDE[part][rest] ?? rest;
    if (block === "mid") return joinModule(`mid.${part === "resnets" ? "block" : "attn"}_${index + 1}`, inside);
    const base = `${block}.${block === "up" ? ups - 1 - level : level}`;
    const name = part === "resnets" ? `block.${index}` : part === "attentions" ? `attn.${index}` : `${block}sample`;
    return joinModule(`${base}.${name}`, inside);
  };
  const locate = ({ name, shape }: ExpectedTensor): TensorSource => {
    const [path, leaf] = splitParam(name);
    const own = module(path);
    const matrix = leaf === "weight" && PROJECTION.test(own);
    return { name: `${own}.${leaf}`, shape: matrix ? [...shape, 1, 1] : shape };
  };
  return { module, locate };
}
