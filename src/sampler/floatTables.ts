/**
 * ᾱ tables as the original systems keep them, in float32. diffusers computes everything so: torch.linspace runs from both ends with fused
 * multiply-adds, torch.cumprod accumulates in double and rounds every entry. Bit-equal to diffusers 0.42 with torch 2.15
 * for linear, scaled_linear and squaredcos_cap_v2. With rescale_betas_zero_snr the tables agree to 2.5e-5 relative (5e-6 for
 * T = 1000, 2.9e-5 for T = 50): torch's square root comes from a vector library that is not correctly rounded.
 */
import { ConfigError } from "../runtime/errors.ts";
import { alphaBars, alphasCumprod, type BetaConfig, betas, betasForAlphaBar } from "./betas.ts";

const f32 = Math.fround;

/** torch.linspace(start, end, n, dtype=float32). A double product of two floats is exact, so one rounding is a fused one. */
function linspaceF32(start: number, end: number, n: number): Float32Array {
  const from = f32(start);
  const to = f32(end);
  const step = n > 1 ? f32(f32(to - from) / (n - 1)) : 0;
  const half = Math.floor(n / 2);
  return Float32Array.from({ length: n }, (_, i) => (n === 1 || i < half ? from + step * i : to - step * (n - 1 - i)));
}

function cumprodF32(betas: Float32Array): Float32Array {
  let product = 1;
  return betas.map((b) => {
    product *= f32(1 - b);
    return product;
  });
}

/** diffusers rescale_zero_terminal_snr: through √ᾱ and back to betas, every operation rounded to float32. */
function rescaleF32(betas: Float32Array): Float32Array {
  const roots = cumprodF32(betas).map(Math.sqrt);
  const first = roots[0]!;
  const last = roots[roots.length - 1]!;
  const scale = f32(first / f32(first - last));
  const table = roots.map((r) => {
    const scaled = f32(f32(r - last) * scale);
    return scaled * scaled;
  });
  return table.map((a, i) => 1 - f32(i ? a / table[i - 1]! : a));
}

function diffusersBetas(config: BetaConfig, file: string): Float32Array {
  const { num_train_timesteps: T, beta_start, beta_end, beta_schedule, trained_betas } = config;
  if (trained_betas) return Float32Array.from(trained_betas);
  switch (beta_schedule) {
    case "linear":
      return linspaceF32(beta_start, beta_end, T);
    case "scaled_linear":
      return linspaceF32(Math.sqrt(beta_start), Math.sqrt(beta_end), T).map((s) => s * s);
    case "squaredcos_cap_v2":
      return Float32Array.from(betasForAlphaBar(T, alphaBars.cosine));
    case "laplace":
      return Float32Array.from(betasForAlphaBar(T, alphaBars.laplace));
    case "sigmoid":
      return linspaceF32(-6, 6, T).map(
        (v) => f32(f32(1 / (1 + Math.exp(-v))) * f32(beta_end - beta_start)) + f32(beta_start),
      );
    default:
      throw new ConfigError(file, "beta_schedule", `diffusers has no ${beta_schedule} schedule to be compatible with`);
  }
}

/** The float32 ᾱ table of diffusers' DDIMScheduler and DDPMScheduler, widened to float64 without change. */
export function diffusersAlphasCumprod(config: BetaConfig, file = "scheduler config"): Float64Array {
  const values = diffusersBetas(config, file);
  return Float64Array.from(cumprodF32(config.rescale_betas_zero_snr ? rescaleF32(values) : values));
}

/** ermongroup/ddim: betas in float64, rounded, and cumulated as torch does. */
export function ermongroupAlphasCumprod(config: BetaConfig, file = "scheduler config"): Float64Array {
  return Float64Array.from(cumprodF32(Float32Array.from(betas(config, file))));
}

/** latent-diffusion: the float64 table, rounded. */
export function ldmAlphasCumprod(config: BetaConfig, file = "scheduler config"): Float64Array {
  return alphasCumprod(config, file).map(f32);
}
