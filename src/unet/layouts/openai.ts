/**
 * Networks of openai/improved-diffusion and openai/guided-diffusion. A configuration holds the flags of their scripts
 * (script_util.py, model_and_diffusion_defaults) as JSON or YAML; a flag that is left out has the script's default, with
 * a warning where the checkpoint cannot show that it is the right one.
 */
import { ConfigReader, MOST, type UnknownOptions } from "../../network/configReader.ts";
import { countOrUnset, numbersOf } from "../../network/reading.ts";
import type { UNetSpec } from "../spec.ts";
import { openaiNaming } from "./openaiNames.ts";
import { openaiUnet, selfAttention } from "./openaiUnet.ts";
import type { Layout, Parsed, WeightSet } from "./types.ts";

/** ImageNet's, the only number of classes there. */
const NUM_CLASSES = 1000;

const CHANNEL_MULT: Readonly<Record<number, readonly number[]>> = {
  512: [0.5, 1, 1, 2, 2, 4, 4],
  256: [1, 1, 2, 2, 4, 4],
  128: [1, 1, 2, 3, 4],
  64: [1, 2, 3, 4],
  // Improved-diffusion's alone.
  32: [1, 2, 2, 2],
};

/** Flags that only guided-diffusion's scripts have. */
const GUIDED = ["num_head_channels", "channel_mult", "resblock_updown", "use_new_attention_order", "use_fp16"];

function parseNetwork(r: ConfigReader, guided: boolean, warn: (text: string) => void): UNetSpec {
  const size = r.count("image_size", 64, 1, Number.MAX_SAFE_INTEGER);
  const given = numbersOf(r, "channel_mult", "");
  const channelMult = given.length > 0 ? given : CHANNEL_MULT[size];
  if (!channelMult) r.fail("channel_mult", `is needed: there is no usual one for images of ${size} pixels`);
  const heads = r.count("num_heads", 4);
  const upHeads = countOrUnset(r, "num_heads_upsample") ?? heads;
  const headChannels = countOrUnset(r, "num_head_channels");
  const json = (key: string) => r.get(key) === undefined;
  if (json("num_heads") && headChannels === null)
    warn("num_heads is not given and cannot be told from the tensors: the scripts' default of 4 is assumed");
  if (guided && json("use_new_attention_order"))
    warn("use_new_attention_order is not given and cannot be told from the tensors: the legacy order is assumed");
  return openaiUnet(r, {
    size: { height: size, width: size },
    inChannels: 3,
    outChannels: r.flag("learn_sigma", false) ? 6 : 3,
    modelChannels: r.count("num_channels", 128),
    resBlocks: r.count("num_res_blocks", 2, 1, MOST.layers),
    channelMult,
    attentionFactors: numbersOf(r, "attention_resolutions", "16,8").map((resolution) => Math.floor(size / resolution)),
    attention: (channels, up) => selfAttention(r, channels, up ? upHeads : heads, headChannels),
    scaleShift: r.flag("use_scale_shift_norm", true),
    resample: r.flag("resblock_updown", false) ? "resnet" : "conv",
    classes: r.flag("class_cond", false) ? NUM_CLASSES : 0,
    contextDim: null,
  });
}

function parseDiffusion(r: ConfigReader, guided: boolean, warn: (text: string) => void): Record<string, unknown> {
  const steps = r.count("diffusion_steps", 1000);
  // The flag's default differs between the two repositories; where T is 1000 it changes nothing.
  const rescale_timesteps = r.flag("rescale_timesteps", !guided);
  if (r.get("rescale_timesteps") === undefined && steps !== 1000)
    warn(`rescale_timesteps is not given: ${guided ? "guided" : "improved"}-diffusion's default ${!guided} is assumed`);
  const fixed = r.flag("sigma_small", false) ? "fixed_small" : "fixed_large";
  return {
    num_train_timesteps: steps,
    beta_schedule:
      r.choice("noise_schedule", "linear", ["linear", "cosine"]) === "linear" ? "openai_linear" : "squaredcos_cap_v2",
    prediction_type: r.flag("predict_xstart", false) ? "sample" : "epsilon",
    variance_type: r.flag("learn_sigma", false) ? "learned_range" : fixed,
    rescale_timesteps,
    clip_sample: true,
  };
}

function parse(
  json: Readonly<Record<string, unknown>>,
  file: string,
  _weights: WeightSet,
  options?: UnknownOptions,
): Parsed {
  const r = new ConfigReader(json, file, "openai", options);
  const warnings: string[] = [];
  const warn = (text: string) => warnings.push(`${file}: ${text}`);
  for (const key of ["large_size", "small_size"])
    if (json[key] !== undefined) r.fail(key, "super-resolution models are not supported: they need a small image too");
  const guided = GUIDED.some((key) => json[key] !== undefined);
  const spec = parseNetwork(r, guided, warn);
  const order = r.flag("use_new_attention_order", false) ? "new" : "legacy";
  const scheduler = parseDiffusion(r, guided, warn);
  r.refuseRest();
  return { spec, naming: openaiNaming(spec, order), scheduler, classEmbedder: null, reading: order, warnings };
}

export const openai = {
  id: "openai",
  title: "the layout of OpenAI's improved- and guided-diffusion",
  tensors: /^(time_embed|input_blocks|middle_block|output_blocks|out)\.\d|^label_emb\./,
  configures: (json) => "num_channels" in json,
  parse,
} satisfies Layout;
