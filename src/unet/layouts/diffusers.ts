/**
 * diffusers' own layout, whose names are this package's names for every network. Checkpoints of before diffusers 0.15 spell
 * some of them otherwise; they are renamed as the checkpoint is opened (weights/names.ts).
 */

import { diffusersNaming } from "../../network/naming.ts";
import { textOf } from "../../runtime/printable.ts";
import { parseUNet2DConfig } from "../config.ts";
import type { DetectedLayout, Layout, Parsed } from "./types.ts";

/** Whether a configuration is one of a UNet2DConditionModel. */
export function isConditional(json: Readonly<Record<string, unknown>>): boolean {
  if (typeof json._class_name === "string") return json._class_name === "UNet2DConditionModel";
  const names = [json.down_block_types, json.up_block_types].flat();
  return "cross_attention_dim" in json || names.some((name) => textOf(name).startsWith("CrossAttn"));
}

/** diffusers gives the middle attention no norm then, which ADM's networks have (huggingface/diffusers#4434). */
function missingNorm(json: Readonly<Record<string, unknown>>, file: string): string[] {
  const attends = json.add_attention !== false && json.mid_block_type !== null;
  const groups = json.attn_norm_num_groups ?? null;
  if (isConditional(json) || json.resnet_time_scale_shift !== "scale_shift" || !attends || groups !== null) return [];
  return [
    `${file}: attn_norm_num_groups is missing, and with resnet_time_scale_shift scale_shift the middle attention has no norm then; ADM's networks have one of 32 groups`,
  ];
}

export const diffusers = {
  id: "diffusers",
  title: "the layout of diffusers",
  tensors: /^(down_blocks|mid_block|up_blocks|time_embedding|class_embedding|add_embedding|time_proj|conv_norm_out)\./,
  configures: (json) => "_class_name" in json || "block_out_channels" in json || "down_block_types" in json,
  parse: async (json, file, _weights, options): Promise<Parsed> => ({
    spec: isConditional(json)
      ? (await import("../conditionalConfig.ts")).parseConditionalConfig(json, file, options)
      : parseUNet2DConfig(json, file, options),
    naming: diffusersNaming,
    scheduler: null,
    classEmbedder: null,
    reading: "",
    warnings: missingNorm(json, file),
  }),
} satisfies Layout;

/** In words, what told a layout. */
export const toldBy = ({ title, tensors }: Layout, names: readonly string[]): string => {
  const matching = names.filter((name) => tensors.test(name));
  return `${title} because ${matching.length} of ${names.length} tensors are named like ${matching[0]}`;
};

/**
 * The layout of a network that is plainly in this one; {@link DetectedLayout} of any other takes the originals' layouts,
 * which are loaded for those alone.
 * @param json the configuration
 */
export function plainLayout(json: Readonly<Record<string, unknown>>, names: readonly string[]): DetectedLayout | null {
  const most = names.filter((name) => diffusers.tensors.test(name)).length > names.length / 2;
  return most && diffusers.configures(json) ? { layout: diffusers, reason: toldBy(diffusers, names) } : null;
}
