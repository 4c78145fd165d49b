/**
 * An autoencoder's two halves as plain graphs, under diffusers' parameter names (models/autoencoders/vae.py: Encoder,
 * Decoder, VectorQuantizer; autoencoder_kl.py, vq_model.py). State in and out is f32 in a buffer or what the target
 * stores, whatever the dtype between.
 */
import { Graph } from "../kernels/graph.ts";
import type { ParamRef } from "../kernels/weights.ts";
import { attention, channels, conv, conv3, downsample, groupNorm, layer, upsample } from "../network/layers.ts";
import { type DType, makeValue, type Storage, type Value } from "../runtime/values.ts";
import { type AutoencoderSpec, type CoderLevel, NORM_EPS } from "./spec.ts";

export interface CoderInit {
  /** Of the input: of the image for the encoder, of the latents for the decoder. */
  readonly height: number;
  readonly width: number;
  readonly dtype: Exclude<DType, "u32">;
  readonly storage: Storage;
}

export interface DecoderInit extends CoderInit {
  /** Replaces latents by their nearest entry of the codebook; only with a codebook. */
  readonly quantize: boolean;
  /** Applied to the input first: x·scale + shift. */
  readonly scale: number;
  readonly shift: number;
}

export interface CoderNetwork {
  readonly graph: Graph;
  /** f32 [H, W, C] in a buffer, its padding zero. */
  readonly input: Value;
  /** f32 [H, W, C]: the image, the latents, or mean and logvar side by side. */
  readonly output: Value;
  /** u32 [H, W], entries of the codebook, where the input is quantised. */
  readonly indices: Value | null;
}

/** ResnetBlock2D without a time embedding. */
function resnet(graph: Graph, name: string, x: Value, outputs: number, spec: AutoencoderSpec): Value {
  const normed = (part: string, v: Value) =>
    graph.activation(`${name}.${part}`, norm(graph, `${name}.${part}`, v, spec), spec.act_fn);
  let h = conv3(graph, `${name}.conv1`, normed("norm1", x), outputs);
  h = conv3(graph, `${name}.conv2`, normed("norm2", h), outputs);
  const label = `${name}.conv_shortcut`;
  const shortcut = channels(x) === outputs ? x : graph.conv2d(label, x, [layer(label, channels(x), outputs, 1)]);
  return graph.add(name, shortcut, h);
}

const norm = (graph: Graph, name: string, x: Value, spec: AutoencoderSpec) =>
  groupNorm(graph, name, x, spec.norm_num_groups, NORM_EPS);

/** One head, as wide as the block. */
const attend = (graph: Graph, name: string, x: Value, spec: AutoencoderSpec) =>
  attention(graph, name, x, { headDim: null, groups: spec.norm_num_groups, eps: NORM_EPS });

function level(graph: Graph, name: string, x: Value, own: CoderLevel, spec: AutoencoderSpec): Value {
  let h = x;
  for (let i = 0; i < own.resnets; i++) {
    h = resnet(graph, `${name}.resnets.${i}`, h, own.channels, spec);
    if (own.attention) h = attend(graph, `${name}.attentions.${i}`, h, spec);
  }
  return h;
}

function middle(graph: Graph, name: string, x: Value, spec: AutoencoderSpec): Value {
  let h = resnet(graph, `${name}.resnets.0`, x, channels(x), spec);
  if (spec.mid_block_add_attention) h = attend(graph, `${name}.attentions.0`, h, spec);
  h = resnet(graph, `${name}.resnets.1`, h, channels(x), spec);
  return h;
}

/** Norm, SiLU and the last convolution of a half. */
function last(graph: Graph, half: string, x: Value, outputs: number, spec: AutoencoderSpec, dtype?: "f32"): Value {
  const normed = graph.activation(`${half}.conv_norm_out`, norm(graph, `${half}.conv_norm_out`, x, spec), "silu");
  return conv(graph, `${half}.conv_out`, normed, outputs, 3, { dtype });
}

/** Image to mean and logvar (`kl`), or to latents that are not quantised (`vq`). @throws ShapeError for too small an image */
export function buildEncoder(spec: AutoencoderSpec, init: CoderInit): CoderNetwork {
  const graph = new Graph(init.dtype, init.storage);
  const input = graph.input("image", [init.height, init.width, spec.in_channels]);
  let h = conv3(graph, "encoder.conv_in", input, spec.channels);
  spec.down.forEach((own, i) => {
    const name = `encoder.down_blocks.${i}`;
    h = level(graph, name, h, own, spec);
    if (own.resample) h = downsample(graph, `${name}.downsamplers.0`, h, 0);
  });
  h = middle(graph, "encoder.mid_block", h, spec);
  const parts = spec.kind === "kl" ? 2 : 1;
  const { use_quant_conv: quantConv } = spec;
  h = last(graph, "encoder", h, parts * spec.z_channels, spec, quantConv ? undefined : "f32");
  if (quantConv) {
    const weights = [layer("quant_conv", channels(h), parts * spec.latent_channels, 1)];
    h = graph.conv2d("quant_conv", h, weights, { dtype: "f32" });
  }
  return { graph, input, output: graph.output(h), indices: null };
}

/** The codebook, [entries, latent_channels]. */
export const codebook = (spec: AutoencoderSpec): ParamRef => ({
  name: "quantize.embedding.weight",
  shape: [spec.num_vq_embeddings, spec.latent_channels],
});

/** Latents to image. */
export function buildDecoder(spec: AutoencoderSpec, init: DecoderInit): CoderNetwork {
  const graph = new Graph(init.dtype, init.storage);
  const input = graph.input("latents", [init.height, init.width, spec.latent_channels]);
  const scaled = init.scale !== 1 || init.shift !== 0;
  // Distances to the codebook are taken in f32.
  let h = scaled ? graph.scaleShift("scaling", input, init.scale, init.shift, "f32") : input;
  let indices: Value | null = null;
  if (init.quantize) {
    const shape = [init.height, init.width];
    indices = makeValue({ name: "quantize.indices", shape, batched: true, dtype: "u32", storage: "buffer" });
    h = graph.lookup("quantize", h, codebook(spec), indices);
  }
  if (spec.use_post_quant_conv)
    h = graph.conv2d("post_quant_conv", h, [layer("post_quant_conv", spec.latent_channels, spec.z_channels, 1)]);
  h = conv3(graph, "decoder.conv_in", h, spec.up[0]?.channels as number);
  h = middle(graph, "decoder.mid_block", h, spec);
  spec.up.forEach((own, i) => {
    const name = `decoder.up_blocks.${i}`;
    h = level(graph, name, h, own, spec);
    if (own.resample) h = upsample(graph, `${name}.upsamplers.0`, h);
  });
  return { graph, input, output: graph.output(last(graph, "decoder", h, spec.out_channels, spec, "f32")), indices };
}
