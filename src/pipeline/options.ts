/** The names of the pipeline's options, for {@link checkOptions}. */
import { type OptionNames, without } from "../runtime/options.ts";
import type { ForwardInputs, GenerateOptions, InpaintOptions, LoadOptions } from "./types.ts";

export const loadNames: OptionNames<LoadOptions> = {
  device: true,
  dtype: true,
  precision: true,
  tuning: true,
  tune: true,
  packed: true,
  variant: true,
  weights: true,
  config: true,
  unknown: true,
  parseYaml: true,
  memory: true,
  nonFinite: true,
  onWarning: true,
  fetch: true,
  signal: true,
  onProgress: true,
};

/** Those of a model that is open: nothing of it is chosen any more. */
export type CreateOptions = Omit<LoadOptions, "variant" | "weights" | "config" | "unknown" | "parseYaml" | "fetch">;

export const createNames: OptionNames<CreateOptions> = without(
  loadNames,
  "variant",
  "weights",
  "config",
  "unknown",
  "parseYaml",
  "fetch",
);

export const generateNames: OptionNames<GenerateOptions> = {
  steps: true,
  eta: true,
  guidance: true,
  classes: true,
  seed: true,
  count: true,
  batch: true,
  size: true,
  sampler: true,
  spacing: true,
  timesteps: true,
  timestepBase: true,
  start: true,
  stop: true,
  sigma: true,
  temperature: true,
  clip: true,
  threshold: true,
  rederive: true,
  compat: true,
  rng: true,
  guidanceInterval: true,
  guidanceRescale: true,
  negativeClass: true,
  context: true,
  negativeContext: true,
  textEmbeds: true,
  timeIds: true,
  negativeTextEmbeds: true,
  negativeTimeIds: true,
  concat: true,
  antithetic: true,
  firstImage: true,
  inpaint: true,
  statistics: true,
  resume: true,
  noise: true,
  pixels: true,
  signal: true,
  onStep: true,
  profile: true,
};

export const inpaintNames: OptionNames<InpaintOptions> = { known: true, mask: true, repaint: true, paste: true };

export const repaintNames: OptionNames<NonNullable<InpaintOptions["repaint"]>> = { jump: true, resamples: true };

export const forwardNames: OptionNames<ForwardInputs> = {
  sample: true,
  timestep: true,
  classLabels: true,
  classVectors: true,
  context: true,
  textEmbeds: true,
  timeIds: true,
  timestepCond: true,
};

export const signalNames: OptionNames<{ signal?: AbortSignal }> = { signal: true };
