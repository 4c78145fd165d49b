/** How much of a network's work fits a device at once. */
import type { Device } from "../runtime/device.ts";
import type { KernelCall } from "../runtime/kernel.ts";
import { unitBytes, unitCount, type Value } from "../runtime/values.ts";

/** What of a device decides how large a binding can be. */
export type DeviceRoom = Pick<Device, "maxUnits">;

const unitsOf = (room: DeviceRoom, { storage, dtype }: Value): number => room.maxUnits(storage, unitBytes(dtype));

/** Values of one image that no binding of the device can hold. */
export const tooLarge = (room: DeviceRoom, values: readonly Value[]): Value[] =>
  values.filter((value) => unitCount(value, 1) > unitsOf(room, value));

/** Largest batch that the device's bindings allow for any one value of some calls; 0 where not even one image fits. */
export function maxBatch(room: DeviceRoom, calls: readonly KernelCall[]): number {
  let most = Number.POSITIVE_INFINITY;
  for (const { bound } of calls)
    for (const { value } of bound)
      if (value.batched) most = Math.min(most, Math.floor(unitsOf(room, value) / unitCount(value, 1)));
  return most;
}
