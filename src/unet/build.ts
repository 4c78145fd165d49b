/**
 * A UNet of the normal form as graphs, under diffusers' parameter names whatever the family: `embed` makes the table of
 * time-embedding projections, an entry per (step, image), before the loop; `context` the keys and values of attention to
 * the context; `main` is one evaluation, which reads both.
 */
import { Graph } from "../kernels/graph.ts";
import type { Activation } from "../kernels/parts/activations.ts";
import type { ParamRef } from "../kernels/weights.ts";
import type { ImageSize } from "../network/configReader.ts";
import { attention, channels, conv, downsample, groupNorm, layer, upsample } from "../network/layers.ts";
import { type DType, makeValue, type Storage, type Value } from "../runtime/values.ts";
import { EmbeddingTable, type ResnetInit, resnet } from "./blocks.ts";
import { type Attention, classEmbeddings, type Level, type Mid, type UNetSpec } from "./spec.ts";
import { Context, transformer } from "./transformer.ts";

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
}

/** What the parts of a network share while it is built. */
interface Build {
  readonly graph: Graph;
  readonly spec: UNetSpec;
  readonly table: EmbeddingTable;
  readonly resnets: Omit<ResnetInit, "outputs">;
  readonly context: Context | null;
}

/** The attention after resnet `index` of its level. */
function attend(build: Build, name: string, index: number, x: Value, init: Attention, scaleFactor = 1): Value {
  const { graph, spec, context } = build;
  if (init.kind === "transformer") {
    if (!context) throw new TypeError(`internal: ${name}: a transformer without a context`);
    const [groups, depth] = [spec.norm_num_groups, init.depths[index] as number];
    return transformer(graph, context, name, x, { ...init, groups, depth });
  }
  const { head_dim: headDim, norm_groups: groups } = init;
  return attention(graph, name, x, { headDim, groups, eps: spec.norm_eps, scaleFactor });
}

/** What a level's resnets have of their own. */
const ofLevel = ({ channels, scale_factor, skip_time_act }: Level) => ({
  outputs: channels,
  scaleFactor: scale_factor,
  skipTimeAct: skip_time_act,
});

/** Where the model is cut for its levels going down; skip connections in order of production. */
function downPath(build: Build, first: Value): { x: Value; skips: Value[] } {
  const { graph, spec, table, resnets } = build;
  const skips = [first];
  let x = first;
  const keep = (value: Value) => {
    skips.push(value);
    x = value;
  };
  spec.down.forEach((level, index) => {
    const name = `down_blocks.${index}`;
    const own = { ...resnets, ...ofLevel(level) };
    for (let i = 0; i < level.resnets; i++) {
      const h = resnet(graph, table, `${name}.resnets.${i}`, x, own);
      keep(level.attention ? attend(build, `${name}.attentions.${i}`, i, h, level.attention) : h);
    }
    const label = `${name}.downsamplers.0`;
    if (level.resample === "conv") keep(downsample(graph, label, x, spec.downsample_padding));
    if (level.resample === "resnet") keep(resnet(graph, table, label, x, { ...own, resample: "down" }));
    if (level.resample === "pool") keep(graph.avgPool(label, x));
  });
  return { x, skips };
}

function middle(build: Build, x: Value, mid: Mid): Value {
  const { graph, table, resnets } = build;
  const init = { ...resnets, outputs: channels(x), scaleFactor: mid.scale_factor };
  let h = resnet(graph, table, "mid_block.resnets.0", x, init);
  if (mid.attention) h = attend(build, "mid_block.attentions.0", 0, h, mid.attention, mid.scale_factor);
  return mid.resnets === 2 ? resnet(graph, table, "mid_block.resnets.1", h, init) : h;
}

function upPath(build: Build, start: Value, skips: Value[]): Value {
  const { graph, spec, table, resnets } = build;
  let x = start;
  spec.up.forEach((level, index) => {
    const name = `up_blocks.${index}`;
    const own = { ...resnets, ...ofLevel(level) };
    for (let i = 0; i < level.resnets; i++) {
      const label = `${name}.resnets.${i}`;
      x = resnet(graph, table, label, graph.concat(label, x, skips.pop() as Value), own);
      if (level.attention) x = attend(build, `${name}.attentions.${i}`, i, x, level.attention);
    }
    const label = `${name}.upsamplers.0`;
    const like = spec.odd_sizes ? skips.at(-1) : undefined;
    if (level.resample === "conv") x = upsample(graph, label, x, like);
    if (level.resample === "resnet") x = resnet(graph, table, label, x, { ...own, resample: "up" });
    if (level.resample === "pool") x = graph.upsample(label, x);
  });
  return x;
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
  const { act_fn: act, norm_num_groups: groups, norm_eps: eps, scale_shift: scaleShift } = spec;
  const build: Build = { graph: main, spec, table, resnets: { groups, eps, act, scaleShift }, context };
  const centered = spec.center_input_sample ? main.scaleShift("center_input_sample", all, 2, -1) : all;
  const first = conv(main, "conv_in", centered, spec.channels, spec.conv_in_kernel);
  const down = downPath(build, first);
  const mid = spec.mid ? middle(build, down.x, spec.mid) : down.x;
  const up = upPath(build, mid, down.skips);
  const normed = groupNorm(main, "conv_norm_out", up, groups, eps);
  const activated = main.activation("conv_norm_out", normed, spec.out_act);
  const output = main.output(
    conv(main, "conv_out", activated, spec.out_channels, spec.conv_out_kernel, { dtype: "f32" }),
  );
  const embed = embedGraph(spec, table, init);
  const learned =
    spec.time.type === "learned"
      ? [{ name: "time_proj.weight", shape: [spec.time.num_train_timesteps, spec.time.inputs] }]
      : [];
  const params = [...learned, ...embed.embed.params(), ...(context?.graph.params() ?? []), ...main.params()];
  return { main, ...embed, context, table: table.value, sample, concat, output, params };
}
