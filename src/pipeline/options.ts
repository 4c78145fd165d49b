/** The names of the pipeline's options, for {@link checkOptions}. */
import { type OptionNames, without } from "../runtime/options.ts";
import { samplingNames } from "../sampler/scheduleRun.ts";
import type { ForwardInputs, GenerateOptions, InpaintOptions, LoadOptions } from "./types.ts";

export const loadNames: OptionNames<LoadOptions> = {
  device: true,
  dtype: "a text",
  precision: "a text",
  tuning: "an object",
  tune: "true or false",
  packed: "an object",
  variant: "a text",
  weights: "a text",
  config: true,
  unknown: "a text",
  parseYaml: "a function",
  memory: "a number",
  nonFinite: "a text",
  onWarning: "a function",
  fetch: "a function",
  cache: true,
  signal: "an AbortSignal",
  onProgress: "a function",
};

/** Those of a model that is open: nothing of it is chosen any more. */
export type CreateOptions = Omit<
  LoadOptions,
  "variant" | "weights" | "config" | "unknown" | "parseYaml" | "fetch" | "cache"
>;

export const createNames: OptionNames<CreateOptions> = without(
  loadNames,
  "variant",
  "weights",
  "config",
  "unknown",
  "parseYaml",
  "fetch",
  "cache",
);

export const generateNames: OptionNames<GenerateOptions> = {
  ...without(samplingNames, "prediction"),
  guidance: "a number or a list of numbers",
  classes: "a list of numbers",
  seed: true,
  count: "a number",
  batch: "a number",
  size: "an object",
  sampler: "a text or a function",
  rng: "a text",
  guidanceInterval: "a list of numbers",
  guidanceRescale: "a number",
  negativeClass: "a number",
  context: "a tensor { shape, data: Float32Array }",
  negativeContext: "a tensor { shape, data: Float32Array }",
  textEmbeds: "a tensor { shape, data: Float32Array }",
  timeIds: "a tensor { shape, data: Float32Array }",
  negativeTextEmbeds: "a tensor { shape, data: Float32Array }",
  negativeTimeIds: "a tensor { shape, data: Float32Array }",
  concat: "a tensor { shape, data: Float32Array }",
  antithetic: "true or false",
  firstImage: true,
  inpaint: "an object",
  statistics: "true or false",
  resume: true,
  noise: "a tensor { shape, data: Float32Array }",
  pixels: "an object",
  signal: "an AbortSignal",
  onStep: "a function",
  onBatch: "a function",
  profile: "true or false",
};

export const inpaintNames: OptionNames<InpaintOptions> = {
  known: "a tensor { shape, data: Float32Array }",
  mask: "a tensor { shape, data: Float32Array }",
  repaint: "an object",
  paste: "true or false",
};

export const repaintNames: OptionNames<NonNullable<InpaintOptions["repaint"]>> = {
  jump: "a number",
  resamples: "a number",
};

export const forwardNames: OptionNames<ForwardInputs> = {
  sample: true,
  timestep: true,
  classLabels: true,
  classVectors: true,
  context: true,
  textEmbeds: true,
  timeIds: true,
  timestepCond: true,
  selfCondition: true,
};

export const signalNames: OptionNames<{ signal?: AbortSignal }> = { signal: "an AbortSignal" };
