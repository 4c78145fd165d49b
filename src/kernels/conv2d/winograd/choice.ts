/** Where Winograd's method pays, by measurement on llvmpipe (docs/decisions/0006). Never depends on the batch. */
import type { FusedConv } from "../../../runtime/fold.ts";
import type { Target } from "../../../runtime/kernel.ts";
import { ceilDiv, channelGroups } from "../../../runtime/values.ts";
import { UNROLL } from "./product.ts";
import { TILE } from "./transforms.ts";

/** Fewer tiles per image leave rows of the products' blocks empty. */
const LEAST_TILES = 16;
/** Direct floating point operations per image below which two more dispatches cost more than they save. */
const LEAST_FLOPS = 2e7;

/** Rows and columns of tiles of an image. */
export const tilesOf = ({ y }: FusedConv): readonly [number, number] => [
  ceilDiv(y.shape[0] as number, TILE),
  ceilDiv(y.shape[1] as number, TILE),
];

export function usesWinograd(op: FusedConv, { methods }: Target): boolean {
  const { kernel, stride, view, y } = op;
  const inputs = view.sources.reduce((sum, s) => sum + channelGroups(s.segments), 0);
  const [rows, columns] = tilesOf(op);
  const flops = 2 * 9 * 16 * inputs * channelGroups(y.segments) * (y.shape[0] as number) * (y.shape[1] as number);
  const possible = kernel[0] === 3 && kernel[1] === 3 && stride === 1 && inputs % UNROLL === 0;
  if (!possible || methods?.conv2d) return possible && methods?.conv2d === "winograd";
  return rows * columns >= LEAST_TILES && flops >= LEAST_FLOPS;
}
