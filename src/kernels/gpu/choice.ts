/** Which form of convolution a GPU gets. Blind choices: docs/decisions/0007. Never depends on the batch. */
import type { Target } from "../../runtime/kernel.ts";
import { channelGroups, type DType } from "../../runtime/values.ts";
import type { ConvNode } from "../conv2d/node.ts";
import { manyTiles, splitsOf } from "./implicitGemm.ts";

/** Channels that the matrix units' tiles divide. */
const MULTIPLE = 16;

export interface GpuConv {
  /** Pixels per workgroup of the matrix units' kernel; absent: without them. */
  readonly tile?: 64 | 128;
  readonly splits: number;
}

export function gpuConv({ view, kernel, y }: ConvNode, { software, matrix }: Target, dtype: DType): GpuConv {
  if (software) return { splits: 1 };
  const pixels = (y.shape[0] as number) * (y.shape[1] as number);
  const [inputs, outputs] = [view.sources.flatMap((s) => s.segments), y.segments];
  const O4 = channelGroups(outputs);
  const splits = splitsOf(pixels, O4, kernel[0] * kernel[1] * channelGroups(inputs) * 4);
  const whole = [...inputs, ...outputs].every((channels) => channels % MULTIPLE === 0);
  if (!matrix || dtype !== "f16" || !whole) return { splits };
  return { tile: manyTiles(pixels, O4) ? 128 : 64, splits };
}
