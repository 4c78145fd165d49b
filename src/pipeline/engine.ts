/** A model on a device, as runs need it, and how many images fit on it at a time. */
import type { Autoencoder } from "../autoencoder/autoencoder.ts";
import type { WeightStore } from "../network/weights.ts";
import type { Device } from "../runtime/device.ts";
import { UsageError } from "../runtime/errors.ts";
import type { NonFinite } from "../runtime/finite.ts";
import type { Target } from "../runtime/kernel.ts";
import { type LoweredNetwork, maxRows, plannedBytes } from "../unet/lowered.ts";
import type { LatentPreview } from "./latentPreview.ts";
import type { Model } from "./model.ts";
import type { ResolvedRun } from "./run.ts";

/** Memory that an automatic batch may plan for, beside the weights. */
const COMFORTABLE_BYTES = 2 ** 30;
const COMFORTABLE_BATCH = 16;

export interface Engine {
  readonly device: Device;
  readonly target: Target;
  readonly model: Model;
  readonly weights: WeightStore;
  readonly lower: (height: number, width: number, contextLength: number | undefined) => LoweredNetwork;
  /** Rows of the network's timestep input. */
  readonly timestepRows: (timesteps: readonly number[]) => Float32Array;
  /** The context of every class, where classes have one. */
  readonly classRows: Float32Array | null;
  /** What makes pictures of latents, and how they look before; null where the network works on pixels. */
  readonly firstStage: Autoencoder | null;
  readonly preview: LatentPreview | null;
  /** Most bytes of activations. */
  readonly memory: number | undefined;
  readonly nonFinite: NonFinite | undefined;
  readonly warn: (text: string) => void;
}

/** Images per batch: as asked, bounded by what bindings allow, or what fits comfortably. */
export function batchSize(
  { device, memory = COMFORTABLE_BYTES }: Engine,
  run: ResolvedRun,
  lowered: LoweredNetwork,
): number {
  const copies = run.guidance === undefined ? 1 : 2;
  const most = Math.floor(maxRows(device, lowered) / copies);
  if (most < 1)
    throw new UsageError("size", `size ${run.height}×${run.width} exceeds what one binding of ${device.name} can hold`);
  if (run.batch !== undefined) return Math.min(run.batch, run.count, most);
  let batch = Math.min(COMFORTABLE_BATCH, run.count, most);
  while (batch > 1 && plannedBytes(lowered, batch * copies).bytes > memory) batch = Math.floor(batch / 2);
  return batch;
}
