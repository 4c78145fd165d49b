/** One evaluation with the outputs of the network's modules, for finding the one in which two implementations part. */
import type { Tap } from "../network/taps.ts";
import type { Weights } from "../network/weights.ts";
import { checkOptions, type OptionNames } from "../runtime/options.ts";
import { findTaps } from "../unet/taps.ts";
import { Evaluation } from "./evaluation.ts";
import { evaluateAll } from "./forward.ts";
import type { HeldEvaluation } from "./held.ts";
import type { LoadedModel } from "./loaded.ts";
import type { ForwardInputs, Tensor } from "./types.ts";

export interface TapsOptions {
  /** By the checkpoint's paths; those that the network does not have are left out. Default: all. */
  modules?: readonly string[];
  signal?: AbortSignal;
}

const tapsNames: OptionNames<TapsOptions> = { modules: true, signal: true };

export interface TappedOutput {
  /** [N, out_channels, H, W] */
  readonly output: Tensor;
  /** By the modules' paths in the checkpoint: [N, C, H, W], [N, tokens, C] inside transformers, [N, C] of embeddings. */
  readonly taps: Readonly<Record<string, Tensor>>;
}

/** Tensors of consecutive images, one after the other. */
function join(parts: readonly Tensor[]): Tensor {
  const [first] = parts as [Tensor];
  const data = new Float32Array(parts.reduce((sum, part) => sum + part.data.length, 0));
  let at = 0;
  for (const part of parts) {
    data.set(part.data, at);
    at += part.data.length;
  }
  const images = parts.reduce((sum, { shape }) => sum + (shape[0] as number), 0);
  return { shape: [images, ...first.shape.slice(1)], data };
}

/** What diffusers calls `add_time_proj`: the sinusoids of every image's time ids, made on the host. */
function addedSinusoids(evaluation: Evaluation): Tensor | undefined {
  const { loaded, inputs, images: n } = evaluation;
  const { added } = loaded.model.config;
  const given = evaluation.conditions().added;
  if (added.kind === "none" || !given) return undefined;
  const ids = (inputs.timeIds as Tensor).shape[1] as number;
  const own = ids * added.time_dim;
  const data = new Float32Array(n * own);
  for (let i = 0; i < n; i++) data.set(given.subarray((i + 1) * added.width - own, (i + 1) * added.width), i * own);
  return { shape: [n * ids, added.time_dim], data };
}

/** @param evaluation of a network in which the values of `taps` are pinned */
async function evaluateTapped(evaluation: Evaluation, weights: Weights, taps: readonly Tap[]): Promise<TappedOutput> {
  const all = [{ name: "", value: evaluation.lowered.network.output, form: "image" } as const, ...taps];
  const parts: Tensor[][] = all.map(() => []);
  const read = async (held: HeldEvaluation) => {
    const tensors: Tensor[] = [];
    for (const { value, form } of all) tensors.push(await held.read(value, form));
    await held.judge(tensors[0]?.data as Float32Array);
    return tensors;
  };
  for await (const { made } of evaluateAll(evaluation, read, weights))
    for (const [i, tensor] of made.entries()) parts[i]?.push(tensor);
  const [output, ...rest] = parts.map(join) as [Tensor, ...Tensor[]];
  const made = Object.fromEntries(taps.map(({ name }, i) => [name, rest[i] as Tensor]));
  const sinusoids = addedSinusoids(evaluation);
  return { output, taps: sinusoids ? { ...made, add_time_proj: sinusoids } : made };
}

export async function taps(loaded: LoadedModel, inputs: ForwardInputs, options: TapsOptions): Promise<TappedOutput> {
  checkOptions("taps", options, tapsNames);
  const { modules, signal } = options;
  const { config, naming } = loaded.model;
  let found: readonly Tap[] = [];
  const evaluation = new Evaluation(loaded, inputs, {
    signal,
    pin: (network) => {
      found = findTaps(network, config, naming, modules);
      return found.map(({ value }) => value);
    },
  });
  return evaluation.inTurn(async () => {
    const weights = loaded.weights.borrow();
    try {
      return await evaluateTapped(evaluation, weights, found);
    } finally {
      weights.dispose();
    }
  });
}
