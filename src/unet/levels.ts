/** Levels of resnets and attention, going down and up again with skip connections, and the middle between them. */
import type { Graph } from "../kernels/graph.ts";
import { attention, channels, conv, downsample, groupNorm, upsample } from "../network/layers.ts";
import type { Value } from "../runtime/values.ts";
import { type EmbeddingTable, type ResnetInit, resnet } from "./blocks.ts";
import type { Attention, Level, Mid, UNetSpec } from "./spec.ts";
import { type Context, transformer } from "./transformer.ts";

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

/** Levels going down, a middle, levels going up. */
export function buildLevels(
  graph: Graph,
  spec: UNetSpec,
  table: EmbeddingTable,
  context: Context | null,
  x: Value,
): Value {
  const { act_fn: act, norm_num_groups: groups, norm_eps: eps, scale_shift: scaleShift } = spec;
  const build: Build = { graph, spec, table, resnets: { groups, eps, act, scaleShift }, context };
  const down = downPath(build, conv(graph, "conv_in", x, spec.channels, spec.conv_in_kernel));
  const mid = spec.mid ? middle(build, down.x, spec.mid) : down.x;
  const up = upPath(build, mid, down.skips);
  const normed = groupNorm(graph, "conv_norm_out", up, groups, eps);
  const activated = graph.activation("conv_norm_out", normed, spec.out_act);
  return conv(graph, "conv_out", activated, spec.out_channels, spec.conv_out_kernel, { dtype: "f32" });
}
