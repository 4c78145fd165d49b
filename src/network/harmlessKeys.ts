/**
 * Keys of configurations that mean nothing to what is computed here, each with its reason. Whatever is in no reader's hands
 * and not in this table may change the computation, and is refused.
 */

/** Whose configurations. */
export type Family = "diffusers" | "ermongroup" | "openai" | "ldm" | "denoising" | "scheduler";

interface Harmless {
  /** Default: every family's. */
  readonly families?: readonly Family[];
  readonly reason: string;
  readonly keys: readonly string[];
}

const HARMLESS: readonly Harmless[] = [
  {
    reason: "state of the moving average that diffusers' training scripts save with its weights (EMAModel)",
    keys: [
      ...["decay", "inv_gamma", "max_value", "min_decay", "min_value", "optimization_step", "power"],
      ...["update_after_step", "use_ema_warmup", "collected_params"],
    ],
  },
  { reason: "type that the weights had in memory; the file tells the one it stores", keys: ["torch_dtype", "dtype"] },
  { reason: "version of the program that saved the file", keys: ["transformers_version"] },
  {
    reason: "which class of a program loads the file; _class_name or the keys tell the network",
    keys: ["architectures", "auto_map", "model_type"],
  },
  { reason: "memory or time of training", keys: ["gradient_checkpointing", "use_gradient_checkpointing"] },
  { reason: "training alone drops values", families: ["diffusers", "ermongroup", "openai", "ldm"], keys: ["dropout"] },
  {
    families: ["diffusers"],
    reason: "attention is summed in f32 always",
    keys: ["upcast_attention"],
  },
  {
    families: ["diffusers"],
    reason: "arguments of blocks and embeddings that are refused where a network has them",
    keys: ["mid_block_only_cross_attention", "cross_attention_norm", "addition_embed_type_num_heads"],
  },
  {
    families: ["ermongroup"],
    reason: "sections of training, of sampling scripts and of the optimiser",
    keys: ["training", "sampling", "optim"],
  },
  {
    families: ["ermongroup"],
    reason: "reading of the images that it was trained on",
    keys: [
      ...["dataset", "category", "uniform_dequantization", "gaussian_dequantization", "random_flip", "channels"],
      "num_workers",
    ],
  },
  { families: ["ermongroup"], reason: "making of the moving average", keys: ["ema", "ema_rate"] },
  {
    families: ["openai", "ldm"],
    reason: "memory or time of training and running",
    keys: ["use_checkpoint", "use_fp16"],
  },
  {
    families: ["openai"],
    reason: "training's loss, and the sampling scripts' own arguments",
    keys: [
      ...["use_kl", "rescale_learned_sigmas", "timestep_respacing", "batch_size", "num_samples", "model_path"],
      ...["clip_denoised", "use_ddim", "classifier_path", "classifier_scale"],
    ],
  },
  {
    families: ["ldm"],
    reason: "arguments of constructors that only training or logging reads",
    keys: [
      ...["num_timesteps_cond", "cond_stage_trainable", "cond_stage_forward", "scale_by_std", "use_ema", "loss_type"],
      ...["ckpt_path", "ignore_keys", "load_only_unet", "monitor", "first_stage_key", "cond_stage_key", "log_every_t"],
      ...["clip_denoised", "original_elbo_weight", "v_posterior", "l_simple_weight", "scheduler_config", "channels"],
      ...["use_positional_encodings", "learn_logvar", "logvar_init", "concat_mode", "conditioning_key"],
      ...["unet_trainable", "lossconfig", "image_key", "colorize_nlabels", "batch_resize_range", "lr_g_factor"],
      "sane_index_shape",
    ],
  },
  { families: ["ldm"], reason: "another way to the same number of channels per head", keys: ["legacy"] },
  {
    families: ["scheduler"],
    reason: "arguments of other solvers",
    keys: [
      ...["skip_prk_steps", "interpolation_type", "sigma_min", "sigma_max", "predict_x0", "disable_corrector"],
      ...["solver_p", "predictor_order", "corrector_order", "tau_func", "noise_sampler_seed", "eta"],
    ],
  },
  {
    families: ["scheduler"],
    reason: "means something only with use_flow_sigmas or use_dynamic_shifting, which are refused",
    keys: ["flow_shift", "time_shift_type", "shift_terminal"],
  },
];

/** Whether a key of a family's configuration means nothing. Keys with an underscore are diffusers' notes on a file. */
export const isHarmless = (family: Family, key: string): boolean =>
  key.startsWith("_") ||
  HARMLESS.some(({ families, keys }) => (families?.includes(family) ?? true) && keys.includes(key));
