/** Whether the numbers of a model's network stay within f16, for `ddim doctor -m`. */
import { createPipeline } from "../pipeline/load.ts";
import type { Model } from "../pipeline/model.ts";
import type { SelfTestResult } from "../pipeline/selfTest.ts";
import type { ForwardInputs, Tensor } from "../pipeline/types.ts";
import type { Device } from "../runtime/device.ts";
import { initialNoise } from "../sampler/philox.ts";

/** Of models that name no size, in what the network works on. */
const SIDE = 64;
/** Tokens, as many as CLIP's. */
const TOKENS = 77;
/** Of SDXL: sizes, crop and target size. */
const TIME_IDS = 6;
const STEPS = 4;

/** Standard normal; `part` tells one tensor's from another's. */
function normal(part: number, ...shape: [number, number] | [number, number, number, number]): Tensor {
  const [channels, height, width] = shape.length === 4 ? shape.slice(1) : [1, shape[0], shape[1]];
  return { shape, data: initialNoise(0n, part, channels as number, height as number, width as number) };
}

/** An image of noise, and conditions as large as those of encoders are. */
function inputsOf({ config, classEmbedder }: Model, t: number): ForwardInputs {
  const { height, width } = config.sample_size ?? { height: SIDE, width: SIDE };
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

/** Evaluates the network in f16 at a few timesteps, on noise. */
export async function halfRange(model: Model, device: Device, signal: AbortSignal): Promise<SelfTestResult> {
  const found: string[] = [];
  const onWarning = (text: string) => found.push(text);
  using pipeline = await createPipeline(model, { device, dtype: "f16", nonFinite: "warn", onWarning, signal });
  const last = (model.scheduler?.num_train_timesteps ?? 1000) - 1;
  for (let i = 0; i <= STEPS; i++) await pipeline.forward(inputsOf(model, Math.round((last * i) / STEPS)), { signal });
  const detail = found[0] ?? `no number left its range in ${STEPS + 1} evaluations on noise, t = 0 to ${last}`;
  return { name: `${model.name} in f16`, ok: found.length === 0, detail };
}
