/** Where Winograd's method pays, by measurement on llvmpipe (docs/decisions/0008). Never depends on the batch. */
import type { Target } from "../../../runtime/kernel.ts";
import { ceilDiv, channelGroups, type Value } from "../../../runtime/values.ts";
import type { ConvNode } from "../../conv2d/node.ts";
import { keyOf, packed, type Weight } from "../../weights.ts";
import { UNROLL } from "./product.ts";
import { TILE } from "./transforms.ts";

/** Fewer tiles per image leave much of the products' blocks empty. */
const LEAST_TILES = 16;
/** Direct floating point operations per image below which two more dispatches cost more than they save. */
const LEAST_FLOPS = 2e7;

/** Tiles of an image, from top to bottom and from left to right. */
export const tilesOf = ({ y }: ConvNode): readonly [number, number] => [
  ceilDiv(y.shape[0] as number, TILE),
  ceilDiv(y.shape[1] as number, TILE),
];

const inputGroups = ({ view }: ConvNode): number => view.sources.reduce((sum, s) => sum + channelGroups(s.segments), 0);

/** Whether Winograd's method can do a convolution at all. */
export const canWinograd = (op: ConvNode): boolean =>
  op.kernel[0] === 3 && op.kernel[1] === 3 && op.stride === 1 && inputGroups(op) % UNROLL === 0;

/** Its weights for Winograd's method. */
export function winogradWeight({ label, view, weights, kernel }: ConvNode, target: Target): Weight {
  const segments = view.sources.flatMap((source) => source.segments);
  return packed(label, [{ weights, kernel, segments }], target.lanes, { target, dtype: "f32" }, "winograd");
}

/** What of a convolution decides how long either method takes. */
export function convKey(op: ConvNode): string {
  const size = ({ shape, dtype }: Value, groups: number) => `${shape[0]}x${shape[1]}x${groups * 4} ${dtype}`;
  return `conv2d ${size(op.view.sources[0], inputGroups(op))} to ${size(op.y, channelGroups(op.y.segments))}`;
}

export function usesWinograd(op: ConvNode, target: Target): boolean {
  const { y } = op;
  const { methods } = target;
  const inputs = inputGroups(op);
  const [down, across] = tilesOf(op);
  const flops = 2 * 9 * 16 * inputs * channelGroups(y.segments) * (y.shape[0] as number) * (y.shape[1] as number);
  if (!canWinograd(op)) return false;
  if (methods?.held?.has(keyOf(winogradWeight(op, target)))) return true;
  const given = methods?.conv2d ?? methods?.measured?.[convKey(op)];
  if (given) return given === "winograd";
  return down * across >= LEAST_TILES && flops >= LEAST_FLOPS;
}
