/** y = (a + b)·scale, by the convolution that made one of both where one did. */
import { ShapeError } from "../../runtime/errors.ts";
import { channelPositions, type Value } from "../../runtime/values.ts";
import type { ConvNode } from "../conv2d/node.ts";
import { elementwise } from "../parts/elementwise.ts";
import { defineOp } from "./operation.ts";

/** For sums that no convolution's epilogue could take. */
export const addKernel = elementwise({
  name: "add",
  tensors: { a: "in N H W C", b: "in N H W C", y: "out N H W C" },
  floats: ["SCALE"],
  value: (k) => `(${k.load("a", "i")} + ${k.load("b", "i")}) * SCALE`,
  cost: { flops: 2, bytes: 12 },
});

export const add = defineOp({
  name: "add",
  build(graph, label, a: Value, b: Value, scale?: number) {
    if (a.shape.join() !== b.shape.join())
      throw new ShapeError(label, `"${b.name}"`, `[${a.shape.join(", ")}]`, b.shape);
    if (channelPositions(a.segments).join() !== channelPositions(b.segments).join())
      throw new TypeError(`internal: ${label}: "${a.name}" and "${b.name}" store their channels in different places`);
    return { a, b, scale: scale ?? 1, y: graph.value(label, a.shape, a.segments) };
  },
  reads: ({ a, b }) => [a, b],
  fuse(fusion, node) {
    const { a, b, scale, y } = node;
    const order = (conv: ConvNode | undefined) => (conv && !conv.residual ? fusion.nodes.indexOf(conv) : -1);
    const [ca, cb] = [fusion.open(a), fusion.open(b)];
    const [conv, other] = order(cb) > order(ca) ? [cb, a] : [ca, b];
    const at = order(conv);
    if (conv && at >= 0 && a !== b && fusion.ready(other, at)) {
      conv.residual = fusion.stored(other, at);
      conv.scale = scale;
      fusion.close(conv, y);
      return;
    }
    fusion.stored(a);
    fusion.stored(b);
    fusion.push(node);
  },
  lower({ target, calls }, { label, a, b, scale, y }) {
    calls.push(addKernel.lower(target, label, { a, b, y }, {}, { SCALE: scale }));
  },
});
