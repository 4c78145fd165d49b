/**
 * UNet2DModel (diffusers models/unets/unet_2d.py) as two graphs: `embed` makes the table of time-embedding projections,
 * one row per (step, image), before the loop; `main` is one evaluation, which reads its rows.
 */
import { attention, channels, conv3, downsample, groupNorm, layer, upsample } from "../network/layers.ts";
import { Graph, type ParamRef } from "../runtime/graph.ts";
import { type DType, makeValue, type Storage, type Value } from "../runtime/values.ts";
import { EmbeddingTable, type ResnetInit, resnet } from "./blocks.ts";
import type { ImageSize, UNet2DConfig } from "./config.ts";

/** What feeds the class embedding: labels index a table, vectors are rows per image. */
export type ClassInput = { kind: "labels"; labels: Value } | { kind: "vectors"; vectors: Value; width: number };

export interface Network {
  readonly main: Graph;
  readonly embed: Graph;
  /** State x, f32 [H, W, C] in a buffer. */
  readonly sample: Value;
  /** Sinusoids (or learned rows) of timesteps, [rows, width], made on the host. */
  readonly timesteps: Value;
  readonly classes: ClassInput | null;
  /** Output of `embed`; shares its storage with `table`, the same rows as `main` reads them. */
  readonly projections: Value;
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
}

/** Where the model is cut for `down_blocks`, skip connections in order of production. */
function downPath(
  graph: Graph,
  config: UNet2DConfig,
  table: EmbeddingTable,
  first: Value,
  base: Omit<ResnetInit, "outputs">,
): { x: Value; skips: Value[] } {
  const skips = [first];
  let x = first;
  const keep = (value: Value) => {
    skips.push(value);
    x = value;
  };
  config.down_blocks.forEach(({ attention: attends, sampler }, level) => {
    const name = `down_blocks.${level}`;
    const outputs = config.block_out_channels[level] as number;
    for (let i = 0; i < config.layers_per_block; i++) {
      const h = resnet(graph, table, `${name}.resnets.${i}`, x, { ...base, outputs });
      keep(attends ? attention(graph, `${name}.attentions.${i}`, h, attentionInit(config)) : h);
    }
    if (level === config.down_blocks.length - 1) return;
    const label = `${name}.downsamplers.0`;
    if (sampler === "conv") keep(downsample(graph, label, x, config.downsample_padding));
    else keep(resnet(graph, table, label, x, { ...base, outputs, resample: "down" }));
  });
  return { x, skips };
}

const attentionInit = (config: UNet2DConfig) => ({
  headDim: config.attention_head_dim,
  groups: config.norm_num_groups,
  eps: config.norm_eps,
});

function middle(
  graph: Graph,
  config: UNet2DConfig,
  table: EmbeddingTable,
  x: Value,
  base: Omit<ResnetInit, "outputs">,
): Value {
  const init = { ...base, outputs: channels(x), scaleFactor: config.mid_block_scale_factor };
  let h = resnet(graph, table, "mid_block.resnets.0", x, init);
  if (config.add_attention)
    h = attention(graph, "mid_block.attentions.0", h, {
      ...attentionInit(config),
      groups: config.mid_norm_groups,
      scaleFactor: config.mid_block_scale_factor,
    });
  return resnet(graph, table, "mid_block.resnets.1", h, init);
}

function upPath(
  graph: Graph,
  config: UNet2DConfig,
  table: EmbeddingTable,
  start: Value,
  skips: Value[],
  base: Omit<ResnetInit, "outputs">,
): Value {
  let x = start;
  const widths = [...config.block_out_channels].reverse();
  config.up_blocks.forEach(({ attention: attends, sampler }, level) => {
    const name = `up_blocks.${level}`;
    const outputs = widths[level] as number;
    for (let i = 0; i <= config.layers_per_block; i++) {
      const label = `${name}.resnets.${i}`;
      x = resnet(graph, table, label, graph.concat(label, x, skips.pop() as Value), { ...base, outputs });
      if (attends) x = attention(graph, `${name}.attentions.${i}`, x, attentionInit(config));
    }
    if (level === config.up_blocks.length - 1) return;
    const label = `${name}.upsamplers.0`;
    x =
      sampler === "conv"
        ? upsample(graph, label, x)
        : resnet(graph, table, label, x, { ...base, outputs, resample: "up" });
  });
  return x;
}

