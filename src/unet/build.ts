/**
 * A UNet of the normal form as graphs, under diffusers' parameter names whatever the family: `embed` makes the table of
 * time-embedding projections, an entry per (step, image), before the loop; `context` the keys and values of attention to
 * the context; `main` is one evaluation, which reads both.
 */
import { Graph } from "../kernels/graph.ts";
import type { Activation } from "../kernels/parts/activations.ts";
import type { ParamRef } from "../kernels/weights.ts";
import type { ImageSize } from "../network/configReader.ts";
import { channels, layer } from "../network/layers.ts";
import { type DType, makeValue, type Storage, type Value } from "../runtime/values.ts";
import { EmbeddingTable } from "./blocks.ts";
import { buildLevels } from "./levels.ts";
import { classEmbeddings, type UNetSpec } from "./spec.ts";
import { Context } from "./transformer.ts";

/** What feeds the class embedding: labels, one for every entry that `embed` makes, or vectors per image. */
export type ClassInput = { kind: "labels"; labels: Value } | { kind: "vectors"; vectors: Value; width: number };

export interface NetworkContext {
  readonly graph: Graph;
  /** f32 [1, length, width] per image, in a buffer. */
  readonly input: Value;
}

export interface Network {
  readonly main: Graph;
  readonly embed: Graph;
  /** State x, f32 [H, W, C] in a buffer. */
  readonly sample: Value;
  /** The channels of the input after the state's, where they are apart from it; likewise. */
  readonly concat: Value | null;
  /** Sinusoids (or learned vectors) of timesteps, [entries, width], made on the host. */
  readonly timesteps: Value;
  /** The step, and the image, of every entry that `embed` makes, u32. */
  readonly byStep: Value;
  readonly byImage: Value;
  readonly classes: ClassInput | null;
  /** What else is embedded with the timestep, per image. */
  readonly added: Value | null;
  /** What is added to the timestep's sinusoids, per image. */
  readonly timestepCond: Value | null;
  readonly context: NetworkContext | null;
  /** Output of `embed`: an entry per (step, image). */
  readonly projections: Value;
  /** What `main` reads of them: the entries of one step. */
  readonly table: Value;
  /** f32 [H, W, out_channels]. */
  readonly output: Value;
  readonly params: readonly ParamRef[];
  /** Modules without parameters of their own that have an output. */
  readonly modules: ReadonlySet<string>;
}

export interface NetworkInit {
  readonly size: ImageSize;
  readonly dtype: Exclude<DType, "u32">;
  readonly storage: Storage;
  /** Whether timesteps differ per image of a batch (a single evaluation) or per step (a sampling loop). */
  readonly timesteps: "image" | "step";
  /** Tokens of the context, where the network attends to one; 77, those of CLIP's text encoders, where none is given. */
  readonly contextLength?: number;
  /** How many of the input's channels, the last, are a value of their own (0). */
  readonly concat?: number;
  /** Whether outputs of modules are wanted that the network can do without (false). */
  readonly tapped?: boolean;
}

/** TimestepEmbedding: linear, activation, linear. */
function embeddingMlp(graph: Graph, name: string, x: Value, width: number, act: Activation): Value {
  const h = graph.conv2d(`${name}.linear_1`, x, [layer(`${name}.linear_1`, channels(x), width, 0)]);
  return graph.conv2d(`${name}.linear_2`, graph.activation(name, h, act), [layer(`${name}.linear_2`, width, width, 0)]);
}

function tableInput(name: string, width: number, dtype: DType): Value {
  return makeValue({ name, shape: dtype === "u32" ? [1] : [1, width], batched: false, dtype, storage: "buffer" });
}

function classInput(spec: UNetSpec): ClassInput | null {
  const { classes, time } = spec;
  if (classes.kind === "none") return null;
  if (classes.kind === "embedding") return { kind: "labels", labels: tableInput("class_labels", 1, "u32") };
  const widths = { identity: time.dim, timestep: time.inputs };
  const width = "width" in classes ? classes.width : widths[classes.kind];
  return { kind: "vectors", vectors: tableInput("class_labels", width, "f32"), width };
}

function classEmbedding(embed: Graph, spec: UNetSpec, input: ClassInput, byImage: Value): Value {
  const { classes, time } = spec;
  const label = "class_embedding";
  if (input.kind === "labels") {
    const weight = { name: `${label}.weight`, shape: [classEmbeddings(spec), time.dim] };
    return embed.take(label, weight, input.labels);
  }
  const vectors = embed.take("class_proj", input.vectors, byImage);
  if (classes.kind === "identity") return vectors;
  if (classes.kind === "simple_projection")
    return embed.conv2d(label, vectors, [layer(label, channels(vectors), time.dim, 0)]);
  // diffusers gives the projection its default activation, whatever the timestep's network has.
  return embeddingMlp(embed, label, vectors, time.dim, classes.kind === "projection" ? "silu" : time.act);
}

