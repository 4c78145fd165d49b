/**
 * How the input of a network is divided. Some networks are fed more than the sampler's state: a low-resolution picture
 * (diffusers' LDMSuperResolutionPipeline, StableDiffusionUpscalePipeline), or a mask and the latents of the masked picture
 * (StableDiffusionInpaintPipeline; the other way round in latent-diffusion's scripts/inpaint.py).
 */
import type { AutoencoderModel } from "../autoencoder/open.ts";
import type { SchedulerConfig } from "../sampler/schedulerConfig.ts";
import type { Parsed } from "../unet/layouts/types.ts";
import type { UNetSpec } from "../unet/spec.ts";

export interface ConcatInput {
  readonly channels: number;
  /**
   * picture: a low-resolution picture, as large as the state. mask-masked: a mask (1 is painted), then the latents of the
   * picture with zeros there. masked-mask: latents of the picture with -1 there, not scaled, then a mask of -1 and 1.
   */
  readonly kind: "picture" | "mask-masked" | "masked-mask" | "unknown";
}

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
