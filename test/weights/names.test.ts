import { expect, test } from "vitest";
import { canonicalName, legacyName } from "../../src/weights/names.ts";

test.each([
  ["mid_block.attentions.0.query.weight", "mid_block.attentions.0.to_q.weight"],
  ["down_blocks.2.attentions.1.key.bias", "down_blocks.2.attentions.1.to_k.bias"],
  ["up_blocks.1.attentions.2.value.weight", "up_blocks.1.attentions.2.to_v.weight"],
  ["encoder.mid_block.attentions.0.proj_attn.weight", "encoder.mid_block.attentions.0.to_out.0.weight"],
])("%s is %s", (old, today) => {
  expect(canonicalName(old)).toBe(today);
  expect(legacyName(today)).toBe(old);
  expect(canonicalName(today)).toBe(today);
  expect(legacyName(old)).toBe(old);
});

test.each([
  "conv_in.weight",
  "mid_block.attentions.0.group_norm.weight",
  "attentions.key.weight",
  "down_blocks.0.query.weight",
  "attentions.0.transformer_blocks.0.attn1.query.weight",
  "attentions.0.constructor.weight",
  "mid_block.attentions.0.query.scale",
])("%s has had one name only", (name) => {
  expect(canonicalName(name)).toBe(name);
  expect(legacyName(name)).toBe(name);
});
