/** One evaluation with the outputs of the network's modules, for finding the one in which two implementations part. */
import type { Tap } from "../network/taps.ts";
import { evaluateAll, type Prepared } from "./forward.ts";
import { checkSample, conditions } from "./forwardInputs.ts";
import type { Tensor } from "./types.ts";

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
function addedSinusoids(prepared: Prepared, n: number): Tensor | undefined {
  const { model, lowered, inputs } = prepared;
  const { added } = model.config;
  const rows = conditions({ ...prepared, network: lowered.network }, n).added;
  if (added.kind === "none" || !rows) return undefined;
  const ids = (inputs.timeIds as Tensor).shape[1] as number;
  const own = ids * added.time_dim;
  const data = new Float32Array(n * own);
  for (let i = 0; i < n; i++) data.set(rows.subarray((i + 1) * added.width - own, (i + 1) * added.width), i * own);
  return { shape: [n * ids, added.time_dim], data };
}

/** @param prepared with a network in which the values of `taps` are pinned */
export async function evaluateTapped(prepared: Prepared, taps: readonly Tap[]): Promise<TappedOutput> {
  const { lowered, inputs, model } = prepared;
  const n = checkSample(inputs.sample, model.config.in_channels);
  const all = [{ name: "", value: lowered.network.output, form: "image" } as const, ...taps];
  const parts: Tensor[][] = all.map(() => []);
  await evaluateAll(prepared, async (held) => {
    for (const [i, { value, form }] of all.entries()) parts[i]?.push(await held.read(value, form));
    await held.judge(parts[0]?.at(-1)?.data as Float32Array);
  });
  const [output, ...rest] = parts.map(join) as [Tensor, ...Tensor[]];
  const made = Object.fromEntries(taps.map(({ name }, i) => [name, rest[i] as Tensor]));
  const sinusoids = addedSinusoids(prepared, n);
  return { output, taps: sinusoids ? { ...made, add_time_proj: sinusoids } : made };
}
