/**
 * Noise schedules in float64. `alphasCumprod` is the only thing that the rest of the sampler needs of them; the names are
 * diffusers' where diffusers has the schedule, otherwise those of the repository that introduced it.
 */
import { ConfigError } from "../runtime/errors.ts";

/** The part of a scheduler configuration that decides the noise levels, in diffusers' spelling. */
export interface BetaConfig {
  num_train_timesteps: number;
  beta_start: number;
  beta_end: number;
  beta_schedule: BetaSchedule;
  trained_betas: readonly number[] | null;
  rescale_betas_zero_snr: boolean;
}

type BetaRule = (T: number, start: number, end: number) => number[];

/** `n` points from `start` to `end`, both included; the single point of n = 1 is `start` (numpy.linspace). */
export function linspace(start: number, end: number, n: number): number[] {
  const step = n > 1 ? (end - start) / (n - 1) : 0;
  return Array.from({ length: n }, (_, i) => (i > 0 && i === n - 1 ? end : start + i * step));
}

/** Betas whose cumulative product follows `alphaBar(u)`, u in 0..1, each at most 0.999 (OpenAI betas_for_alpha_bar). */
export function betasForAlphaBar(T: number, alphaBar: (u: number) => number): number[] {
  return Array.from({ length: T }, (_, i) => Math.min(1 - alphaBar((i + 1) / T) / alphaBar(i / T), 0.999));
}

/** ᾱ(u) of the schedules that are defined by their cumulative product (diffusers betas_for_alpha_bar). */
export const alphaBars = {
  cosine: (u: number) => Math.cos((((u + 0.008) / 1.008) * Math.PI) / 2) ** 2,
  exp: (u: number) => Math.exp(-12 * u),
  laplace: (u: number) => {
    const logSnr = -0.5 * (u <= 0.5 ? 1 : -1) * Math.log(1 - 2 * Math.abs(0.5 - u) + 1e-6);
    const snr = Math.exp(logSnr);
    return Math.sqrt(snr / (1 + snr));
  },
};

const rules = {
  linear: (T, start, end) => linspace(start, end, T),
  /** ermongroup "quad", latent-diffusion "linear". */
  scaled_linear: (T, start, end) => linspace(Math.sqrt(start), Math.sqrt(end), T).map((s) => s * s),
  /** OpenAI and latent-diffusion "cosine"; beta_start and beta_end have no effect. */
  squaredcos_cap_v2: (T) => betasForAlphaBar(T, alphaBars.cosine),
  laplace: (T) => betasForAlphaBar(T, alphaBars.laplace),
  exp: (T) => betasForAlphaBar(T, alphaBars.exp),
  sigmoid: (T, start, end) => linspace(-6, 6, T).map((v) => (end - start) / (1 + Math.exp(-v)) + start),
  /** latent-diffusion "sqrt". */
  sqrt: (T, start, end) => linspace(start, end, T).map(Math.sqrt),
  /** ermongroup "const". */
  const: (T, _start, end) => new Array<number>(T).fill(end),
  /** ermongroup "jsd": 1/T, 1/(T-1), …, 1; ends at ᾱ = 0. */
  jsd: (T) => linspace(T, 1, T).map((v) => 1 / v),
  /** OpenAI "linear": the range 1e-4..0.02 that was chosen for T = 1000, scaled by 1000/T. */
  openai_linear: (T) => linspace(0.1 / T, 20 / T, T),
} satisfies Record<string, BetaRule>;

export type BetaSchedule = keyof typeof rules;
export const betaSchedules = Object.keys(rules) as BetaSchedule[];

/**
 * The betas of a configuration before any zero-SNR rescaling, in float64.
 *
 * @throws ConfigError where a schedule leaves (0, 1] (only `openai_linear` with T < 20 and the ends given by hand can).
 */
export function betas(config: BetaConfig, file: string): number[] {
  const { num_train_timesteps: T, beta_start, beta_end, beta_schedule, trained_betas } = config;
  const values = trained_betas ? [...trained_betas] : rules[beta_schedule](T, beta_start, beta_end);
  const bad = values.findIndex((b) => !(b > 0 && b <= 1));
  if (bad >= 0)
    throw new ConfigError(
      file,
      trained_betas ? "trained_betas" : "beta_schedule",
      `beta ${bad} is ${values[bad]}, every beta must be above 0 and at most 1`,
    );
  return values;
}

/**
 * ᾱ shifted and scaled in √ᾱ so that its last entry is exactly 0 and its first is unchanged
 * (Lin et al. 2023, "Common diffusion noise schedules and sample steps are flawed", algorithm 1).
 */
export function rescaleZeroTerminalSnr(alphasCumprod: Float64Array): Float64Array {
  const roots = alphasCumprod.map(Math.sqrt);
  const first = roots[0]!;
  const last = roots[roots.length - 1]!;
  return roots.map((r) => (((r - last) * first) / (first - last)) ** 2);
}

/** ᾱ_t = Π_{i ≤ t} (1 - β_i) for t = 0..T-1 in float64. */
export function alphasCumprod(config: BetaConfig, file = "scheduler config"): Float64Array {
  let product = 1;
  const table = Float64Array.from(betas(config, file), (b) => {
    product *= 1 - b;
    return product;
  });
  return config.rescale_betas_zero_snr ? rescaleZeroTerminalSnr(table) : table;
}
