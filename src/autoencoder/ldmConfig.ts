/**
 * The configurations of latent-diffusion's first stages (ldm/models/autoencoder.py: AutoencoderKL, VQModel,
 * VQModelInterface; ldm/modules/diffusionmodules/model.py: Encoder, Decoder): a file of their own, or the
 * `first_stage_config` of a whole model.
 */

import { type ConfigReader, type ImageSize, MOST, type UnknownOptions } from "../network/configReader.ts";
import { countsOrNone, needed, section } from "../network/reading.ts";
import { ConfigError } from "../runtime/errors.ts";
import { textOf } from "../runtime/printable.ts";
import { isObject } from "../weights/json.ts";
import { checkGroups } from "./config.ts";
import type { AutoencoderSpec, CoderLevel } from "./spec.ts";

const KINDS: Readonly<Record<string, AutoencoderSpec["kind"]>> = {
  AutoencoderKL: "kl",
  VQModel: "vq",
  VQModelInterface: "vq",
};

/** GroupNorms of the repository have 32 groups (Normalize). */
const GROUPS = 32;

/** Arguments of Encoder and Decoder that change the computation in ways that no published checkpoint uses. */
const PLAIN: Readonly<Record<string, unknown>> = {
  resamp_with_conv: true,
  use_linear_attn: false,
  give_pre_end: false,
  tanh_out: false,
};

interface First {
  readonly config: Readonly<Record<string, unknown>>;
  readonly path: string;
  /** A whole model's; 1 where it is alone. */
  readonly scaleFactor: number;
}

/** Where in the file the first stage is described. */
function find(json: Readonly<Record<string, unknown>>, file: string): First {
  const model = section(json.model, file, "model", "ldm");
  const params = model.get("params");
  if (!isObject(params) || !("first_stage_config" in params))
    return { config: json.model as First["config"], path: "model", scaleFactor: 1 };
  const path = "model.params.first_stage_config";
  if (!isObject(params.first_stage_config)) throw new ConfigError(file, path, "must hold keys and values");
  const factor = section(params, file, "model.params", "ldm").positive("scale_factor", 1);
  return { config: params.first_stage_config, path, scaleFactor: factor };
}

function levels(d: ConfigReader, base: number, resolution: number): Pick<AutoencoderSpec, "down" | "up"> {
  const mult = d.levels("ch_mult", [1, 2, 4, 8]);
  const resnets = needed(d, "num_res_blocks", MOST.layers);
  const attended = countsOrNone(d, "attn_resolutions", []);
  // Where attention has no weights, there is none.
  const kind = d.choice("attn_type", "vanilla", ["vanilla", "vanilla-xformers", "none"]);
  const down = mult.map(
    (m, i): CoderLevel => ({
      channels: d.within("ch_mult", base * m, MOST.channels),
      resnets,
      attention: kind !== "none" && attended.includes(Math.floor(resolution / 2 ** i)),
      resample: i < mult.length - 1,
    }),
  );
  const up = [...down].reverse().map((own, i) => ({ ...own, resnets: resnets + 1, resample: i < mult.length - 1 }));
  return { down, up };
}

/**
 * @param file named in errors
 * @throws ConfigError
 */
export function parseLdmAutoencoder(
  json: Readonly<Record<string, unknown>>,
  file: string,
  options?: UnknownOptions,
): AutoencoderSpec {
  const { config, path, scaleFactor } = find(json, file);
  const target = textOf(config.target);
  const kind = KINDS[target.split(".").at(-1) ?? ""];
  if (!kind)
    throw new ConfigError(file, `${path}.target`, `${target} is not supported; ${Object.keys(KINDS).join(", ")} are`);
  const r = section(config.params, file, `${path}.params`, "ldm", options);
  const d = section(r.get("ddconfig"), file, `${path}.params.ddconfig`, "ldm", options);
  const z = needed(d, "z_channels");
  const base = needed(d, "ch");
  const embed = needed(r, "embed_dim");
  if (d.flag("double_z", true) !== (kind === "kl"))
    d.fail("double_z", `must be ${kind === "kl"} for ${target.split(".").at(-1)}`);
  if ((r.get("remap") ?? null) !== null) r.fail("remap", "only null is supported");
  const resolution = needed(d, "resolution", Number.MAX_SAFE_INTEGER);
  const size: ImageSize = { height: resolution, width: resolution };
  const spec: AutoencoderSpec = {
    kind,
    sample_size: size,
    in_channels: needed(d, "in_channels"),
    out_channels: needed(d, "out_ch"),
    latent_channels: embed,
    z_channels: z,
    channels: base,
    norm_num_groups: GROUPS,
    act_fn: "silu",
    ...levels(d, base, resolution),
    mid_block_add_attention: d.get("attn_type") !== "none",
    use_quant_conv: true,
    use_post_quant_conv: true,
    num_vq_embeddings: kind === "vq" ? needed(r, "n_embed") : 0,
    scaling_factor: scaleFactor,
    shift_factor: 0,
    latents_mean: null,
    latents_std: null,
  };
  for (const [key, value] of Object.entries(PLAIN))
    if ((d.get(key) ?? value) !== value) d.fail(key, `only ${value} is supported`);
  d.refuseRest();
  r.refuseRest();
  checkGroups(d, "ch", GROUPS, [base, ...spec.down.map(({ channels }) => channels)]);
  return spec;
}
