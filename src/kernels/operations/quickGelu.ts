/** y = x·sigmoid(1.702·x), the approximation of gelu (Hendrycks and Gimpel, 2016) that CLIP's transformers use. */
import type { Value } from "../../runtime/values.ts";
import { elementwise } from "../parts/elementwise.ts";
import { defineOp } from "./operation.ts";

const quickGeluKernel = elementwise({
  name: "quickGelu",
  tensors: { x: "in N H W C", y: "out N H W C" },
  value: (k) => `${k.load("x", "i")} / (1.0 + exp(-1.702 * ${k.load("x", "i")}))`,
  cost: { flops: 4, bytes: 8 },
});

export const quickGelu = defineOp({
  name: "quickGelu",
  build: (graph, label, x: Value) => ({ x, y: graph.value(`${label}.quickGelu`, x.shape, x.segments) }),
  reads: ({ x }) => [x],
  lower({ target, calls }, { label, x, y }) {
    calls.push(quickGeluKernel.lower(target, label, { x, y }, {}));
  },
});
