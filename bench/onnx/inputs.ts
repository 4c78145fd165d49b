/**
 * A network's inputs, and what the engine makes of them on the host: the timestep's sinusoids or table entry, the class's, and
 * SDXL's further numbers. Sinusoids are computed in float32, as in diffusers, but for their frequencies, which are
 * rounded only once.
 */
import type { Network } from "../../src/unet/build.ts";
import type { UNetSpec } from "../../src/unet/spec.ts";
import { type ElementType, elementTypes, type OnnxBuilder } from "./builder.ts";
import type { Writing } from "./writing.ts";

/** A tensor that goes in or comes out. */
export interface Port {
  readonly name: string;
  readonly type: ElementType;
  /** Without the batch axis, which is the first. A word stands for a size that is left open. */
  readonly shape: readonly (number | string)[];
}

export const FLOAT = BigInt(elementTypes.f32);

export interface InputOptions {
  /** Leave the length of the context open. */
  readonly openContext: boolean;
  /** Numbers in time_ids: the configuration tells their sum with the text embedding's width only. */
  readonly timeIds: number;
}

/** Binds every input of the network. */
export function writeInputs(w: Writing, network: Network, spec: UNetSpec, options: InputOptions): Port[] {
  const { builder, tensors } = w;
  const { openContext, timeIds } = options;
  const [height, width, channels] = network.sample.shape as [number, number, number];
  const ports: Port[] = [
    { name: "sample", type: "f32", shape: [channels, height, width] },
    { name: "timestep", type: "i64", shape: [] },
  ];
  builder.scope = "sample";
  tensors.set(network.sample, "image", toActivations(builder, "sample"));
  builder.scope = "time_proj";
  tensors.set(network.timesteps, "vector", timestepVectors(builder, "timestep", spec));
  if (network.timestepCond) {
    const name = "timestep_cond";
    builder.scope = name;
    tensors.set(network.timestepCond, "vector", toActivations(builder, name));
    ports.push({ name, type: "f32", shape: [network.timestepCond.shape.at(-1) as number] });
  }
  ports.push(...classPorts(w, network, spec), ...addedPorts(w, network, spec, timeIds));
  if (network.context) {
    const { input } = network.context;
    const name = "encoder_hidden_states";
    const [, length, depth] = input.shape as [number, number, number];
    builder.scope = "context";
    tensors.set(input, "tokens", toActivations(builder, name));
    ports.push({ name, type: "f32", shape: [openContext ? "sequence" : length, depth] });
  }
  return ports;
}

/** An input of f32 in the type of the activations. */
const toActivations = (builder: OnnxBuilder, name: string): string =>
  builder.dtype === "f32" ? name : builder.op("Cast", [name], { to: BigInt(elementTypes[builder.dtype]) });

/** What the network knows of a timestep, or of a number that it treats like one: sinusoids, or an entry of a table. */
function timestepVectors(builder: OnnxBuilder, input: string, { time }: UNetSpec): string {
  if (time.type === "learned") {
    const table = { name: "time_proj.weight", shape: [time.num_train_timesteps, time.inputs] };
    return builder.op("Gather", [builder.param(table), input], { axis: 0n });
  }
  const column = builder.op("Unsqueeze", [builder.op("Cast", [input], { to: FLOAT }), builder.ints(1)]);
  if (time.type === "fourier") {
    const count = (time.inputs - 1) / 2;
    const frequencies = builder.param({ name: "time_proj.weight", shape: [count] }, { dims: [1, count] });
    const turns = builder.op("Mul", [toActivations(builder, column), frequencies]);
    const angles = builder.op("Mul", [turns, builder.scalar(2 * Math.PI)]);
    const waves = [builder.op("Sin", [angles]), builder.op("Cos", [angles])];
    return builder.op("Concat", [toActivations(builder, column), ...waves], { axis: 1n });
  }
  return toActivations(builder, sinusoids(builder, column, time.inputs, time));
}

/** diffusers' get_timestep_embedding of a column of float32, [M, 1] to [M, width]. */
function sinusoids(builder: OnnxBuilder, column: string, width: number, time: UNetSpec["time"]): string {
  const { flip_sin_to_cos: flip, freq_shift: shift, theta = 10000 } = time;
  const half = Math.floor(width / 2);
  const frequencies = Array.from({ length: half }, (_, i) => Math.exp((-Math.log(theta) * i) / (half - shift)));
  const table = builder.floats(`frequencies[${width}]`, frequencies, [1, half], "f32");
  const angles = builder.op("Mul", [column, table]);
  const waves = [builder.op("Sin", [angles]), builder.op("Cos", [angles])];
  const joined = builder.op("Concat", flip ? waves.reverse() : waves, { axis: 1n });
  return width % 2 === 0 ? joined : builder.op("Pad", [joined, builder.ints(0, 0, 0, 1)], { mode: "constant" });
}

function classPorts({ builder, tensors }: Writing, { classes }: Network, spec: UNetSpec): Port[] {
  if (!classes) return [];
  const name = "class_labels";
  builder.scope = "class_proj";
  if (classes.kind === "labels") {
    tensors.set(classes.labels, "vector", name);
    return [{ name, type: "i64", shape: [] }];
  }
  const { vectors, width } = classes;
  const numbers = spec.classes.kind === "timestep";
  tensors.set(vectors, "vector", numbers ? timestepVectors(builder, name, spec) : toActivations(builder, name));
  return [numbers ? { name, type: "i64", shape: [] } : { name, type: "f32", shape: [width] }];
}

/** The pooled text embedding, then the sinusoids of every one of the numbers. */
function addedPorts({ builder, tensors }: Writing, { added }: Network, spec: UNetSpec, timeIds: number): Port[] {
  if (!added || spec.added.kind === "none") return [];
  const { width, time_dim: each } = spec.added;
  const [texts, ids] = ["text_embeds", "time_ids"];
  builder.scope = "add_time_proj";
  const column = builder.op("Reshape", [ids, builder.ints(-1, 1)]);
  const waves = builder.op("Reshape", [sinusoids(builder, column, each, spec.time), builder.ints(-1, timeIds * each)]);
  tensors.set(added, "vector", toActivations(builder, builder.op("Concat", [texts, waves], { axis: 1n })));
  return [
    { name: texts, type: "f32", shape: [width - timeIds * each] },
    { name: ids, type: "f32", shape: [timeIds] },
  ];
}
