/**
 * The networks of the Annotated Diffusion post and of lucidrains' denoising-diffusion-pytorch, which it comes from. What they
 * are made of is loaded for them alone.
 */
import type { Layout } from "./types.ts";

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;

export const denoising: Layout = {
  id: "denoising",
  title: "the layout of denoising-diffusion-pytorch and the Annotated Diffusion post",
  tensors:
    /^(model\.)?((downs|ups)\.\d+\.[0-3]|mid_block[12]|mid_attn|final_res_block|time_mlp|init_conv|final_conv)\./,
  // Buffers of GaussianDiffusion.
  besides:
    /^((sqrt_(recip(m1)?_)?|log_one_minus_|sqrt_one_minus_)?alphas_cumprod(_prev)?|betas|posterior_\w+|loss_weight|p2_loss_weight)$/,
  configures: ({ unet, dim }) => typeof dim === "number" || (isObject(unet) && "dim" in unet),
  parse: async (...args) => (await import("../denoising/parse.ts")).parseDenoising(...args),
};
