/**
 * How many threads Mesa's software adapter should have for a network. It wakes its threads for every dispatch, which
 * costs 50 to 80 µs on a virtual machine; a small network, one image at a time, is quicker on the thread that takes the
 * commands (docs/decisions/0010). The driver is told when it is loaded, so this is decided before a device is opened.
 */
import type { Model } from "../../pipeline/model.ts";
import type { ForwardInputs } from "../../pipeline/types.ts";
import type { Target } from "../../runtime/kernel.ts";
import { lowerNetwork } from "../../unet/lowered.ts";

/** What llvmpipe gets, for which alone this matters. */
const TARGET: Target = { shapes: "uniform", storage: "texture", lanes: 8, software: true };

/** Operations per dispatch that one core does about as quickly as two that have to be woken. */
const WORTH_WAKING = 4e6;

/** What a network is evaluated on at once. */
export interface Load {
  readonly images: number;
  readonly height: number;
  readonly width: number;
}

/** The load of one evaluation of these inputs. */
export function loadOf({ sample }: ForwardInputs): Load {
  const [images, , height, width] = sample.shape as [number, number, number, number];
  return { images, height, width };
}

/** 0 for no threads beside the one that takes the commands, undefined for as many as the driver likes. */
export function threadsFor({ config, firstStage }: Model, { images, height, width }: Load): 0 | undefined {
  // Decoding is never small.
  if (firstStage) return undefined;
  const { calls } = lowerNetwork(config, TARGET, { size: { height, width }, dtype: "f32", timesteps: "step" }).main;
  const flops = calls.reduce((sum, call) => sum + call.cost(images).flops, 0);
  return flops / calls.length < WORTH_WAKING ? 0 : undefined;
}
