/** OpenAI's UNetModel in the normal form, from the arguments of its constructor as scripts and yaml files give them. */
import { type ConfigReader, type ImageSize, MOST } from "../../network/configReader.ts";
import type { Attention, Level, UNetSpec } from "../spec.ts";

export interface UnetModelArguments {
  readonly size: ImageSize;
  readonly inChannels: number;
  readonly outChannels: number;
  readonly modelChannels: number;
  readonly resBlocks: number;
  readonly channelMult: readonly number[];
  /** Downsampling factors of the levels that attend. */
  readonly attentionFactors: readonly number[];
  /** Attention of a level; `up`: on the way up, `count`: how often it stands there. */
  readonly attention: (channels: number, up: boolean, count: number) => Attention;
  readonly scaleShift: boolean;
  readonly resample: "conv" | "resnet" | "pool";
  /** Classes of `label_emb`; 0: none. */
  readonly classes: number;
  readonly contextDim: number | null;
}

/** All of its norms have as many groups. */
export const NORM_GROUPS = 32;

/** Self-attention with heads by number, or by channels per head. @throws ConfigError when they do not divide the width */
export function selfAttention(
  r: ConfigReader,
  channels: number,
  heads: number,
  headChannels: number | null,
): Attention {
  const head_dim = headChannels ?? channels / heads;
  if (!Number.isInteger(head_dim) || channels % head_dim !== 0)
    r.fail(
      headChannels === null ? "num_heads" : "num_head_channels",
      `${headChannels ?? heads} ${headChannels === null ? "heads do" : "channels per head do"} not divide a block of ${channels} channels`,
    );
  return { kind: "self", head_dim, norm_groups: NORM_GROUPS };
}

export function openaiUnet(r: ConfigReader, init: UnetModelArguments): UNetSpec {
  const widths = init.channelMult.map((mult) => Math.trunc(mult * init.modelChannels));
  const bad = widths.find((c) => c % NORM_GROUPS !== 0 || c === 0);
  if (bad !== undefined) r.fail("channel_mult", `the norms' ${NORM_GROUPS} groups do not divide ${bad} channels`);
  for (const width of widths) r.within("channel_mult", width, MOST.channels);
  const last = widths.length - 1;
  const level = (index: number, up: boolean): Level => {
    const channels = widths[index] as number;
    const resnets = init.resBlocks + (up ? 1 : 0);
    return {
      channels,
      resnets,
      attention: init.attentionFactors.includes(2 ** index) ? init.attention(channels, up, resnets) : null,
      resample: index === (up ? 0 : last) ? "none" : init.resample,
    };
  };
  return {
    sample_size: init.size,
    in_channels: init.inChannels,
    out_channels: init.outChannels,
    center_input_sample: false,
    conv_in_kernel: 3,
    conv_out_kernel: 3,
    norm_num_groups: NORM_GROUPS,
    norm_eps: 1e-5,
    act_fn: "silu",
    out_act: "silu",
    scale_shift: init.scaleShift,
    time: {
      type: "positional",
      inputs: init.modelChannels,
      dim: 4 * init.modelChannels,
      freq_shift: 0,
      flip_sin_to_cos: true,
      num_train_timesteps: 0,
      act: "silu",
      post_act: "none",
      sum_act: "none",
    },
    classes: init.classes > 0 ? { kind: "embedding", count: init.classes } : { kind: "none" },
    added: { kind: "none" },
    channels: widths[0] as number,
    down: widths.map((_, i) => level(i, false)),
    mid: { resnets: 2, attention: init.attention(widths[last] as number, false, 1), scale_factor: 1 },
    up: widths.map((_, i) => level(last - i, true)),
    downsample_padding: 1,
    odd_sizes: false,
    context_dim: init.contextDim,
  };
}
