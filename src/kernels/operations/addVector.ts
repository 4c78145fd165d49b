/** Adds a slice of the time-embedding table to every pixel of any value; where a convolution made it, `addEmb` costs nothing. */

import type { Value } from "../../runtime/values.ts";
import type { EmbRef } from "../conv2d/node.ts";
import { embPlace } from "../lowering/lowering.ts";
import { elementwise } from "../parts/elementwise.ts";
import { defineOp } from "./operation.ts";

const addVectorKernel = elementwise({
  name: "addVector",
  tensors: { x: "in N H W C", emb: "in *", y: "out N H W C" },
  value: (k) => `${k.load("x", "i")} + ${k.load("emb", "i / (H * W * C4) * E4 + EO + i % C4")}`,
  cost: { flops: 1, bytes: 8 },
});

export const addVector = defineOp({
  name: "addVector",
  /** @param emb stored as the channels of x are */
  build(graph, label, x: Value, emb: EmbRef) {
    return { x, emb, y: graph.value(`${label}.shifted`, x.shape, x.segments) };
  },
  reads: ({ x }) => [x],
  lower({ target, calls }, { label, x, emb, y }) {
    calls.push(addVectorKernel.lower(target, label, { x, emb: emb.table, y }, {}, embPlace(emb)));
  },
});
