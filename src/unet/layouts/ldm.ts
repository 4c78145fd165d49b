/**
 * Checkpoints of CompVis/latent-diffusion (ldm/models/diffusion/ddpm.py, class LatentDiffusion) and its descendants:
 * OpenAI's UNetModel under `model.diffusion_model.`, beside it the first stage, the conditioner, the buffers of the noise
 * schedule and, in some, the moving average of the weights. Configurations are the repository's yaml files.
 */

import { type ConfigReader, MOST, type UnknownOptions } from "../../network/configReader.ts";
import type { Naming } from "../../network/naming.ts";
import { countOrUnset, countsOrNone, needed, section } from "../../network/reading.ts";
import { textOf } from "../../runtime/printable.ts";
import type { ExpectedTensor } from "../../weights/match.ts";
import type { UNetSpec } from "../spec.ts";
import { openaiNaming } from "./openaiNames.ts";
import { openaiUnet, selfAttention, type UnetModelArguments } from "./openaiUnet.ts";
import type { ClassEmbedder, Layout, Parsed, WeightSet } from "./types.ts";

const PREFIX = "model.diffusion_model.";

/** The moving average's names have lost `model.` and their dots (ldm/modules/ema.py, LitEma). */
const emaName = (name: string): string => `model_ema.${name.replace(/^model\./, "").replaceAll(".", "")}`;

function ldmNaming(spec: UNetSpec, order: "legacy" | "new", weights: WeightSet): Naming {
  const inner = openaiNaming(spec, order);
  return {
    // The sinusoids are no module's.
    module: (path) => (path === "time_proj" ? "" : PREFIX) + inner.module(path),
    locate: (param: ExpectedTensor) => {
      const source = inner.locate(param);
      const name = PREFIX + source.name;
      return {
        name: weights === "ema" ? emaName(name) : name,
        shape: source.shape,
        get channels() {
          return source.channels;
        },
      };
    },
  };
}

/** What describes the autoencoder, which reads it itself. */
const FIRST_STAGE = ["first_stage_config", "scale_factor"];

const SCHEDULES: Readonly<Record<string, string>> = {
  linear: "scaled_linear",
  cosine: "squaredcos_cap_v2",
  sqrt_linear: "linear",
  sqrt: "sqrt",
};

const PREDICTIONS = { eps: "epsilon", x0: "sample", v: "v_prediction" } as const;

function givenBetas(r: ConfigReader): readonly number[] | null {
  if ((r.get("given_betas") ?? null) === null) return null;
  const betas = r.list<number>("given_betas", [], (v) => typeof v === "number" && v > 0 && v <= 1, "numbers in (0, 1]");
  r.within("given_betas", betas.length, MOST.timesteps);
  return betas;
}

function parseDiffusion(r: ConfigReader): Record<string, unknown> {
  const schedule = r.choice("beta_schedule", "linear", Object.keys(SCHEDULES));
  if (r.positive("cosine_s", 8e-3) !== 8e-3) r.fail("cosine_s", "only 0.008 is supported");
  const parameterization = r.choice(
    "parameterization",
    "eps",
    Object.keys(PREDICTIONS) as (keyof typeof PREDICTIONS)[],
  );
  return {
    num_train_timesteps: r.count("timesteps", 1000),
    beta_schedule: SCHEDULES[schedule],
    beta_start: r.positive("linear_start", 1e-4),
    beta_end: r.positive("linear_end", 2e-2),
    trained_betas: givenBetas(r),
    prediction_type: PREDICTIONS[parameterization],
    // As its DDIMSampler: timesteps from 1 on, to the noise level of timestep 0, nothing clipped.
    clip_sample: false,
    set_alpha_to_one: false,
    steps_offset: 1,
  };
}

/** How many heads, as the constructor's three ways of saying it come out. */
function attentionReader(r: ConfigReader): UnetModelArguments["attention"] {
  const [heads, headChannels] = [countOrUnset(r, "num_heads"), countOrUnset(r, "num_head_channels")];
  const upHeads = countOrUnset(r, "num_heads_upsample") ?? heads ?? 1;
  if (heads === null && headChannels === null) r.fail("num_heads", "either num_heads or num_head_channels is needed");
  const spatial = r.flag("use_spatial_transformer", false);
  const depth = r.count("transformer_depth", 1, 1, MOST.layers);
  const linear_projection = r.flag("use_linear_in_transformer", false);
  const context = r.countOrNull("context_dim", null);
  if (spatial && context === null) r.fail("context_dim", "is needed by use_spatial_transformer");
  if (!spatial) return (channels, up) => selfAttention(r, channels, up ? upHeads : (heads ?? 1), headChannels);
  return (channels, _up, count) => {
    const own = selfAttention(r, channels, heads ?? 1, headChannels);
    return {
      kind: "transformer",
      heads: channels / own.head_dim,
      head_dim: own.head_dim,
      depths: Array.from({ length: count }, () => depth),
      linear_projection,
      only_cross: false,
    };
  };
}