/** TimestepEmbedding: linear, SiLU, linear. */
function embeddingMlp(graph: Graph, name: string, x: Value, width: number): Value {
  const h = graph.conv2d(`${name}.linear_1`, x, [layer(`${name}.linear_1`, channels(x), width, 0)]);
  return graph.conv2d(`${name}.linear_2`, graph.activation(name, h, "silu"), [
    layer(`${name}.linear_2`, width, width, 0),
  ]);
}

function rowsInput(name: string, width: number, dtype: DType): Value {
  return makeValue({ name, shape: dtype === "u32" ? [1] : [1, width], batched: false, dtype, storage: "buffer" });
}

function embedGraph(
  config: UNet2DConfig,
  table: EmbeddingTable,
  init: NetworkInit,
): Pick<Network, "embed" | "timesteps" | "classes" | "projections"> {
  const embed = new Graph("f32", init.storage);
  const inputs = config.block_out_channels[0] as number;
  const width = config.time_embedding_dim;
  const timesteps = rowsInput("timesteps", inputs, "f32");
  let emb = embeddingMlp(embed, "time_embedding", embed.rows("time_proj", init.timesteps, timesteps), width);
  let classes: ClassInput | null = null;
  if (config.class_embed_type === "embedding") {
    const labels = rowsInput("class_labels", 1, "u32");
    classes = { kind: "labels", labels };
    const weight = { name: "class_embedding.weight", shape: [config.num_class_embeds, width] };
    emb = embed.add("emb", emb, embed.rows("class_embedding", "label", weight, labels));
  } else if (config.class_embed_type !== "none") {
    const identity = config.class_embed_type === "identity";
    const vectors = rowsInput("class_labels", identity ? width : inputs, "f32");
    classes = { kind: "vectors", vectors, width: identity ? width : inputs };
    const rows = embed.rows("class_proj", "image", vectors);
    emb = embed.add("emb", emb, identity ? rows : embeddingMlp(embed, "class_embedding", rows, width));
  }
  const projections = embed.conv2d("time_emb_proj", embed.activation("emb", emb, config.act_fn), table.specs);
  embed.output(projections);
  return { embed, timesteps, classes, projections };
}

/** @throws ShapeError when the size does not fit the network's levels */
export function buildUNet2D(config: UNet2DConfig, init: NetworkInit): Network {
  const { height, width } = init.size;
  const main = new Graph(init.dtype, init.storage);
  const table = new EmbeddingTable(config.time_embedding_dim, init.storage);
  const sample = makeValue({
    name: "sample",
    shape: [height, width, config.in_channels],
    batched: true,
    dtype: "f32",
    storage: "buffer",
  });
  const { act_fn: act, norm_num_groups: groups, norm_eps: eps, scale_shift: scaleShift } = config;
  const base = { groups, eps, act, scaleShift };
  const centered = config.center_input_sample ? main.scaleShift("center_input_sample", sample, 2, -1) : sample;
  const first = conv3(main, "conv_in", centered, config.block_out_channels[0] as number);
  const down = downPath(main, config, table, first, base);
  const mid = config.mid_block ? middle(main, config, table, down.x, base) : down.x;
  const up = upPath(main, config, table, mid, down.skips, base);
  const normed = groupNorm(main, "conv_norm_out", up, groups, eps);
  const last = main.conv2d(
    "conv_out",
    main.activation("conv_norm_out", normed, "silu"),
    [layer("conv_out", channels(up), config.out_channels, 3)],
    {
      kernel: [3, 3],
      pad: [1, 1, 1, 1],
      dtype: "f32",
    },
  );
  const output = main.output(last);
  const embed = embedGraph(config, table, init);
  const learned =
    config.time_embedding_type === "learned"
      ? [{ name: "time_proj.weight", shape: [config.num_train_timesteps, config.block_out_channels[0] as number] }]
      : [];
  const params = [...learned, ...embed.embed.params(), ...main.params()];
  return { main, ...embed, table: table.value, sample, output, params };
}
