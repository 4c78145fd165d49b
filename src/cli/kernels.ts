/** Which kernels a network gets on a device: known from its configuration, before any weight is read. */
import { createHash } from "node:crypto";
import type { ImageSize } from "../network/configReader.ts";
import type { NetworkDType } from "../pipeline/types.ts";
import type { Target } from "../runtime/kernel.ts";
import { byteSize } from "../runtime/values.ts";
import type { NetworkInit } from "../unet/build.ts";
import { type LoweredNetwork, lowerNetwork, plannedBytes } from "../unet/lowered.ts";
import type { UNetSpec } from "../unet/spec.ts";

/** The kernels of one evaluation inside a sampling loop. */
export function lower(
  spec: UNetSpec,
  target: Target,
  size: ImageSize,
  dtype: NetworkDType,
  inputs: Pick<NetworkInit, "contextLength" | "concat"> = {},
): LoweredNetwork {
  return lowerNetwork(spec, target, { size, dtype, timesteps: "step", ...inputs });
}

/** How often one evaluation dispatches each variant of each kernel, most often first. */
export function countVariants({ main }: LoweredNetwork): { kernel: string; variant: string; calls: number }[] {
  const counts = new Map<string, { kernel: string; variant: string; calls: number }>();
  for (const { kernel, variant } of main.calls) {
    const key = `${kernel}/${variant}`;
    counts.set(key, { kernel, variant, calls: (counts.get(key)?.calls ?? 0) + 1 });
  }
  return [...counts.values()].sort((a, b) => b.calls - a.calls);
}

/** Eight hex digits that identify the choice of a variant for every layer: another choice may round differently. */
export function variantsHash({ calls }: LoweredNetwork): string {
  const chosen = calls.map(({ kernel, variant, label }) => [kernel, variant, label]);
  return createHash("sha256").update(JSON.stringify(chosen)).digest("hex").slice(0, 8);
}

/** GPU bytes of the weights, and of everything else that a batch needs. */
export function memoryPlan(
  lowered: LoweredNetwork,
  batch: number,
): { weights: number; activations: number; lowerBound: number } {
  const weights = lowered.weights.reduce((sum, { value }) => sum + byteSize(value, 1), 0);
  const { bytes, lowerBound } = plannedBytes(lowered, batch);
  return { weights, activations: bytes, lowerBound };
}