function parseNetwork(r: ConfigReader, size: number | null): UNetSpec {
  const attention = attentionReader(r);
  if (r.count("dims", 2) !== 2) r.fail("dims", "only 2 is supported");
  if (r.countOrNull("n_embed", null) !== null)
    r.fail("n_embed", "networks that predict codebook ids are not supported");
  const own = r.count("image_size", 32, 1, Number.MAX_SAFE_INTEGER);
  const side = size ?? own;
  const resample = r.flag("conv_resample", true) ? "conv" : "pool";
  const spec = openaiUnet(r, {
    size: { height: side, width: side },
    inChannels: r.count("in_channels", 3),
    outChannels: r.count("out_channels", 3),
    modelChannels: r.count("model_channels", 128),
    resBlocks: r.count("num_res_blocks", 2, 1, MOST.layers),
    channelMult: r.levels("channel_mult", [1, 2, 4, 8]),
    attentionFactors: countsOrNone(r, "attention_resolutions", []),
    attention,
    scaleShift: r.flag("use_scale_shift_norm", false),
    resample: r.flag("resblock_updown", false) ? "resnet" : resample,
    classes: r.countOrNull("num_classes", null) ?? 0,
    contextDim: r.countOrNull("context_dim", null),
  });
  return spec;
}

/** The class embedder of the class-conditional models (ldm/modules/encoders/modules.py); other conditioners are the caller's. */
function parseConditioner(
  json: unknown,
  context: number | null,
  part: (json: unknown, path: string) => ConfigReader,
): ClassEmbedder | null {
  if (typeof json !== "object" || json === null) return null;
  const r = part(json, "model.params.cond_stage_config");
  if (!textOf(r.get("target")).endsWith(".ClassEmbedder")) return null;
  const params = part(r.get("params"), "model.params.cond_stage_config.params");
  const count = params.count("n_classes", 1000);
  // ImageNet has 1000 classes; what is left over is the class that was dropped to in training.
  const nullClass = count === 1001 ? 1000 : null;
  const width = needed(params, "embed_dim");
  if (width !== context) params.fail("embed_dim", `is ${width}, but the network's context_dim is ${context}`);
  return { tensor: "cond_stage_model.embedding.weight", count, width, nullClass };
}

/** What the network is told beside the state and the time, as the constructor finds it out (DiffusionWrapper). */
function conditioningOf(r: ConfigReader): Parsed["conditioning"] {
  const stage = r.get("cond_stage_config");
  const mode = r.flag("concat_mode", true) ? "concat" : "crossattn";
  const key = r.get("conditioning_key") ?? mode;
  if (stage === undefined || stage === "__is_unconditional__") return undefined;
  return key === "concat" || key === "hybrid" ? key : undefined;
}

function parse(
  json: Readonly<Record<string, unknown>>,
  file: string,
  weights: WeightSet,
  options?: UnknownOptions,
): Parsed {
  const part = (inner: unknown, path: string) => section(inner, file, path, "ldm", options);
  const model = part(json.model, "model");
  const r = part(model.get("params"), "model.params");
  const unet = part(r.get("unet_config"), "model.params.unet_config");
  const network = part(unet.get("params"), "model.params.unet_config.params");
  const sizeGiven = r.get("image_size");
  const spec = parseNetwork(
    network,
    sizeGiven === undefined ? null : r.count("image_size", 0, 1, Number.MAX_SAFE_INTEGER),
  );
  const order = network.flag("use_new_attention_order", false) ? "new" : "legacy";
  network.refuseRest();
  const scheduler = parseDiffusion(r);
  const classEmbedder = parseConditioner(r.get("cond_stage_config"), spec.context_dim, part);
  const conditioning = conditioningOf(r);
  for (const key of FIRST_STAGE) r.get(key);
  r.refuseRest();
  const naming = ldmNaming(spec, order, weights);
  return { spec, naming, scheduler, classEmbedder, conditioning, reading: `${order} ${weights}`, warnings: [] };
}

export const ldm = {
  id: "ldm",
  title: "the layout of latent-diffusion",
  tensors: /^model\.diffusion_model\./,
  besides: new RegExp(
    "^(model_ema|first_stage_model|cond_stage_model)\\.|" +
      "^(betas|alphas_cumprod|alphas_cumprod_prev|sqrt_\\w+|log_one_minus_alphas_cumprod|posterior_\\w+|" +
      "lvlb_weights|logvar|scale_factor|cond_ids)$",
  ),
  ema: /^model_ema\.diffusion_model/,
  configures: ({ model }) => typeof model === "object" && model !== null && "params" in model,
  parse,
} satisfies Layout;
