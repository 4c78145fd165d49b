/**
 * diffusers' `config.json` of a VQModel or an AutoencoderKL, checked. A key that is unknown, or a value that would change
 * the computation in a way that is not implemented, is an error that names it.
 */
import { readActivation } from "../kernels/parts/activations.ts";
import { ConfigReader, imageSize, MOST, type UnknownOptions } from "../network/configReader.ts";
import { shown, textOf } from "../runtime/printable.ts";
import type { AutoencoderSpec, CoderLevel } from "./spec.ts";

const CLASSES = { AutoencoderKL: "kl", VQModel: "vq" } as const;

/** Classes whose networks differ, by the way from each to one that does not. */
const OTHER_CLASSES: Readonly<Record<string, string>> = {
  AsymmetricAutoencoderKL: "its decoder takes a mask",
  AutoencoderTiny: "its network is another; use the AutoencoderKL that it imitates",
  ConsistencyDecoderVAE: "its decoder is a sampler of its own",
};

/** Whether each level attends. */
function blockTypes(r: ConfigReader, key: "down_block_types" | "up_block_types", levels: number): boolean[] {
  const name = key === "down_block_types" ? "DownEncoderBlock2D" : "UpDecoderBlock2D";
  const known: readonly string[] = [name, `Attn${name}`];
  const types = r.list<string>(key, [name], (v) => typeof v === "string", "block names");
  const foreign = types.find((type) => !known.includes(type));
  if (foreign !== undefined) r.fail(key, `${textOf(foreign)} is not supported; supported are ${known.join(", ")}`);
  if (types.length !== levels) r.fail(key, `has ${types.length} entries, block_out_channels ${levels}`);
  return types.map((type) => type.startsWith("Attn"));
}

function numbersOrNull(r: ConfigReader, key: string, count: number): readonly number[] | null {
  if ((r.get(key) ?? null) === null) return null;
  const list = r.list<number>(key, [], (v) => typeof v === "number" && Number.isFinite(v), "numbers");
  if (list.length !== count) r.fail(key, `has ${list.length} entries, latents ${count} channels`);
  return list;
}

/** Every norm has to divide its channels. */
export function checkGroups(r: ConfigReader, key: string, groups: number, widths: readonly number[]): void {
  const bad = widths.find((c) => c % groups !== 0);
  if (bad !== undefined) r.fail(key, `${groups} groups do not divide ${bad} channels`);
}

/** A number that may be absent or null. */
function numberOr(r: ConfigReader, key: string, fallback: number): number {
  const value = r.get(key) ?? fallback;
  if (typeof value !== "number" || !Number.isFinite(value)) r.fail(key, `expected a number, got ${shown(value)}`);
  return value;
}

/**
 * @param json the parsed file; `_class_name` says which of the two it is
 * @param file named in errors
 * @throws ConfigError
 */
export function parseAutoencoderConfig(
  json: Readonly<Record<string, unknown>>,
  file: string,
  options?: UnknownOptions,
): AutoencoderSpec {
  const r = new ConfigReader(json, file, "diffusers", options);
  const className = textOf(json._class_name);
  if (!Object.hasOwn(CLASSES, className)) {
    const why = OTHER_CLASSES[className];
    r.fail("_class_name", `${className} is not supported${why ? `: ${why}` : ""}; VQModel and AutoencoderKL are`);
  }
  const kind = CLASSES[className as keyof typeof CLASSES];
  const vq = kind === "vq";
  const widths = r.levels("block_out_channels", [64]);
  const layers = r.count("layers_per_block", 1, 1, MOST.layers);
  const [down, up] = [blockTypes(r, "down_block_types", widths.length), blockTypes(r, "up_block_types", widths.length)];
  const levels = (attention: readonly boolean[], channels: readonly number[], resnets: number): CoderLevel[] =>
    channels.map((c, i) => ({
      channels: c,
      resnets,
      attention: attention[i] as boolean,
      resample: i < channels.length - 1,
    }));
  const z = r.count("latent_channels", vq ? 3 : 4);
  const latents = vq ? (r.countOrNull("vq_embed_dim", null) ?? z) : z;
  if (vq && r.flag("lookup_from_codebook", false)) r.fail("lookup_from_codebook", "only false is supported");
  if (vq && r.choice("norm_type", "group", ["group", "spatial"]) !== "group")
    r.fail("norm_type", "only group is supported");
  // Sums are f32 anyway; f16 storage is the caller's choice.
  r.flag("force_upcast", !vq);
  const spec: AutoencoderSpec = {
    kind,
    sample_size: imageSize(r),
    in_channels: r.count("in_channels", 3),
    out_channels: r.count("out_channels", 3),
    latent_channels: latents,
    z_channels: z,
    channels: widths[0] as number,
    norm_num_groups: r.count("norm_num_groups", 32),
    act_fn: readActivation(r, "act_fn"),
    down: levels(down, widths, layers),
    up: levels(up, [...widths].reverse(), layers + 1),
    mid_block_add_attention: r.flag("mid_block_add_attention", true),
    use_quant_conv: vq || r.flag("use_quant_conv", true),
    use_post_quant_conv: vq || r.flag("use_post_quant_conv", true),
    num_vq_embeddings: vq ? r.count("num_vq_embeddings", 256) : 0,
    scaling_factor: r.positive("scaling_factor", 0.18215),
    shift_factor: vq ? 0 : numberOr(r, "shift_factor", 0),
    latents_mean: vq ? null : numbersOrNull(r, "latents_mean", latents),
    latents_std: vq ? null : numbersOrNull(r, "latents_std", latents),
  };
  r.refuseRest();
  checkGroups(r, "norm_num_groups", spec.norm_num_groups, widths);
  return spec;
}
