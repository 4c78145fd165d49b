/**
 * Between the latents that an autoencoder knows and those that a sampler works on, whose deviation is about 1: their mean
 * taken away, divided by their deviation, times the scaling factor (diffusers' pipelines; latent-diffusion's scale_factor).
 */
import type { Tensor } from "../runtime/layout.ts";
import { checkKind } from "../runtime/options.ts";
import type { AutoencoderSpec } from "./spec.ts";

/** Per channel: a sampler's latent is scale·(z − shift). */
function scalings({ scaling_factor, shift_factor, latents_mean: mean, latents_std: std }: AutoencoderSpec) {
  return (channel: number) => ({
    scale: scaling_factor / (std?.[channel] ?? 1),
    shift: mean?.[channel] ?? shift_factor,
  });
}

function mapped({ shape, data }: Tensor, map: (v: number, channel: number) => number): Tensor {
  const [n = 0, channels = 1] = shape;
  const pixels = data.length / (n * channels);
  return { shape, data: data.map((v, i) => map(v, Math.floor(i / pixels) % channels)) };
}

/** @throws UsageError for what is no specification, or no latents */
function checked(where: string, spec: AutoencoderSpec, latents: Tensor): AutoencoderSpec {
  checkKind(where, "spec", "an object", spec);
  checkKind(where, "latents", "a tensor { shape, data: Float32Array }", latents);
  return spec;
}

/** @param latents [N, C, H, W] as `encode` gives them */
export function toSampler(spec: AutoencoderSpec, latents: Tensor): Tensor {
  const of = scalings(checked("toSampler", spec, latents));
  return mapped(latents, (v, channel) => (v - of(channel).shift) * of(channel).scale);
}

/** @returns [N, C, H, W] as `decode` takes them */
export function fromSampler(spec: AutoencoderSpec, latents: Tensor): Tensor {
  const of = scalings(checked("fromSampler", spec, latents));
  return mapped(latents, (v, channel) => v / of(channel).scale + of(channel).shift);
}
