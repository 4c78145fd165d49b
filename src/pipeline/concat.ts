/**
 * Networks that are fed more than the sampler's state: further channels stand after it, the same in every step. A
 * low-resolution picture (diffusers' LDMSuperResolutionPipeline, StableDiffusionUpscalePipeline), or a mask and the latents
 * of the masked picture (StableDiffusionInpaintPipeline; the other way round in latent-diffusion's scripts/inpaint.py).
 */
import type { AutoencoderModel } from "../autoencoder/open.ts";
import type { ImageSize } from "../network/configReader.ts";
import { ShapeError, UsageError } from "../runtime/errors.ts";
import type { SchedulerConfig } from "../sampler/schedulerConfig.ts";
import type { Parsed } from "../unet/layouts/types.ts";
import type { UNetSpec } from "../unet/spec.ts";
import type { Model } from "./model.ts";
import type { GenerateOptions, Tensor } from "./types.ts";

export interface ConcatInput {
  readonly channels: number;
  /**
   * picture: a low-resolution picture, as large as the state. mask-masked: a mask (1 is painted), then the latents of the
   * picture with zeros there. masked-mask: latents of the picture with -1 there, not scaled, then a mask of -1 and 1.
   */
  readonly kind: "picture" | "mask-masked" | "masked-mask" | "unknown";
}

/** For messages. */
export const concatNames: Readonly<Record<ConcatInput["kind"], string>> = {
  picture: "a low-resolution picture",
  "mask-masked": "a mask and the latents of the masked picture",
  "masked-mask": "the latents of the masked picture and a mask",
  unknown: "what it was trained with",
};

/** What makes the channels of pictures. */
const COMMANDS: Readonly<Record<ConcatInput["kind"], string>> = {
  picture: "use ddim upscale IMAGE, or ",
  "mask-masked": "use ddim edit IMAGE --mask FILE, or ",
  "masked-mask": "use ddim edit IMAGE --mask FILE, or ",
  unknown: "",
};

/** What decides how the channels of a network's input are divided. */
export interface InputFacts {
  readonly config: UNetSpec;
  readonly firstStage: AutoencoderModel | null;
  readonly scheduler: SchedulerConfig | null;
  /** `_class_name` of model_index.json. */
  readonly pipeline: string;
  readonly conditioning: Parsed["conditioning"];
}

/**
 * How many channels of a network's input are the sampler's state, and what the others are. What does not fit an
 * autoencoder is left as it is, for whoever samples to refuse.
 */
export function divideInput(facts: InputFacts): { stateChannels: number; concat: ConcatInput | null } {
  const { config, firstStage, scheduler, pipeline, conditioning } = facts;
  const { in_channels: inputs, out_channels: outputs } = config;
  const learned = scheduler?.variance_type?.startsWith("learned") && outputs % 2 === 0;
  const predicted = learned ? outputs / 2 : outputs;
  const state = firstStage?.spec.latent_channels ?? (inputs > outputs ? predicted : inputs);
  const channels = inputs - state;
  if (channels <= 0 || (outputs !== state && outputs !== 2 * state)) return { stateChannels: inputs, concat: null };
  const kind = (): ConcatInput["kind"] => {
    if (/Inpaint/.test(pipeline)) return "mask-masked";
    if (/SuperResolution|Upscale/.test(pipeline)) return "picture";
    if (firstStage && channels === state + 1) return conditioning === "concat" ? "masked-mask" : "mask-masked";
    return firstStage && channels === firstStage.spec.in_channels ? "picture" : "unknown";
  };
  return { stateChannels: state, concat: { channels, kind: kind() } };
}

/** What a network lacks. */
export function missingConcat({ name, config, stateChannels, concat }: Model): UsageError {
  const { channels, kind } = concat as ConcatInput;
  return new UsageError(
    "concat",
    `${name} takes ${config.in_channels} channels, ${stateChannels} of the state and ${channels} that are missing, ` +
      `${concatNames[kind]}: ${COMMANDS[kind]}give them as concat (--concat FILE)`,
  );
}

/** Whether a network is given what it takes. @throws UsageError */
export function checkConcat(model: Model, { concat }: Pick<GenerateOptions, "concat">): void {
  if (concat && !model.concat)
    throw new UsageError("concat", `${model.name} takes nothing beside its state, and no concat`);
  if (!concat && model.concat) throw missingConcat(model);
}

/** Images that a concat is for; undefined where it does not say. */
export const concatCount = ({ concat }: Pick<GenerateOptions, "concat">): number | undefined => {
  const count = concat?.shape[0] ?? 1;
  return count > 1 ? count : undefined;
};

/** After {@link checkConcat}: the tensor, checked; undefined for networks that take none. @throws UsageError, ShapeError */
export function resolveConcat(
  model: Model,
  { concat }: Pick<GenerateOptions, "concat">,
  count: number,
  { height, width }: ImageSize,
): Tensor | undefined {
  if (!concat || !model.concat) return undefined;
  const { shape, data } = concat;
  const rest = [model.concat.channels, height, width];
  const [rows = 0] = shape;
  const expected = `[${count === 1 ? "" : "1 or "}${count}, ${rest.join(", ")}]`;
  if ((rows !== 1 && rows !== count) || shape.slice(1).join() !== rest.join())
    throw new ShapeError("generate", "concat", expected, shape);
  const wanted = shape.reduce((a, b) => a * b, 1);
  if (data.length !== wanted) throw new ShapeError("generate", "concat", `${wanted} values`, [data.length]);
  return concat;
}

/** Of images `first` and on, once more for those without the condition: [copies · images, C, H, W]. */
export function concatRows({ shape, data }: Tensor, first: number, images: number, copies: number): Float32Array {
  const size = data.length / (shape[0] as number);
  const rows = new Float32Array(copies * images * size);
  for (let row = 0; row < copies * images; row++) {
    const image = shape[0] === 1 ? 0 : first + (row % images);
    rows.set(data.subarray(image * size, (image + 1) * size), row * size);
  }
  return rows;
}

/** Channels of `b` after those of `a`, image by image. */
export function joinChannels(a: Tensor, b: Tensor): Tensor {
  const [n = 0, channels = 0, ...size] = a.shape;
  const [m = 0, more = 0] = b.shape;
  const parts = [a.data.length / n, b.data.length / m] as const;
  const data = new Float32Array(n * (parts[0] + parts[1]));
  for (let i = 0; i < n; i++) {
    const j = m === 1 ? 0 : i;
    data.set(a.data.subarray(i * parts[0], (i + 1) * parts[0]), i * (parts[0] + parts[1]));
    data.set(b.data.subarray(j * parts[1], (j + 1) * parts[1]), i * (parts[0] + parts[1]) + parts[0]);
  }
  return { shape: [n, channels + more, ...size], data };
}
