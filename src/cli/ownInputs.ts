/** Inputs for a network where none are given: noise, and conditions of a kind that it takes. */
import type { Model } from "../pipeline/model.ts";
import { ownSize } from "../pipeline/size.ts";
import type { ForwardInputs, Tensor } from "../pipeline/types.ts";
import { initialNoise } from "../sampler/philox.ts";

/** Tokens, as many as CLIP's. */
const TOKENS = 77;
/** Of SDXL: sizes, crop and target size. */
const TIME_IDS = 6;

/** Standard normal; `part` tells one tensor's from another's. */
function normal(part: number, ...shape: [number, number] | [number, number, number, number]): Tensor {
  const [channels, height, width] = shape.length === 4 ? shape.slice(1) : [1, shape[0], shape[1]];
  return { shape, data: initialNoise(0n, part, channels as number, height as number, width as number) };
}

/** An image of noise, and conditions as large as those of encoders are. */
export function inputsOf(model: Model, t: number): ForwardInputs {
  const { config, classEmbedder } = model;
  const { height, width } = ownSize(model);
  const { classes, added, context_dim, time } = config;
  const inputs: ForwardInputs = { sample: normal(0, 1, config.in_channels, height, width), timestep: [t] };
  if (classEmbedder || classes.kind === "embedding" || classes.kind === "timestep") inputs.classLabels = [0];
  else if (classes.kind === "identity") inputs.classVectors = normal(1, 1, time.dim);
  else if (classes.kind !== "none") inputs.classVectors = normal(1, 1, classes.width);
  if (context_dim !== null && !classEmbedder) {
    const { data } = normal(2, TOKENS, context_dim);
    inputs.context = { shape: [1, TOKENS, context_dim], data };
  }
  if (added.kind === "text_time") {
    inputs.timeIds = { shape: [1, TIME_IDS], data: Float32Array.of(height, width, 0, 0, height, width) };
    inputs.textEmbeds = normal(3, 1, added.width - TIME_IDS * added.time_dim);
  }
  return inputs;
}
