/** GEGLU (Shazeer, "GLU variants improve transformer", 2020): y = a·gelu(b) for the two halves a, b of the channels. */
import type { Value } from "../../runtime/values.ts";
import { activationFunction } from "../parts/activations.ts";
import { elementwise } from "../parts/elementwise.ts";
import { hwc } from "./node.ts";
import { defineOp } from "./operation.ts";

export const gegluKernel = elementwise({
  name: "geglu",
  tensors: { x: "in N H W X", y: "out N H W C" },
  functions: activationFunction("gelu"),
  value(k) {
    const half = (first: string) => k.load("x", `i / C4 * 2u * C4 + ${first} + i % C4`);
    return `${half("0u")} * activate(${half("C4")})`;
  },
  cost: { flops: 20, bytes: 12 },
});

/** The halves of x have to be two segments of equal width. */
export const geglu = defineOp({
  name: "geglu",
  build(graph, label, x: Value) {
    const [h, w, c] = hwc(x);
    return { x, y: graph.value(`${label}.geglu`, [h, w, c / 2]) };
  },
  reads: ({ x }) => [x],
  lower({ target, calls }, { label, x, y }) {
    calls.push(gegluKernel.lower(target, label, { x, y }, {}));
  },
});
