/** Some of a value's segments as a value of their own: what one layer's part of several is, where somebody wants to see it. */
import { channelGroups, type Value } from "../../runtime/values.ts";
import { elementwise } from "../parts/elementwise.ts";
import { hwc } from "./node.ts";
import { defineOp } from "./operation.ts";

const takeKernel = elementwise({
  name: "takeSegments",
  tensors: { x: "in N H W X", y: "out N H W C" },
  value: (k) => k.load("x", "i / C4 * X4 + XO + i % C4"),
  cost: { flops: 0, bytes: 8 },
});

export const takeSegments = defineOp({
  name: "takeSegments",
  build(graph, label, x: Value, first: number, count: number) {
    const [h, w] = hwc(x);
    const segments = x.segments.slice(first, first + count);
    const y = graph.value(label, [h, w, segments.reduce((a, b) => a + b, 0)], segments);
    return { x, first, y };
  },
  reads: ({ x }) => [x],
  lower({ target, calls }, { label, x, first, y }) {
    calls.push(takeKernel.lower(target, label, { x, y }, {}, { XO: channelGroups(x.segments.slice(0, first)) }));
  },
});
