/**
 * Measuring the methods of a model's network. A choice is by the shape of one image and never by the batch, so that an
 * image stays what it is at any batch.
 */
import { fold } from "../kernels/lower.ts";
import { choicesOf } from "../kernels/methods.ts";
import { methodsFor, targetFor } from "../kernels/target.ts";
import { type Measured, measure } from "../kernels/tuner.ts";
import type { Device } from "../runtime/device.ts";
import { lowerNetwork } from "../unet/lowered.ts";
import { tokensOf } from "./contexts.ts";
import type { Model } from "./model.ts";
import type { CreateOptions } from "./options.ts";
import { ownSize } from "./size.ts";
import { type TuningTable, tuningScope } from "./tuningTable.ts";
import type { LoadOptions, NetworkDType } from "./types.ts";

export interface TuneOptions extends Pick<LoadOptions, "precision" | "signal"> {
  readonly dtype: NetworkDType;
  /** What is known already, and is not measured again. */
  readonly known?: TuningTable;
  readonly onProgress?: (done: number, of: number) => void;
}

/**
 * Measures what a model's network can do in several ways, at the model's own size: a second or so per shape.
 * @returns what was known, and what was measured
 * @throws DeviceError; the signal's reason when aborted
 */
export async function tuneModel(model: Model, device: Device, options: TuneOptions): Promise<TuningTable> {
  const { dtype, precision, known, signal, onProgress } = options;
  const target = targetFor(device, methodsFor(precision));
  const [size, contextLength] = [ownSize(model), tokensOf(model)];
  const { network } = lowerNetwork(model.config, target, { size, dtype, timesteps: "step", contextLength });
  const entries: Record<string, Measured> = { ...known?.entries };
  const choices = choicesOf(fold(network.main), target).filter(({ key }) => !(key in entries));
  for (const [i, choice] of choices.entries()) {
    onProgress?.(i, choices.length);
    entries[choice.key] = await measure(device, target, choice, () => signal?.throwIfAborted());
    onProgress?.(i + 1, choices.length);
  }
  return { ...(await tuningScope(device)), entries };
}

/** The table that a pipeline works with: what the store has, with `tune` completed for the model. */
export async function tuningFor(
  model: Model,
  device: Device,
  dtype: NetworkDType,
  { tuning, tune, precision, signal, onProgress }: CreateOptions,
): Promise<TuningTable | null> {
  const known = await tuning?.load(await tuningScope(device));
  if (!tune) return known ?? null;
  const table = await tuneModel(model, device, {
    dtype,
    precision,
    known,
    signal,
    onProgress: (done, of) => onProgress?.({ type: "tune", done, of }),
  });
  const added = Object.keys(table.entries).length > Object.keys(known?.entries ?? {}).length;
  if (added) await tuning?.save?.(table);
  return table;
}
