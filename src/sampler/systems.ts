/**
 * What the five systems that a schedule can reproduce do differently from each other and from the right thing, as data.
 * Everything else about a step is the same formula.
 */
import { UsageError } from "../runtime/errors.ts";
import { alphasCumprod, type BetaConfig } from "./betas.ts";
import {
  diffusersTimesteps,
  ermongroupTimesteps,
  ldmTimesteps,
  lucidrainsTimesteps,
  openaiTimesteps,
} from "./compatTimesteps.ts";
import { diffusersAlphasCumprod, ermongroupAlphasCumprod, ldmAlphasCumprod } from "./floatTables.ts";
import { DPM_SOLVER, type SchedulerConfig } from "./schedulerConfig.ts";
import type { NamedSpacing } from "./timestepRules.ts";
import { spacedTimesteps, type TimestepOptions, type TimestepSpacing } from "./timesteps.ts";

export const samplers = ["ddim", "ddpm", "dpmpp2m", "plms"] as const;
/**
 * `ddpm` is the ancestral sampler on the same timesteps: eta 1, with the model's own choice of variance. `dpmpp2m`
 * (DPM-Solver++ 2M, or of the order that the model's `solver_order` says) and `plms` are solvers of second and fourth order on the same pairs, deterministic.
 */
export type Sampler = (typeof samplers)[number];

export const sigmaRules = ["posterior", "hat", "learned_range"] as const;
/**
 * The standard deviation of a step's noise. posterior: η times that of q(x_prev | x_t, x0), DDIM's eq. (16) and DDPM's
 * fixed_small. hat: √(1 - ᾱ_t/ᾱ_prev), the paper's σ̂ and DDPM's fixed_large. learned_range: between the two, where the
 * network's second half of channels says. The last two go with eta 1 in the deterministic part.
 */
export type SigmaRule = (typeof sigmaRules)[number];

export interface System {
  alphasCumprod(config: BetaConfig): Float64Array;
  timesteps(spacing: TimestepSpacing, options: TimestepOptions): number[];
  /** The rule used when the caller names none. */
  spacing(config: SchedulerConfig, sampler: Sampler, steps: number): TimestepSpacing;
  /** Samplers that take a caller's own list, start or stop. */
  customTimesteps: readonly Sampler[];
  /** Whether x0 is clamped, unless the caller says. */
  clips(config: SchedulerConfig, sampler: Sampler): boolean;
  /** Whether ε is computed again from the clamped x0, unless the caller says. */
  rederives: boolean;
  /** Whether the last step ends at ᾱ = 1 rather than ᾱ_0. */
  endsAtOne(config: SchedulerConfig, sampler: Sampler): boolean;
  /** Samplers that take t - T // S for the previous timestep instead of the next one of the list. */
  strides: readonly Sampler[];
  /** Whether a step of the ddpm sampler adds its noise; DDIM's is always σ z. */
  addsNoise(t: number, last: boolean): boolean;
  /** The variance of the ddpm sampler, unless the caller says. */
  ddpmSigma(config: SchedulerConfig): SigmaRule;
  /** Lower bound of the ddpm sampler's variance. */
  varianceFloor: number;
  /** Samplers that exist there. */
  samplers: readonly Sampler[];
}

/** Whether a file is that of the sampler's own class in diffusers, whose defaults hold where the file is silent. */
const isOwnFile = ({ _class_name }: SchedulerConfig, sampler: Sampler): boolean =>
  sampler === "dpmpp2m" && _class_name === DPM_SOLVER;

/** The rule of a file; where it is silent that of the class which diffusers would read it into. */
export const spacingOf = (config: SchedulerConfig, sampler: Sampler = "ddim"): NamedSpacing =>
  config.timestep_spacing ?? (isOwnFile(config, sampler) ? "linspace" : "leading");

const exact: System = {
  alphasCumprod: (config) => alphasCumprod(config),
  timesteps: spacedTimesteps,
  spacing: spacingOf,
  customTimesteps: samplers,
  clips: (config) => config.clip_sample ?? false,
  rederives: true,
  endsAtOne: (config, sampler) =>
    sampler === "dpmpp2m" && (config.final_sigmas_type || isOwnFile(config, sampler))
      ? config.final_sigmas_type !== "sigma_min"
      : config.set_alpha_to_one,
  strides: [],
  addsNoise: () => true,
  ddpmSigma: ({ variance_type }) =>
    variance_type?.startsWith("fixed_large") ? "hat" : variance_type === "learned_range" ? variance_type : "posterior",
  varianceFloor: 0,
  samplers,
};
/** The originals' samplers that a schedule can reproduce. */
const firstOrder = ["ddim", "ddpm"] as const;

export const systems = {
  none: exact,
  diffusers: {
    ...exact,
    alphasCumprod: (config) => diffusersAlphasCumprod(config),
    timesteps: diffusersTimesteps,
    customTimesteps: ["ddpm"],
    // from_config fills a missing clip_sample with the class's default.
    clips: (config) => config.clip_sample ?? true,
    rederives: false,
    endsAtOne: (config, sampler) => sampler === "ddpm" || config.set_alpha_to_one,
    strides: ["ddim"],
    addsNoise: (t) => t > 0,
    ddpmSigma: (config) => {
      if (config.variance_type === "fixed_large_log")
        throw new UsageError("sigma", "variance_type fixed_large_log is NaN in diffusers; choose a sigma or no compat");
      return exact.ddpmSigma(config);
    },
    varianceFloor: 1e-20,
    samplers: firstOrder,
  },
  ldm: {
    ...exact,
    alphasCumprod: (config) => ldmAlphasCumprod(config),
    timesteps: ldmTimesteps,
    spacing: () => "uniform",
    customTimesteps: [],
    clips: () => false,
    endsAtOne: () => false,
    samplers: ["ddim", "plms"],
  },
  openai: {
    ...exact,
    timesteps: openaiTimesteps,
    spacing: (_config, _sampler, steps) => `${steps}`,
    customTimesteps: [],
    clips: () => true,
    endsAtOne: () => true,
    addsNoise: (_t, last) => !last,
    samplers: firstOrder,
  },
  ermongroup: {
    ...exact,
    alphasCumprod: (config) => ermongroupAlphasCumprod(config),
    timesteps: ermongroupTimesteps,
    spacing: () => "uniform",
    customTimesteps: [],
    clips: (_config, sampler) => sampler === "ddpm",
    endsAtOne: () => true,
    addsNoise: (t) => t > 0,
    ddpmSigma: () => "hat",
    samplers: firstOrder,
  },
  lucidrains: {
    ...exact,
    timesteps: lucidrainsTimesteps,
    spacing({ num_train_timesteps: T }, sampler, steps) {
      if (sampler === "ddpm" && steps !== T)
        throw new UsageError("steps", `denoising-diffusion-pytorch's ddpm sampler takes all ${T} steps, not ${steps}`);
      return "linspace";
    },
    customTimesteps: [],
    clips: () => true,
    endsAtOne: () => true,
    addsNoise: (t) => t > 0,
    varianceFloor: 1e-20,
    samplers: firstOrder,
  },
} satisfies Record<string, System>;

/** Whose arithmetic and whose accidents a schedule reproduces; `none` is the mathematically right one. */
export type Compat = keyof typeof systems;
export const compatNames = Object.keys(systems) as Compat[];
