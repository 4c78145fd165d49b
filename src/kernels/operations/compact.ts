/** The same channels in one segment: for what reads them in order, after a concatenation of widths that are no multiples of four. */
import type { Value } from "../../runtime/values.ts";
import { elementwise } from "../parts/elementwise.ts";
import { positions } from "../weights.ts";
import { hwc } from "./node.ts";
import { defineOp } from "./operation.ts";

const compactKernel = elementwise({
  name: "compact",
  // positions: as of GroupNorm, the channel of every stored position of x, then the position of every channel.
  tensors: { x: "in N H W X", positions: "in *", y: "out N H W C" },
  functions: "",
  value(k) {
    const channel = (j: number) => {
      const c = `i % C4 * 4u + ${j}u`;
      const at = `positions[X4 * 4u + min(${c}, C - 1u)]`;
      return `select(0.0, ${k.load("x", `i / C4 * X4 + ${at} / 4u`)}[${at} % 4u], ${c} < C)`;
    };
    return `vec4f(${[0, 1, 2, 3].map(channel).join(", ")})`;
  },
  cost: { flops: 0, bytes: 8 },
});

export const compact = defineOp({
  name: "compact",
  build(graph, label, x: Value) {
    return { x, y: x.segments.length === 1 ? x : graph.value(`${label}.compact`, hwc(x)) };
  },
  reads: ({ x }) => [x],
  lower(ctx, { label, x, y }) {
    const tensors = { x, positions: ctx.weight(positions(x.segments)), y };
    ctx.calls.push(compactKernel.lower(ctx.target, label, tensors, {}));
  },
});
