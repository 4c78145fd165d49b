/** What of a transformer is part of every evaluation, and what depends on the context alone. */
import { expect, test } from "vitest";
import { parseConditionalConfig } from "../../src/unet/conditionalConfig.ts";
import { lowerNetwork, plannedBytes } from "../../src/unet/lowered.ts";
import { constTarget } from "../support/gpu.ts";

const lowered = (contextLength: number, only_cross_attention = false) => {
  const config = {
    block_out_channels: [8, 16],
    norm_num_groups: 4,
    attention_head_dim: 2,
    cross_attention_dim: 12,
    layers_per_block: 1,
    down_block_types: ["CrossAttnDownBlock2D", "DownBlock2D"],
    up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D"],
    only_cross_attention,
  };
  const size = { height: 8, width: 8 };
  const init = { size, dtype: "f32", timesteps: "step", contextLength } as const;
  return lowerNetwork(parseConditionalConfig(config, "config.json"), constTarget, init);
};

test("keys and values of the context are made once, outside of the evaluation", () => {
  const { network, main, context } = lowered(5);
  const names = [
    "down_blocks.0.attentions.0",
    "mid_block.attentions.0",
    "up_blocks.1.attentions.0",
    "up_blocks.1.attentions.1",
  ];
  const made = names.map((name) => `${name}.transformer_blocks.0.attn2.kv`);
  expect(context?.calls.map(({ label }) => label).sort()).toEqual(made.sort());
  const read = main.calls.flatMap(({ bound }) =>
    bound.filter(({ access }) => access === "in").map(({ value }) => value),
  );
  expect(network.context?.graph.outputs.every((value) => read.includes(value))).toBe(true);
  expect(read).not.toContain(network.context?.input);
  expect(main.weights.some(({ value }) => /attn2\.(kv|to_k|to_v)/.test(value.name))).toBe(false);
});

test("attention to the context alone makes keys and values for both of a block's layers", () => {
  // But not in the middle, where diffusers always attends to the pixels first.
  const labels = lowered(5, true).context?.calls.map(({ label }) => label) ?? [];
  expect(labels.filter((label) => label.includes("attn1"))).toHaveLength(3);
  expect(labels).toHaveLength(7);
});

test("the plan counts the context with its keys and values", () => {
  // 4 bytes for each of 12 channels of the context, and for keys and values of 8, 16, 8 and 8 channels.
  const perToken = 4 * (12 + 2 * (8 + 16 + 8 + 8));
  const [short, long] = [lowered(4), lowered(20)].map((network) => plannedBytes(network, 3).bytes) as [number, number];
  expect(long - short).toBe(3 * 16 * perToken);
});
