/** How much of a network's work fits a device at once. */
import type { Device } from "../runtime/device.ts";
import type { KernelCall } from "../runtime/kernel.ts";
import { unitBytes, unitCount } from "../runtime/values.ts";

/** Most batched rows that the device's bindings allow for any one value of some calls; 0 where not even one fits. */
export function maxBatch(device: Device, calls: readonly KernelCall[]): number {
  let most = Number.POSITIVE_INFINITY;
  for (const { bound } of calls)
    for (const { value } of bound)
      if (value.batched)
        most = Math.min(most, Math.floor(device.maxUnits(value.storage, unitBytes(value.dtype)) / unitCount(value, 1)));
  return most;
}
