/**
 * diffusers' `config.json` of a UNet2DConditionModel (models/unets/unet_2d_condition.py), checked and brought into the
 * normal form. As for every network, an unknown key or a value that would change the computation in a way that is not
 * implemented is an error that names it.
 */
import { type Activation, readActivation } from "../kernels/parts/activations.ts";
import { ConfigReader, imageSize, type UnknownOptions } from "../network/configReader.ts";
import { shown } from "../runtime/printable.ts";
import { readLevels } from "./conditionalLevels.ts";
import { checkGroups } from "./configLevels.ts";
import type { AddedEmbedding, ClassEmbedding, UNetSpec } from "./spec.ts";

/** Keys with the only value that is implemented. */
const FIXED = {
  num_attention_heads: null,
  dual_cross_attention: false,
  attention_type: "default",
  encoder_hid_dim: null,
  encoder_hid_dim_type: null,
  time_embedding_type: "positional",
} as const;

const optionalActivation = (r: ConfigReader, key: string): Activation =>
  (r.get(key) ?? null) === null ? "none" : readActivation(r, key);

function required(r: ConfigReader, key: string, by: string): number {
  return r.countOrNull(key, null) ?? r.fail(key, `is required by ${by}`);
}

function classEmbedding(r: ConfigReader): ClassEmbedding {
  const count = r.countOrNull("num_class_embeds", null);
  const type = r.get("class_embed_type") ?? null;
  const concat = r.flag("class_embeddings_concat", false);
  const width = () => required(r, "projection_class_embeddings_input_dim", `class_embed_type ${type}`);
  if (type === null) return count === null ? { kind: "none" } : { kind: "embedding", count, concat };
  if (type === "timestep" || type === "identity") return { kind: type, concat };
  if (type === "projection" || type === "simple_projection") return { kind: type, width: width(), concat };
  return r.fail("class_embed_type", `${shown(type)} is not supported`);
}

function addedEmbedding(r: ConfigReader): AddedEmbedding {
  const type = r.get("addition_embed_type") ?? null;
  for (const key of ["addition_time_embed_dim", "projection_class_embeddings_input_dim"]) r.get(key);
  if (type === null) return { kind: "none" };
  if (type !== "text_time") r.fail("addition_embed_type", `${shown(type)} is not supported`);
  const by = "addition_embed_type text_time";
  return {
    kind: "text_time",
    width: required(r, "projection_class_embeddings_input_dim", by),
    time_dim: required(r, "addition_time_embed_dim", by),
  };
}

function oddKernel(r: ConfigReader, key: string): number {
  const side = r.count(key, 3);
  if (side % 2 === 0) r.fail(key, `${side} is not supported: it would change the size of the image`);
  return side;
}

/**
 * @param json the parsed file
 * @param file named in errors
 * @throws ConfigError
 */
export function parseConditionalConfig(
  json: Readonly<Record<string, unknown>>,
  file: string,
  options?: UnknownOptions,
): UNetSpec {
  const r = new ConfigReader(json, file, "diffusers", options);
  for (const [key, value] of Object.entries(FIXED)) {
    const given = r.get(key);
    if (given !== undefined && given !== value) r.fail(key, `${shown(given)} is not supported`);
  }
  const widths = r.levels("block_out_channels", [320, 640, 1280, 1280], "channel counts");
  const groups = r.count("norm_num_groups", 32);
  checkGroups(r, widths, groups);
  const channels = widths[0] as number;
  const act = readActivation(r, "act_fn");
  const cond = r.countOrNull("time_cond_proj_dim", null);
  const shift = r.choice("resnet_time_scale_shift", "default", ["default", "scale_shift"]);
  const spec: UNetSpec = {
    sample_size: imageSize(r),
    in_channels: r.count("in_channels", 4),
    out_channels: r.count("out_channels", 4),
    center_input_sample: r.flag("center_input_sample", false),
    conv_in_kernel: oddKernel(r, "conv_in_kernel"),
    conv_out_kernel: oddKernel(r, "conv_out_kernel"),
    norm_num_groups: groups,
    norm_eps: r.positive("norm_eps", 1e-5),
    act_fn: act,
    out_act: act,
    scale_shift: shift === "scale_shift",
    time: {
      type: "positional",
      inputs: channels,
      dim: r.countOrNull("time_embedding_dim", null) ?? channels * 4,
      freq_shift: r.count("freq_shift", 0, 0),
      flip_sin_to_cos: r.flag("flip_sin_to_cos", true),
      num_train_timesteps: 0,
      act,
      post_act: optionalActivation(r, "timestep_post_act"),
      sum_act: optionalActivation(r, "time_embedding_act_fn"),
      ...(cond === null ? {} : { cond }),
    },
    classes: classEmbedding(r),
    added: addedEmbedding(r),
    channels,
    ...readLevels(r, widths, groups),
  };
  r.refuseRest();
  return spec;
}
