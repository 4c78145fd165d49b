/**
 * A UNet as an ONNX graph: inputs `sample` [N, C, H, W], `timestep` [N] and, where the network takes them, `class_labels`
 * ([N] or [N, D]); output `output` [N, C, H, W]. These are the names and types that PyTorch's exporter gives diffusers'
 * networks. What the engine does on the host before its loop, sinusoids of timesteps, is part of this graph.
 */

import type { Network } from "../../src/unet/build.ts";
import type { UNetSpec } from "../../src/unet/spec.ts";

import { type ElementType, elementTypes, OnnxBuilder } from "./builder.ts";
import { type NormStyle, type Writing, writeNode } from "./operations.ts";
import { Tensors } from "./tensors.ts";

export interface OnnxOptions {
  /** Images per evaluation; null leaves it open. */
  readonly batch: number | null;
  readonly style: NormStyle;
  /** Type of weights and activations. Inputs and outputs are f32 all the same. */
  readonly dtype: "f32" | "f16";
}

/** A tensor that goes in or comes out. */
export interface Port {
  readonly name: string;
  readonly type: ElementType;
  /** Without the batch axis, which is the first. */
  readonly shape: readonly number[];
}

export interface OnnxGraph {
  readonly builder: OnnxBuilder;
  readonly batch: number | null;
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
}

/** @throws ConfigError naming a kind of layer that has no form in ONNX here */
export function describeNetwork(network: Network, spec: UNetSpec, options: OnnxOptions): OnnxGraph {
  const builder = new OnnxBuilder(options.dtype);
  const tensors = new Tensors(builder);
  const writing: Writing = { builder, tensors, style: options.style };
  const [height, width, channels] = network.sample.shape as [number, number, number];
  const inputs: Port[] = [
    { name: "sample", type: "f32", shape: [channels, height, width] },
    { name: "timestep", type: "i64", shape: [] },
  ];
  builder.scope = "sample";
  tensors.set(network.sample, "image", toActivations(builder, "sample"));
  builder.scope = "time_proj";
  tensors.set(network.timesteps, "vector", timestepRows(builder, "timestep", spec));
  const classes = classPort(writing, network, spec);
  if (classes) inputs.push(classes);
  for (const node of network.embed.nodes) writeNode(writing, node);
  tensors.share(network.table, network.projections);
  for (const node of network.main.nodes) writeNode(writing, node);
  builder.scope = "output";
  const last = tensors.name(network.output, "image");
  builder.rename(options.dtype === "f32" ? last : builder.op("Cast", [last], { to: FLOAT }), "output");
  const [outHeight, outWidth, outChannels] = network.output.shape as [number, number, number];
  return {
    builder,
    batch: options.batch,
    inputs,
    outputs: [{ name: "output", type: "f32", shape: [outChannels, outHeight, outWidth] }],
  };
}

const FLOAT = BigInt(elementTypes.f32);

/** An input of f32 in the type of the activations. */
const toActivations = (builder: OnnxBuilder, name: string): string =>
  builder.dtype === "f32" ? name : builder.op("Cast", [name], { to: BigInt(elementTypes[builder.dtype]) });

/** What the network knows of a timestep, or of a number that it treats like one: sinusoids, or a row of a table. */
function timestepRows(builder: OnnxBuilder, input: string, { time }: UNetSpec): string {
  if (time.type === "positional") return sinusoids(builder, input, time);
  const table = { name: "time_proj.weight", shape: [time.num_train_timesteps, time.inputs] };
  return builder.op("Gather", [builder.param(table), input], { axis: 0n });
}

/** What feeds the class embedding. @returns undefined for a network that takes no classes */
function classPort({ builder, tensors }: Writing, { classes }: Network, spec: UNetSpec): Port | undefined {
  if (!classes) return undefined;
  const name = "class_labels";
  builder.scope = "class_proj";
  if (classes.kind === "labels") {
    tensors.set(classes.labels, "vector", name);
    return { name, type: "i64", shape: [] };
  }
  const { vectors, width } = classes;
  const numbers = spec.classes.kind === "timestep";
  tensors.set(vectors, "vector", numbers ? timestepRows(builder, name, spec) : toActivations(builder, name));
  return numbers ? { name, type: "i64", shape: [] } : { name, type: "f32", shape: [width] };
}

/** diffusers' get_timestep_embedding, in float32 as there but for its frequencies, which are rounded only once. */
function sinusoids(builder: OnnxBuilder, input: string, time: UNetSpec["time"]): string {
  const { inputs: width, flip_sin_to_cos: flip, freq_shift: shift } = time;
  const half = Math.floor(width / 2);
  const frequencies = Array.from({ length: half }, (_, i) => Math.exp((-Math.log(10000) * i) / (half - shift)));
  const table = builder.floats("frequencies", frequencies, [1, half], "f32");
  const column = builder.op("Unsqueeze", [builder.op("Cast", [input], { to: FLOAT }), builder.ints(1)]);
  const angles = builder.op("Mul", [column, table]);
  const waves = [builder.op("Sin", [angles]), builder.op("Cos", [angles])];
  const joined = builder.op("Concat", flip ? waves.reverse() : waves, { axis: 1n });
  const whole = width % 2 === 0 ? joined : builder.op("Pad", [joined, builder.ints(0, 0, 0, 1)], { mode: "constant" });
  return toActivations(builder, whole);
}
