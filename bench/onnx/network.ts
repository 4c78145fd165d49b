/**
 * A UNet as an ONNX graph: inputs `sample` [N, C, H, W], `timestep` [N] and, where the network takes them, `class_labels`
 * ([N] or [N, D]), `encoder_hidden_states` [N, L, D], `text_embeds` and `time_ids`; output `output` [N, C, H, W]. These
 * are the names and types that PyTorch's exporter gives diffusers' networks.
 */
import type { Network } from "../../src/unet/build.ts";
import type { UNetSpec } from "../../src/unet/spec.ts";
import { OnnxBuilder } from "./builder.ts";
import { FLOAT, type Port, writeInputs } from "./inputs.ts";
import { writeNode } from "./operations.ts";
import { Tensors } from "./tensors.ts";
import type { NormStyle } from "./writing.ts";

export interface OnnxOptions {
  /** Images per evaluation; null leaves it open, and the length of the context too. */
  readonly batch: number | null;
  readonly style: NormStyle;
  /** Type of weights and activations. Inputs and outputs are f32 all the same. */
  readonly dtype: "f32" | "f16";
  /** Numbers in time_ids, where the network takes them: 6 for SDXL's sizes and crop, 5 for its refiner. */
  readonly timeIds: number;
}

export interface OnnxGraph {
  readonly builder: OnnxBuilder;
  readonly batch: number | null;
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
}

/** @throws ConfigError naming a kind of layer that has no form in ONNX here */
export function describeNetwork(network: Network, spec: UNetSpec, options: OnnxOptions): OnnxGraph {
  const { batch, style, dtype, timeIds } = options;
  const builder = new OnnxBuilder(dtype);
  const tensors = new Tensors(builder);
  const writing = { builder, tensors, style };
  const inputs = writeInputs(writing, network, spec, { openContext: batch === null, timeIds });
  for (const node of network.embed.nodes) writeNode(writing, node);
  tensors.share(network.table, network.projections);
  for (const node of network.context?.graph.nodes ?? []) writeNode(writing, node);
  for (const node of network.main.nodes) writeNode(writing, node);
  builder.scope = "output";
  const last = tensors.name(network.output, "image");
  builder.rename(dtype === "f32" ? last : builder.op("Cast", [last], { to: FLOAT }), "output");
  const [height, width, channels] = network.output.shape as [number, number, number];
  return { builder, batch, inputs, outputs: [{ name: "output", type: "f32", shape: [channels, height, width] }] };
}
