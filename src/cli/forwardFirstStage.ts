/** `ddim forward` on one half of an autoencoder. */
import type { Autoencoder } from "../autoencoder/autoencoder.ts";
import { checkShape } from "../autoencoder/batches.ts";
import type { AutoencoderModel } from "../autoencoder/open.ts";
import { autoencoderTaps } from "../autoencoder/taps.ts";
import type { Tensor } from "../pipeline/types.ts";
import { UsageError } from "../runtime/errors.ts";
import { type EncodableTensor, encodeSafetensors } from "../weights/encode.ts";
import { openFirstStage, withAutoencoder } from "./autoencoder.ts";
import type { CommonFlags } from "./flags.ts";
import type { Terminal } from "./io.ts";
import { checkFile, writeFile } from "./output.ts";
import { type TapsFlags, writeTaps } from "./tapsFlag.ts";
import { readSample } from "./tensorFiles.ts";

/** Names of `--component`, and what they want. */
const COMPONENTS = {
  "vae.encode": { kind: "kl", half: "encode" },
  "vae.decode": { kind: "kl", half: "decode" },
  "vqvae.encode": { kind: "vq", half: "encode" },
  "vqvae.decode": { kind: "vq", half: "decode" },
} as const;

export type FirstStageComponent = keyof typeof COMPONENTS;

export const firstStageComponents = Object.keys(COMPONENTS) as FirstStageComponent[];

export const isFirstStage = (component: string): component is FirstStageComponent =>
  Object.hasOwn(COMPONENTS, component);

export interface FirstStageFlags extends Omit<CommonFlags, "weights" | "randomWeights" | "cache">, TapsFlags {
  output: string;
}

type Outputs = Readonly<Record<string, EncodableTensor>>;

async function evaluate(
  autoencoder: Autoencoder,
  half: "encode" | "decode",
  sample: Tensor,
  signal: AbortSignal,
): Promise<Outputs> {
  if (half === "decode") {
    const { image, indices } = await autoencoder.decode(sample, { signal });
    const numbers = indices && { indices: { ...indices, dtype: "I32", data: Int32Array.from(indices.data) } as const };
    return { output: image, ...numbers };
  }
  const encoding = await autoencoder.encode(sample, { signal });
  if (encoding.kind === "vq") return { output: encoding.latents };
  return { mean: encoding.mean, logvar: encoding.logvar };
}

function checkKind({ spec, name }: AutoencoderModel, component: FirstStageComponent): void {
  const { kind, half } = COMPONENTS[component];
  if (spec.kind === kind) return;
  const other = `${spec.kind === "kl" ? "vae" : "vqvae"}.${half}`;
  const what = spec.kind === "kl" ? "an AutoencoderKL" : "a VQModel";
  throw new UsageError("component", `--component ${component}: ${name} describes ${what}, which is ${other}`);
}

/** Reads `sample`; writes `output`, or `mean` and `logvar`, and the entries of the codebook as `indices`. No scaling factor. */
export async function forwardFirstStage(
  terminal: Terminal,
  component: FirstStageComponent,
  flags: FirstStageFlags,
): Promise<void> {
  const { io } = terminal;
  const { output } = flags;
  const model = await openFirstStage(terminal, flags);
  checkKind(model, component);
  const { half } = COMPONENTS[component];
  const sample = await readSample(flags.input, flags.nonFinite, io.signal);
  checkShape(sample, component, half === "encode" ? model.spec.in_channels : model.spec.latent_channels);
  for (const path of [output, flags.taps]) if (path !== undefined) checkFile(path, true);
  await withAutoencoder(terminal, flags, model, async (autoencoder, progress) => {
    const outputs = await evaluate(autoencoder, half, sample, io.signal);
    progress.stop();
    io.signal.throwIfAborted();
    writeFile(output, encodeSafetensors(outputs));
    const { signal } = io;
    await writeTaps(terminal, flags, (modules) => autoencoderTaps(autoencoder, half, sample, { modules, signal }));
    const { name } = autoencoder.device;
    const [[first, { shape }]] = Object.entries(outputs) as [[string, EncodableTensor]];
    if (flags.json) terminal.json({ output, shape, dtype: autoencoder.dtype, adapter: name });
    terminal.done(`${output}: ${first} [${shape.join(", ")}], computed in ${autoencoder.dtype} on ${name}`);
  });
}
