/**
 * Configurations of these networks: the arguments of `Unet` as JSON, for the post with the schedule's among them; for
 * denoising-diffusion-pytorch in two sections, `unet` and `diffusion`. What tensors tell need not be given.
 */
import { ConfigReader, type ImageSize, MOST, type UnknownOptions } from "../../network/configReader.ts";
import { section } from "../../network/reading.ts";
import { shown } from "../../runtime/printable.ts";
import type { Parsed, TensorShapes, WeightSet } from "../layouts/types.ts";
import type { Level, UNetSpec } from "../spec.ts";
import type { Denoising } from "./body.ts";
import { attentionReader } from "./heads.ts";
import { lucidrainsSchedule, postSchedule } from "./schedule.ts";
import { timeInputs } from "./time.ts";
import { presumed, type Shapes, type Traits, traitsOf } from "./traits.ts";
import { changedCheckpoint, type DenoisingWeights, denoisingNaming, shapesOf } from "./weights.ts";

function imageSize(r: ConfigReader): ImageSize | null {
  const value = r.get("image_size");
  if (value === undefined || value === null) return null;
  const sides = Array.isArray(value) ? value : [value, value];
  if (sides.length !== 2 || !sides.every((v) => Number.isSafeInteger(v) && v >= 1))
    r.fail("image_size", `expected a whole number or [height, width], got ${shown(value)}`);
  return { height: sides[0], width: sides[1] };
}

/** A width that tensors tell, where the configuration does not. */
function width(r: ConfigReader, key: string, told: number | undefined, fallback: number): number {
  return r.countOrNull(key, null) ?? told ?? fallback;
}

function multiples(r: ConfigReader, dim: number, shapes: Shapes, skips: number): readonly number[] {
  if (r.get("dim_mults") !== undefined) return r.levels("dim_mults", []);
  const widths: number[] = [];
  for (let i = 0; i < MOST.levels; i++) {
    const names = skips === 1 ? ["1.net.4", "1.block2.proj"] : ["3.1", "3"];
    const found = names.map((name) => shapes.get(`downs.${i}.${name}.weight`)?.[0]).find((rows) => rows !== undefined);
    if (found === undefined) break;
    widths.push(found);
  }
  const mults = widths.map((rows) => rows / dim);
  if (!mults.every(Number.isInteger)) r.fail("dim_mults", `is needed: ${widths.join(", ")} are no multiples of ${dim}`);
  return mults.length > 0 ? mults : [1, 2, 4, 8];
}

/** Channels of pictures, and whether the network reads what the step before made out, as channels of its own. */
function inputsOf(r: ConfigReader, read: number | undefined, made: number | undefined) {
  const given = r.countOrNull("channels", null);
  const selfCondition = r.flag("self_condition", read !== undefined && read === 2 * (given ?? made ?? read));
  return { selfCondition, channels: given ?? (read && read / (selfCondition ? 2 : 1)) ?? 3 };
}

/** Arguments of training, and what tensors show. */
const UNREAD = ["dropout", "flash_attn", "convnext_mult", "use_convnext", "learned_sinusoidal_dim"];
const UNREAD_DIFFUSION = [
  ...["sampling_timesteps", "ddim_sampling_eta", "offset_noise_strength", "min_snr_loss_weight", "min_snr_gamma"],
  ...["immiscible", "loss_type", "p2_loss_weight_gamma", "p2_loss_weight_k", "auto_normalize"],
];

/** What the graphs are made with, kernels among it: apart, since schedules do without. */
type Body = typeof import("./body.ts");

interface Read {
  readonly spec: UNetSpec;
  readonly weights: DenoisingWeights;
}