function embedGraph(
  spec: UNetSpec,
  table: EmbeddingTable,
  init: NetworkInit,
  modules: Set<string>,
): Pick<Network, "embed" | "timesteps" | "byStep" | "byImage" | "classes" | "added" | "timestepCond" | "projections"> {
  const embed = new Graph("f32", init.storage);
  const { time } = spec;
  const timesteps = tableInput("timesteps", time.inputs, "f32");
  const [byStep, byImage] = ["by_step", "by_image"].map((name) => tableInput(name, 1, "u32")) as [Value, Value];
  let vectors = embed.take("time_proj", timesteps, init.timesteps === "step" ? byStep : byImage);
  const timestepCond = time.cond === undefined ? null : tableInput("timestep_cond", time.cond, "f32");
  if (timestepCond) {
    const label = "time_embedding.cond_proj";
    const { weight, segments } = layer(label, timestepCond.shape[1] as number, time.inputs, 0);
    const given = embed.take("timestep_cond", timestepCond, byImage);
    vectors = embed.add("time_proj.sum", vectors, embed.conv2d(label, given, [{ weight, segments }]));
  }
  const timestep = embeddingMlp(embed, "time_embedding", vectors, time.dim, time.act);
  let emb = embed.activation("time_embedding.linear_2", timestep, time.post_act);
  const classes = classInput(spec);
  if (classes) {
    const vector = classEmbedding(embed, spec, classes, byImage);
    emb = spec.classes.concat ? embed.concat("emb", emb, vector) : embed.add("emb", emb, vector);
  }
  const added = spec.added.kind === "none" ? null : tableInput("added", spec.added.width, "f32");
  if (added) {
    const vector = embeddingMlp(embed, "add_embedding", embed.take("added", added, byImage), time.dim, "silu");
    emb = embed.add("emb", emb, vector);
  }
  emb = embed.activation("emb.sum", emb, time.sum_act);
  const activated = embed.activation("emb", emb, spec.act_fn);
  const label = "time_emb_proj";
  const products = [
    ...(table.activated.length > 0 ? [embed.conv2d(label, activated, table.activated)] : []),
    ...(table.plain.length > 0 ? [embed.conv2d(`${label}.plain`, emb, table.plain)] : []),
  ];
  const [first, second] = products as [Value, Value?];
  const projections = embed.output(second ? embed.concat(label, first, second) : first);
  if (init.tapped) spec.tapEmbeddings?.({ graph: embed, activated, projections, table, modules });
  return { embed, timesteps, byStep, byImage, classes, added, timestepCond, projections };
}

/** Tokens of CLIP's text encoders. */
const CONTEXT_LENGTH = 77;

/** @throws ShapeError when the size does not fit the network's levels */
export function buildUNet(spec: UNetSpec, init: NetworkInit): Network {
  const { height, width } = init.size;
  const { dtype, storage, contextLength = CONTEXT_LENGTH } = init;
  const main = new Graph(dtype, storage);
  const table = new EmbeddingTable(spec.time.dim * (spec.classes.concat ? 2 : 1), storage);
  const context = spec.context_dim === null ? null : new Context(contextLength, spec.context_dim, dtype, storage);
  const { concat: more = 0 } = init;
  const input = (name: string, channels: number) => main.input(name, [height, width, channels]);
  const sample = input("sample", spec.in_channels - more);
  const concat = more > 0 ? input("concat", more) : null;
  const all = concat ? main.concat("sample", sample, concat) : sample;
  const x = spec.center_input_sample ? main.scaleShift("center_input_sample", all, 2, -1) : all;
  const modules = new Set<string>();
  const { tapped = false } = init;
  const output = main.output(
    spec.body ? spec.body({ graph: main, table, x, tapped, modules }) : buildLevels(main, spec, table, context, x),
  );
  const embed = embedGraph(spec, table, init, modules);
  const { type, num_train_timesteps: rows, inputs } = spec.time;
  const shape = type === "learned" ? [rows, inputs] : [(inputs - 1) / 2];
  const learned = type === "positional" ? [] : [{ name: "time_proj.weight", shape }];
  const params = [...learned, ...embed.embed.params(), ...(context?.graph.params() ?? []), ...main.params()];
  return { main, ...embed, context, table: table.value, sample, concat, output, params, modules };
}
