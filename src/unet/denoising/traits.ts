/**
 * Which of the many states of denoising-diffusion-pytorch, and of the post that took over two of them, a network is of: told by
 * the names and shapes of its tensors, since no file says it.
 */

/** Shapes of tensors by their names, without what stands before all of them. */
export type Shapes = ReadonlyMap<string, readonly number[]>;

export interface Traits {
  /** ConvNeXt blocks; else resnets of two convolutions. */
  readonly convnext: boolean;
  /** Skip connections of a level. With one, blocks change the width on their level, and the first level's is not used. */
  readonly skips: 1 | 2;
  /** Resnets scale and shift by the time embedding; else they add it. */
  readonly scaleShift: boolean;
  /** How the weights of resnets' convolutions are standardised: divided by their deviation, or, in the post, multiplied. */
  readonly standardised: "divided" | "multiplied" | null;
  readonly blockNorm: "group" | "layer" | "rms";
  readonly attentionNorm: "group" | "layer" | "rms";
  /** Attention stands in modules of its own for the residual connection and the norm: `fn.fn`. */
  readonly wrapped: boolean;
  /** Linear attention divides values by the number of pixels. */
  readonly overPixels: boolean;
  /** Full attention compares queries and keys of length 1 (over pixels). */
  readonly cosine: boolean;
}

const PRESETS = {
  convnext: {
    ...{ convnext: true, skips: 1, scaleShift: false, standardised: null, blockNorm: "layer", attentionNorm: "layer" },
    ...{ wrapped: true, overPixels: false, cosine: false },
  },
  /** The post's newer network. */
  post: {
    ...{ convnext: false, skips: 2, scaleShift: true, standardised: "multiplied", blockNorm: "group" },
    ...{ attentionNorm: "group", wrapped: true, overPixels: false, cosine: false },
  },
  /** denoising-diffusion-pytorch 2.x. */
  current: {
    ...{ convnext: false, skips: 2, scaleShift: true, standardised: null, blockNorm: "rms", attentionNorm: "rms" },
    ...{ wrapped: false, overPixels: false, cosine: false },
  },
} as const satisfies Record<string, Traits>;

/** Of a configuration alone, where there are no tensors. */
export function presumed(keys: Readonly<Record<string, unknown>>, flat: boolean): Traits {
  if (keys.use_convnext === true) return PRESETS.convnext;
  return flat ? PRESETS.post : PRESETS.current;
}

const pair = (version: string): number => {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return 1000 * major + minor;
};

/**
 * @param version of denoising-diffusion-pytorch, where the configuration says it
 * @param warn hears what was assumed
 */
export function traitsOf(shapes: Shapes, version: string | undefined, warn: (text: string) => void): Traits {
  const convnext = shapes.has("downs.0.0.ds_conv.weight");
  const has = (pattern: RegExp) => [...shapes.keys()].some((name) => pattern.test(name));
  const skips = has(/^final_res_block\./) ? 2 : 1;
  const wrapped = has(/^mid_attn\.fn\./);
  const rows = (name: string) => shapes.get(name)?.[0];
  const block = convnext ? "net.0" : "block1.norm";
  const grouped = (module: string) => shapes.has(`${module}.weight`);
  const blockNorm = grouped(`downs.0.1.${block}`) ? "group" : convnext ? "layer" : "rms";
  const attention = wrapped ? "mid_attn.fn.norm" : "mid_attn.norm";
  const whole = { convnext, skips, wrapped, blockNorm } as const;
  const scaleShift = rows("downs.0.0.mlp.1.weight") === 2 * (rows("downs.0.0.block1.proj.weight") ?? 0);
  const plain = { scaleShift, standardised: null, overPixels: false, cosine: false };
  if (grouped(attention)) return { ...whole, ...plain, attentionNorm: "group", standardised: post(whole, scaleShift) };
  if (shapes.has(`${attention}.b`)) return { ...whole, ...plain, attentionNorm: "layer" };
  if (!wrapped) return { ...whole, ...plain, attentionNorm: "rms" };
  const strided = shapes.get("downs.0.3.weight")?.[2] === 4;
  if (strided) {
    const old = version === undefined || pair(version) < 28;
    if (version === undefined)
      warn("tensors cannot tell version 0.27 of denoising-diffusion-pytorch from 0.28: 0.27 is assumed");
    return {
      ...whole,
      ...plain,
      attentionNorm: "layer",
      overPixels: true,
      cosine: old,
      standardised: old ? null : "divided",
    };
  }
  if (version === undefined)
    warn("tensors cannot tell versions 1.0 to 1.6 of denoising-diffusion-pytorch from 1.7: 1.5 is assumed");
  const attentionNorm = version !== undefined && pair(version) >= 1007 ? "rms" : "layer";
  return { ...whole, ...plain, attentionNorm, overPixels: true, standardised: "divided" };
}

/** Of the post's networks, the newer one standardises. */
const post = ({ convnext, skips }: Pick<Traits, "convnext" | "skips">, scaleShift: boolean): Traits["standardised"] =>
  !convnext && skips === 2 && scaleShift ? "multiplied" : null;
