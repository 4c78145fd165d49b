/** What a network takes of a device's memory in either type, and whether its bindings can hold it. */
import { type DeviceRoom, maxBatch, tooLarge } from "../../network/limits.ts";
import type { NetworkDType } from "../../pipeline/types.ts";
import { byteSize } from "../../runtime/values.ts";
import type { LoweredNetwork } from "../../unet/lowered.ts";
import { memoryPlan } from "../kernels.ts";
import { bytes, plural } from "../table.ts";

/** Batches that the plans show. */
const BATCHES = [1, 4, 16];

/** Bindings and buffers as large as every WebGPU device has them. */
export const LEAST_ROOM: DeviceRoom = { maxUnits: (_, unit) => Math.floor(2 ** 27 / unit) };

export interface MemoryReport {
  readonly dtype: NetworkDType;
  readonly weights: number;
  /** `lower_bound`: what is alive at once at the worst moment, below which no plan can get. */
  readonly activations: readonly { batch: number; bytes: number; lower_bound: number }[];
  readonly largest_weight: { readonly name: string; readonly bytes: number };
  /** Weights that no binding of the device can hold. */
  readonly too_large: readonly { readonly name: string; readonly bytes: number }[];
  /** What the device's bindings allow at once; 0: not even one image. */
  readonly most_images: number;
  readonly fits: boolean;
}

export function reportMemory(lowered: LoweredNetwork, dtype: NetworkDType, room: DeviceRoom): MemoryReport {
  const weights = lowered.weights.map(({ value }) => value);
  const sized = (list: typeof weights) =>
    list.map((value) => ({ name: value.name, bytes: byteSize(value, 1) })).sort((a, b) => b.bytes - a.bytes);
  const too_large = sized(tooLarge(room, weights));
  const most_images = maxBatch(room, [...lowered.main.calls, ...(lowered.context?.calls ?? [])]);
  return {
    dtype,
    weights: memoryPlan(lowered, 1).weights,
    activations: BATCHES.map((batch) => {
      const { activations, lowerBound } = memoryPlan(lowered, batch);
      return { batch, bytes: activations, lower_bound: lowerBound };
    }),
    largest_weight: sized(weights)[0] as { name: string; bytes: number },
    too_large,
    most_images,
    fits: too_large.length === 0 && most_images >= 1,
  };
}

/** Two lines per plan. */
export function memoryLines({
  dtype,
  weights,
  activations,
  too_large,
  most_images,
  largest_weight,
}: MemoryReport): string[] {
  const batches = activations.map(
    ({ batch, bytes: size, lower_bound }) =>
      `${bytes(size)} for ${plural(batch, "image")} (${(size / lower_bound).toFixed(2)} of the least possible)`,
  );
  const [worst] = too_large;
  const verdict = worst
    ? `does not fit: ${plural(too_large.length, "weight tensor")} exceed what one binding holds, such as ${worst.name} with ${bytes(worst.bytes)}`
    : most_images < 1
      ? "does not fit: the activations of one image exceed what one binding holds"
      : `fits bindings: the largest weights are ${largest_weight.name} with ${bytes(largest_weight.bytes)}, and a batch has at most ${plural(most_images, "image")}`;
  return [`  ${dtype}: weights ${bytes(weights)}, activations ${batches.join(", ")}`, `       ${verdict}`];
}
