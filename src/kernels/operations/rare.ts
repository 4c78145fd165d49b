/**
 * Operations that few networks have. They are in no graph's methods, so that a page which runs none of these networks does
 * not load them: `graph.append(rare.depthwiseConv2d, …)` adds one.
 */
import { addVector } from "./addVector.ts";
import { compact } from "./compact.ts";
import { depthwiseConv2d } from "./depthwiseConv2d.ts";
import { linearAttention } from "./linearAttention.ts";
import { prependRows } from "./prependRows.ts";
import { rmsNorm } from "./rmsNorm.ts";
import { takeSegments } from "./takeSegments.ts";
import { transposedConv2d } from "./transposedConv2d.ts";
import { unitChannels } from "./unitChannels.ts";

export const rare = {
  depthwiseConv2d,
  transposedConv2d,
  linearAttention,
  rmsNorm,
  prependRows,
  addVector,
  compact,
  unitChannels,
  takeSegments,
};
