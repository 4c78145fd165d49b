/**
 * The layout of ermongroup/ddim and of the checkpoints that pesser converted from the DDPM authors' (models/diffusion.py,
 * class Model): one head of attention, norms with 32 groups. Configurations are the repository's yml files, sections
 * `data`, `model` and `diffusion`.
 */
import { ConfigReader, MOST, type UnknownOptions } from "../../network/configReader.ts";
import { ermongroupNaming } from "../../network/ermongroupNames.ts";
import { countsOrNone, section } from "../../network/reading.ts";
import type { Level, SelfAttention, UNetSpec } from "../spec.ts";
import type { Layout, Parsed, WeightSet } from "./types.ts";

const SCHEDULES: Readonly<Record<string, string>> = {
  linear: "linear",
  quad: "scaled_linear",
  const: "const",
  jsd: "jsd",
  sigmoid: "sigmoid",
};

function parseDiffusion(r: ConfigReader, varType: string): Record<string, unknown> {
  const schedule = r.choice("beta_schedule", "linear", Object.keys(SCHEDULES));
  return {
    beta_schedule: SCHEDULES[schedule],
    beta_start: r.positive("beta_start", 0.0001),
    beta_end: r.positive("beta_end", 0.02),
    num_train_timesteps: r.count("num_diffusion_timesteps", 1000),
    // generalized_steps clips nothing.
    clip_sample: null,
    variance_type: varType === "fixedlarge" ? "fixed_large" : "fixed_small",
  };
}

function parse(
  json: Readonly<Record<string, unknown>>,
  file: string,
  _weights: WeightSet,
  options?: UnknownOptions,
): Parsed {
  const root = new ConfigReader(json, file, "ermongroup", options);
  const part = (name: string) => section(root.get(name), file, name, "ermongroup", options);
  const [data, model, diffusion] = [part("data"), part("model"), part("diffusion")];
  root.refuseRest();

  const size = data.count("image_size", 32, 1, Number.MAX_SAFE_INTEGER);
  const warnings: string[] = [];
  if (!data.flag("rescaled", true) || data.flag("logit_transform", false))
    warnings.push(`${file}: the model was trained on images that are not in -1..1; what is sampled is shown as if so`);
  data.refuseRest();

  model.choice("type", "simple", ["simple", "bayesian"]);
  const varType = model.choice("var_type", "fixedsmall", ["fixedlarge", "fixedsmall"]);
  const ch = model.count("ch", 128);
  const widths = model.levels("ch_mult", [1, 2, 2, 2]).map((mult) => model.within("ch_mult", mult * ch, MOST.channels));
  const layers = model.count("num_res_blocks", 2, 1, MOST.layers);
  const resolutions = countsOrNone(model, "attn_resolutions", [16]);
  const sampler = model.flag("resamp_with_conv", true) ? "conv" : "pool";
  const [in_channels, out_channels] = [model.count("in_channels", 3), model.count("out_ch", 3)];
  model.refuseRest();

  const bad = widths.find((c) => c % 32 !== 0);
  if (bad !== undefined) model.fail("ch_mult", `the norms' 32 groups do not divide ${bad} channels`);
  const attention = (channels: number): SelfAttention => ({ kind: "self", head_dim: channels, norm_groups: 32 });
  const levels = widths.map((channels, i): Omit<Level, "resnets"> => {
    const attends = resolutions.includes(Math.floor(size / 2 ** i));
    return { channels, attention: attends ? attention(channels) : null, resample: "none" };
  });
  const last = levels.length - 1;
  const resampled = (list: readonly Omit<Level, "resnets">[], resnets: number): Level[] =>
    list.map((level, i) => ({ ...level, resnets, resample: i < last ? sampler : "none" }));
  const spec: UNetSpec = {
    sample_size: { height: size, width: size },
    in_channels,
    out_channels,
    center_input_sample: false,
    conv_in_kernel: 3,
    conv_out_kernel: 3,
    norm_num_groups: 32,
    norm_eps: 1e-6,
    act_fn: "silu",
    out_act: "silu",
    scale_shift: false,
    time: {
      type: "positional",
      inputs: ch,
      dim: 4 * ch,
      freq_shift: 1,
      flip_sin_to_cos: false,
      num_train_timesteps: 0,
      act: "silu",
      post_act: "none",
      sum_act: "none",
    },
    classes: { kind: "none" },
    added: { kind: "none" },
    channels: ch,
    down: resampled(levels, layers),
    mid: { resnets: 2, attention: attention(widths.at(-1) as number), scale_factor: 1 },
    up: resampled([...levels].reverse(), layers + 1),
    downsample_padding: 0,
    odd_sizes: false,
    context_dim: null,
  };
  const scheduler = parseDiffusion(diffusion, varType);
  return { spec, naming: ermongroupNaming(spec.up.length), scheduler, classEmbedder: null, reading: "", warnings };
}

export const ermongroup = {
  id: "ermongroup",
  title: "the layout of ermongroup/ddim",
  tensors:
    /^(temb\.dense|down\.\d+\.(block|attn|downsample)|mid\.(block|attn)_\d|up\.\d+\.(block|attn|upsample)|norm_out)\./,
  // A bayesian model carries a variance that sampling does not use.
  besides: /^logvar$/,
  configures: ({ model }) => typeof model === "object" && model !== null && "ch_mult" in model,
  parse,
} satisfies Layout;
