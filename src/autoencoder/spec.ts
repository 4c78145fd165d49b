/**
 * The normal form of a convolutional autoencoder: what every family's configuration is parsed into and what the graphs
 * are built from, in the order of execution. Keys keep diffusers' spelling where it has them.
 */
import type { Activation } from "../kernels/parts/activations.ts";
import type { ImageSize } from "../network/configReader.ts";

/** Every GroupNorm of an autoencoder has this epsilon, whatever its configuration says elsewhere. */
export const NORM_EPS = 1e-6;

/** Resnets of one width; every one is followed by attention with one head, where there is any. */
export interface CoderLevel {
  channels: number;
  resnets: number;
  attention: boolean;
  /** Halves or doubles the resolution at its end, by a convolution. */
  resample: boolean;
}

export interface AutoencoderSpec {
  /** `kl`: the encoder gives a distribution; `vq`: latents are entries of a codebook. */
  kind: "kl" | "vq";
  /** Of the images that it was trained on. */
  sample_size: ImageSize | null;
  /** Of the image that is encoded, and of the one that is decoded. */
  in_channels: number;
  out_channels: number;
  /** Of what `encode` gives and `decode` takes. */
  latent_channels: number;
  /** Between the encoder and quant_conv, and between post_quant_conv and the decoder. */
  z_channels: number;
  /** Of the encoder's first convolution; the decoder's has those of its first level. */
  channels: number;
  norm_num_groups: number;
  /** In resnets; before the last convolutions it is always SiLU. */
  act_fn: Activation;
  down: readonly CoderLevel[];
  up: readonly CoderLevel[];
  mid_block_add_attention: boolean;
  use_quant_conv: boolean;
  use_post_quant_conv: boolean;
  /** Entries of the codebook; 0 without one. */
  num_vq_embeddings: number;
  /** What a sampler works on is (latents − shift_factor)·scaling_factor; encode and decode know nothing of it. */
  scaling_factor: number;
  shift_factor: number;
  /** Mean and deviation per channel that a sampler works with besides; null where there are none. */
  latents_mean: readonly number[] | null;
  latents_std: readonly number[] | null;
}

/** Side of latents where a configuration names no size of images. */
const DEFAULT_SIDE = 64;

/** Size of the latents of images that it was trained on, or of those that stand for them. */
export function ownLatents(spec: AutoencoderSpec): ImageSize {
  const side = (pixels = DEFAULT_SIDE * latentScale(spec)) => Math.max(1, Math.floor(pixels / latentScale(spec)));
  return { height: side(spec.sample_size?.height), width: side(spec.sample_size?.width) };
}

/** Pixels of an image along each side of one latent. */
export const latentScale = ({ up }: AutoencoderSpec): number => 2 ** up.filter(({ resample }) => resample).length;
