/** A loaded model whose device failed, on another one. */
import type { Device } from "../runtime/device.ts";
import { UsageError } from "../runtime/errors.ts";
import { checkOptions, type OptionNames } from "../runtime/options.ts";
import { LoadedModel } from "./loaded.ts";
import type { CreateOptions } from "./options.ts";
import { type TuningScope, type TuningStore, tuningScope } from "./tuningTable.ts";

export interface RecoverOptions {
  /** The new device, the caller's; without it the pipeline opens one as it did at first. */
  device?: GPUDevice | Device;
}

const recoverNames: OptionNames<RecoverOptions> = { device: true };

export const checkRecover = (options: RecoverOptions): void => checkOptions("recover", options, recoverNames);

/** Gives on the same kind of adapter what was in use, so that pictures stay the same to the last bit. */
async function sameTuning({ device, tuning }: LoadedModel, store: TuningStore | undefined): Promise<TuningStore> {
  const before = await tuningScope(device);
  const isSame = (scope: TuningScope) => scope.adapter === before.adapter && scope.kernels === before.kernels;
  return {
    load: async (scope) => (isSame(scope) ? (tuning ?? undefined) : store?.load(scope)),
    save: async (table) => store?.save?.(table),
  };
}

/**
 * @param options with which it was loaded at first
 * @returns the same where its device works
 * @throws UsageError where there is no new device; DeviceError; whatever loading throws; nothing stays allocated
 */
export async function recovered(
  before: LoadedModel,
  options: CreateOptions,
  open: (() => Promise<Device>) | undefined,
  device: RecoverOptions["device"],
): Promise<LoadedModel> {
  if (!(await before.device.failure())) return before;
  if (options.device && !device)
    throw new UsageError(
      "device",
      "the pipeline's device was given to it, so a new one has to be: recover({ device })",
    );
  before.release();
  const tuning = options.tuning || options.tune ? await sameTuning(before, options.tuning) : undefined;
  const { closed } = before.turns;
  return LoadedModel.load(before.model, { ...options, device, tuning, signal: closed }, open, before);
}