function parseNetwork(
  r: ConfigReader,
  traits: Traits,
  { prefix, shapes }: ReturnType<typeof shapesOf>,
  size: ImageSize | null,
  warn: (text: string) => void,
  { denoisingBody, tapProjections }: Body,
): Read {
  const known = shapes.size > 0;
  const { skips, convnext } = traits;
  const timeRows = shapes.get("time_mlp.3.weight")?.[0];
  if (r.get("dim") === undefined && timeRows === undefined) r.fail("dim", "is missing");
  const dim = width(r, "dim", timeRows && timeRows / 4, 0);
  const channelsTold = shapes.get("final_conv.1.weight")?.[0] ?? shapes.get("final_conv.weight")?.[0];
  const learned = r.flag("learned_variance", false);
  const init = shapes.get("init_conv.weight");
  const { channels, selfCondition } = inputsOf(
    r,
    init?.[1],
    channelsTold && (learned ? channelsTold / 2 : channelsTold),
  );
  const initDim = width(r, "init_dim", init?.[0], skips === 1 ? Math.floor(dim / 3) * 2 : dim);
  const outputs = width(r, "out_dim", channelsTold, channels * (learned ? 2 : 1));
  if (!r.flag("with_time_emb", true)) r.fail("with_time_emb", "a network that is not told the time cannot be sampled");
  const mults = multiples(r, dim, shapes, skips);
  const widths = [initDim, ...mults.map((mult) => r.within("dim_mults", mult * dim, MOST.channels))];
  const normed = traits.blockNorm === "group" && !convnext;
  const groups = r.count("resnet_block_groups", traits.standardised === "multiplied" ? 4 : 8);
  if (normed && r.get("resnet_block_groups") === undefined)
    warn(`resnet_block_groups is not given and cannot be told from the tensors: ${groups} is assumed`);
  const bad = widths.slice(skips === 1 ? 1 : 0).find((c) => c % groups !== 0);
  if (normed && bad !== undefined) r.fail("resnet_block_groups", `${groups} groups do not divide ${bad} channels`);
  const attention = attentionReader(r, shapes, traits, mults.length, warn);
  const fourier = r.flag("learned_sinusoidal_cond", false) || r.flag("random_fourier_features", false);
  const inputsTold = shapes.get("time_mlp.0.weights")?.[0];
  const frequencies = inputsTold ?? (fourier ? r.count("learned_sinusoidal_dim", 16) / 2 : 0);
  if (frequencies === 0 && (dim % 2 !== 0 || dim < 4))
    r.fail("dim", `${dim} is odd or below 4: the sinusoids of a timestep are two pairs at least`);
  const down = (known ? shapes.has("downs.0.3.1.weight") : skips === 2) ? "space" : "strided";
  const up = skips === 1 ? "transposed" : "nearest";
  const multTold = shapes.get("downs.0.1.net.1.weight")?.[0];
  const network: Denoising = {
    traits,
    groups,
    mult: multTold ? multTold / (widths[1] as number) : r.count("convnext_mult", 2),
    levels: mults.map((_, i) => ({
      inputs: widths[i] as number,
      outputs: widths[i + 1] as number,
      attention: attention.down(i),
    })),
    middle: attention.middle,
    up: mults.map((_, i) => attention.up(i)),
    dim: skips === 1 ? dim : initDim,
    initDim,
    initKernel: init?.[2] ?? (traits.standardised === "multiplied" ? 1 : 7),
    outputs,
    down,
    upsample: up,
    has: (name) => !known || shapes.has(name),
  };
  for (const key of UNREAD) r.get(key);
  const level = (resample: Level["resample"]): Level => ({ channels: dim, resnets: 2, attention: null, resample });
  const ends = mults.map((_, i) => level(i < mults.length - 1 ? "conv" : "none"));
  const spec: UNetSpec = {
    body: (parts) => denoisingBody(network, parts),
    tapEmbeddings: tapProjections,
    self_condition: selfCondition,
    sample_size: size,
    in_channels: channels * (selfCondition ? 2 : 1),
    out_channels: outputs,
    center_input_sample: false,
    conv_in_kernel: network.initKernel,
    conv_out_kernel: 1,
    norm_num_groups: groups,
    norm_eps: 1e-5,
    act_fn: convnext ? "gelu" : "silu",
    out_act: "none",
    scale_shift: traits.scaleShift,
    time: {
      ...timeInputs(dim, frequencies, r.positive("sinusoidal_pos_emb_theta", 10000)),
      dim: 4 * dim,
      freq_shift: 1,
      flip_sin_to_cos: false,
      num_train_timesteps: 0,
      act: "gelu",
      post_act: "none",
      sum_act: "none",
    },
    classes: { kind: "none" },
    added: { kind: "none" },
    channels: initDim,
    down: ends,
    mid: null,
    up: ends,
    downsample_padding: 1,
    odd_sizes: false,
    context_dim: null,
  };
  const { standardised } = traits;
  const { linear, memoryShape } = attention;
  return { spec, weights: { prefix, standardised, selfCondition, linear, memoryShape, down, up } };
}

export async function parseDenoising(
  json: Readonly<Record<string, unknown>>,
  file: string,
  _weights: WeightSet,
  options: UnknownOptions = {},
  tensors: TensorShapes = new Map(),
): Promise<Parsed> {
  const warnings: string[] = [];
  const warn = (text: string) => void warnings.push(`${file}: ${text}`);
  const flat = json.unet === undefined;
  const root = new ConfigReader(json, file, "denoising", options);
  const r = flat ? root : section(root.get("unet"), file, "unet", "denoising", options);
  const version = root.get("version");
  if (version !== undefined && typeof version !== "string")
    root.fail("version", `expected a text, got ${shown(version)}`);
  const own = shapesOf(tensors);
  const traits =
    own.shapes.size > 0
      ? traitsOf(own.shapes, version as string | undefined, warn)
      : presumed(json.unet === undefined ? json : (json.unet as Record<string, unknown>), flat);
  const diffusion = flat ? root : section(root.get("diffusion") ?? {}, file, "diffusion", "denoising", options);
  const { spec, weights } = parseNetwork(r, traits, own, imageSize(diffusion), warn, await import("./body.ts"));
  const given = diffusion.get("schedule_fn_kwargs") ?? null;
  const kwargs = given === null ? null : section(given, file, "schedule_fn_kwargs", "denoising", options);
  const post = traits.attentionNorm === "group" || traits.skips === 1;
  const schedule = post ? postSchedule(diffusion) : lucidrainsSchedule(diffusion, kwargs, traits.wrapped);
  if (post && diffusion.get("timesteps") === undefined)
    warn(
      "timesteps is not given: the post's 300, with a linear schedule unless beta_schedule says otherwise, are assumed",
    );
  if (!post && diffusion.get("auto_normalize") === false)
    warn("the model was trained on images that are not in -1..1; what is sampled is shown as if so");
  for (const key of UNREAD_DIFFUSION) diffusion.get(key);
  kwargs?.refuseRest();
  if (!flat) diffusion.refuseRest();
  if (!flat) r.refuseRest();
  root.refuseRest();
  return {
    spec,
    naming: denoisingNaming(weights),
    scheduler: schedule,
    classEmbedder: null,
    reading: JSON.stringify(traits),
    warnings,
    prepare: (checkpoint) => changedCheckpoint(checkpoint, weights),
  };
}
